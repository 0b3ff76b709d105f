//! What a stranger sends, and what an application says about its answers.

use crate::message::{Ending, Request};
use crate::random::Random;
use crate::reading::Aspect;

/// The last number of the stranger's address: no trusted proxy.
pub(crate) const STRANGER: u8 = 2;

const FORGED: &str = "6.6.6.6";

/// Fields that speak of the way, of another target or of another method.
const OF_THE_WAY: [(&str, &str); 19] = [
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Scheme", "nothttps"),
    ("X-Forwarded-Protocol", "https"),
    ("X-Forwarded-For", FORGED),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Path", "/evil"),
    ("Forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
    ("X-Real-IP", FORGED),
    ("True-Client-IP", FORGED),
    ("X-Scheme", "https"),
    ("X-Script-Name", "/evil"),
    ("X-Original-URL", "/admin"),
    ("X-Original-URI", "/admin"),
    ("X-Rewrite-URL", "/admin"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method", "PUT"),
    ("X-Method-Override", "PATCH"),
    ("X-Forwarded-Host", "shop.example.evil"),
];

/// Fields in which honest browsers differ, and values that many of them send.
pub(crate) const COMMON: [(Aspect, &str, &[&str]); 5] = [
    (Aspect::Language, "Accept-Language", &["de", "fr"]),
    (Aspect::Encoding, "Accept-Encoding", &["gzip", "br"]),
    (Aspect::Part, "RSC", &["1"]),
    (
        Aspect::Site,
        "Origin",
        &["https://a.example", "https://b.example"],
    ),
    (Aspect::Tenant, "X-Tenant", &["acme", "globex"]),
];

/// A name with some or all of its dashes as underscores.
fn twin(name: &str, random: &mut Random) -> String {
    if random.chance(60) {
        return name.replace('-', "_");
    }
    let mut parts = name.split('-');
    let mut twin = parts.next().unwrap_or_default().to_owned();
    let mut has_any = false;
    for part in parts {
        let is_underscore = !has_any || random.chance(50);
        has_any = true;
        twin.push(if is_underscore { '_' } else { '-' });
        twin.push_str(part);
    }
    twin
}

/// Letters of either case.
fn recased(name: &str, random: &mut Random) -> String {
    match random.below(3) {
        0 => name.to_ascii_lowercase(),
        1 => name.to_ascii_uppercase(),
        _ => name.to_owned(),
    }
}

/// The path of a page with a query parameter `page` in an odd spelling.
pub(crate) fn odd_query(path: &str, random: &mut Random) -> String {
    let query = random.pick(&[
        "p%61ge=66",
        "%20page=66",
        "+page=66",
        "page[]=66",
        "page%5B%5D=66",
        "page+=66",
        "%70%61%67%65=66",
        "page=1&p%61ge=66",
        "p%61ge=66&page=1",
        "page=66&page=1",
        "page=1&page=66",
        "page=1&page[]=66",
        "x=1&+page=66",
    ]);
    format!("{path}?{query}")
}

/// `Cookie` in an odd spelling that applications read all the same.
fn odd_cookie(name: &str, value: &str, random: &mut Random) -> String {
    match random.below(7) {
        0 => format!("{name} ={value}"),
        1 => format!("a=1; \t{name}={value}"),
        2 => format!("x=1; {name}\t={value}"),
        3 => format!("{name}= {value}"),
        4 => format!("a=1;{name} ={value};b=2"),
        5 => format!("; ;{name}\t\t={value}"),
        _ => format!("{name}={value}"),
    }
}

/// A stranger's request for a page, which reads `aspects`.
pub(crate) fn stranger(path: &str, aspects: &[Aspect], random: &mut Random) -> Request {
    let mut request = Request::get(path, STRANGER);
    if random.chance(10) {
        request.method = "HEAD".into();
    }
    let mut listed = vec!["close".to_owned()];
    for (aspect, name, values) in COMMON {
        let chance = if aspects.contains(&aspect) { 70 } else { 10 };
        if random.chance(chance) {
            let name = recased(name, random);
            request = request.field(&name, random.pick(values));
            if random.chance(60) {
                listed.push(name);
            }
        }
    }
    let reads_cookies = aspects.contains(&Aspect::Currency);
    if random.chance(if reads_cookies { 80 } else { 10 }) {
        let name = random.pick(&["currency", "currency", "sid"]);
        let value = odd_cookie(name, random.pick(&["eur", "usd"]), random);
        request = request.field("Cookie", &value);
        if random.chance(25) {
            listed.push("Cookie".into());
        }
    }
    if random.chance(if aspects.contains(&Aspect::Page) {
        80
    } else {
        10
    }) {
        request.target = odd_query(path, random);
    }
    for _ in 0..random.below(3) {
        let (name, value) = random.pick(&OF_THE_WAY);
        let name = if random.chance(50) {
            twin(name, random)
        } else {
            recased(name, random)
        };
        request = request.field(&name, value);
        if random.chance(15) {
            listed.push(name);
        }
    }
    noise(&mut request, random);
    random_list(&mut request, &mut listed, random);
    request
}

/// Writes `Connection`, in one field or several.
fn random_list(request: &mut Request, listed: &mut Vec<String>, random: &mut Random) {
    if random.chance(10) {
        listed.push(
            random
                .pick(&["X-Forwarded-Proto", "X-Forwarded-Host", "Via"])
                .into(),
        );
    }
    if random.chance(40) {
        listed.reverse();
    }
    let between = random.pick(&[", ", ",", " ,\t"]);
    if random.chance(20) && listed.len() > 1 {
        for name in listed.iter() {
            request.fields.push(("Connection".into(), name.clone()));
        }
    } else {
        let value = listed.join(between);
        request.fields.push(("Connection".into(), value));
    }
}

/// Fields and forms that must change nothing for others.
fn noise(request: &mut Request, random: &mut Random) {
    let fields = [
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
        ("Cache-Control", "max-age=0"),
        ("Range", "bytes=0-3"),
        ("Range", "bytes=-5"),
        ("If-None-Match", "*"),
        ("If-None-Match", "\"x\""),
        ("If-Modified-Since", "Tue, 01 Jan 2030 00:00:00 GMT"),
        ("If-Match", "\"x\""),
        ("Expect", "100-continue"),
        ("X-Unknown_Field", "1"),
        ("Accept", "text/html"),
    ];
    for _ in 0..random.below(3) {
        let (name, value) = random.pick(&fields);
        request.fields.push((name.into(), value.into()));
    }
    match random.below(20) {
        0 => request.version = "1.0",
        1 => request.host = "evil.example".into(),
        2 => request.host = "SHOP.example".into(),
        3 => request.host = "shop.example:1337".into(),
        4 => {
            request.target = format!("http://shop.example{}", request.target);
            request.host = "evil.example".into();
        }
        5 if request.method == "GET" => request.content = "page=66".into(),
        6 | 7 => request.after = Some("/login?noise".into()),
        _ => {}
    }
}

/// Response fields that say that an answer is for one visitor, well or badly.
pub(crate) fn personal(path: &mut String, random: &mut Random) -> Vec<(String, String)> {
    let value = random.pick(&[
        "private",
        "no-store",
        "private, max-age=60",
        "private; max-age=60",
        "private;max-age=60",
        "max-age=60; private",
        "no-store; max-age=0",
        "no-store max-age=0",
        "no-cache; private",
        "no-cache; no-store; max-age=0; must-revalidate",
        "\"private\"",
        "'private'",
        "max-age=60, foo=\"bar, no-store",
        "private; max-age=60, stale-while-revalidate=600",
        "PRIVATE ; max-age=60",
        "max-age=60 private",
        "public; private",
        "max-age = 60, private = ",
        "no-cache;max-age=60",
        "=private",
        "max-age=60,,; no-store",
        "no-store\"",
    ]);
    let name = match random.below(6) {
        0 => "CDN-Cache-Control",
        1 => {
            *path = path.replacen("/personal/", "/surrogate/", 1);
            "Surrogate-Control"
        }
        _ => "Cache-Control",
    };
    let mut fields = vec![(name.to_owned(), value.to_owned())];
    if name == "Cache-Control" && random.chance(20) {
        let at = random.below(2);
        fields.insert(at, ("Cache-Control".into(), "max-age=60".into()));
    }
    if random.chance(20) {
        fields.push(("Expires".into(), "Tue, 01 Jan 2036 00:00:00 GMT".into()));
    }
    if random.chance(20) {
        fields.push((
            "Last-Modified".into(),
            "Tue, 01 Jan 2019 00:00:00 GMT".into(),
        ));
    }
    fields
}

/// A stranger's write, or what looks like one.
pub(crate) fn write(round: usize, at_root: bool, random: &mut Random) -> Request {
    let own = format!("/open{round}");
    let below = format!("/open{round}/7/clear");
    let target = match random.below(10) {
        0..5 if at_root => random.pick(&["/", "/", "/", "/?x=1", "http://shop.example/"]),
        0..7 => own.as_str(),
        _ => below.as_str(),
    };
    let mut request = Request::get(target, STRANGER);
    request.method = random
        .pick(&[
            "GET", "HEAD", "OPTIONS", "POST", "POST", "PUT", "PATCH", "DELETE", "DELETE", "MOVE",
            "PROPFIND", "QUERY", "SEARCH", "REPORT", "PURGE", "BREW",
        ])
        .to_owned();
    if random.chance(40) {
        let name = random.pick(&[
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "X-HTTP-Method",
        ]);
        let name = if random.chance(25) {
            twin(name, random)
        } else {
            name.to_owned()
        };
        let value = random.pick(&["DELETE", "PUT", "patch", "FOO"]);
        request = request.field(&name, value);
    }
    let takes_content = !matches!(request.method.as_str(), "GET" | "HEAD");
    if takes_content {
        request.ending = random.pick(&[
            Ending::Whole,
            Ending::Whole,
            Ending::Whole,
            Ending::Reset,
            Ending::Closed,
            Ending::BrokenChunk,
            Ending::TooLarge,
        ]);
        if random.chance(60) {
            request.content = "AAAA".into();
        }
    }
    if request.method == "MOVE" {
        request = request.field("Destination", "http://shop.example/elsewhere");
    }
    if random.chance(20) {
        request = request.field("Expect", "100-continue");
    }
    request.field("Connection", "close")
}
