//! What holds of every parser, whatever it is given.
//!
//! One function a parser, called with any bytes: by a fuzz target with those a
//! coverage-guided search comes upon, and by `tests/any_bytes.rs` with random
//! ones and the seeds. More than "it does not panic" wherever there is more to
//! say.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AGE, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LAST_MODIFIED, RANGE, VARY, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pannier::clock::Timestamp;
use pannier::config;
use pannier::invalidation::scope;
use pannier::message::directives::{RequestDirectives, ResponseDirectives};
use pannier::message::scheme::Scheme;
use pannier::message::upgrade::upgrade_wanted;
use pannier::message::{fields as message_fields, targeted};
use pannier::pattern::Pattern;
use pannier::percent;
use pannier::semantics::date::http_date;
use pannier::semantics::freshness::{Freshness, SECONDS_MAX};
use pannier::semantics::partial::{Part, combined, content_range};
use pannier::semantics::policy::{KeySpec, Policy, QueryKey};
use pannier::semantics::query::{asks_for_bypass, query_in_key, query_to_forward};
use pannier::semantics::range::{ByteRanges, ContentRange, Selection, if_range_holds};
use pannier::semantics::tags;
use pannier::semantics::target::RequestTarget;
use pannier::semantics::validation::{Validators, is_not_modified};
use pannier::semantics::vary::Vary;
use pannier::store::record::{self, Record};

/// A moment in 2026.
const NOW: Timestamp = Timestamp::from_unix_millis(1_790_000_000_000);
/// Field lines of one message.
const LINES_MAX: usize = 90;

/// The lines of `bytes` as values of these fields in turn; what is no value is
/// left out.
fn fields(bytes: &[u8], names: &[HeaderName]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let lines = bytes.split(|byte| *byte == b'\n').take(LINES_MAX);
    for (name, line) in names.iter().cycle().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            fields.append(name, value);
        }
    }
    fields
}

/// The same with the names in the lines: `name: value`.
fn named_fields(bytes: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            fields.append(name, value);
        }
    }
    fields
}

fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let middle = bytes.iter().position(|byte| *byte == 0);
    match middle {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// `Cache-Control` and its targeted kin: no number exceeds the standard's
/// bound, and no line hides another.
pub(crate) fn directives(bytes: &[u8]) {
    let bound = Duration::from_secs(SECONDS_MAX);
    let within = |duration: Option<Duration>| duration.is_none_or(|duration| duration <= bound);
    let mut map = fields(bytes, &[CACHE_CONTROL]);
    let request = RequestDirectives::of(&map);
    assert!(within(request.max_age) && within(request.min_fresh));
    assert!(within(request.stale_if_error));
    let of = |map: &HeaderMap| {
        let response = ResponseDirectives::of(map);
        assert!(within(response.max_age) && within(response.s_maxage));
        assert!(within(response.stale_while_revalidate) && within(response.stale_if_error));
        response
    };
    let _ = of(&map);
    map.append(CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
    let response = of(&map);
    assert!(response.no_store && response.private);
    assert!(RequestDirectives::of(&map).no_store);

    let names = [
        targeted::PANNIER_CACHE_CONTROL,
        targeted::CDN_CACHE_CONTROL,
        targeted::SURROGATE_CONTROL,
    ];
    let targets = [
        targeted::Target::Pannier,
        targeted::Target::Cdn,
        targeted::Target::Surrogate,
    ];
    for (name, target) in names.iter().zip(&targets) {
        let governing = targeted::governing(
            &fields(bytes, std::slice::from_ref(name)),
            std::slice::from_ref(target),
            false,
        );
        assert!(within(governing.max_age) && within(governing.s_maxage));
    }
    let _ = targeted::governing(&fields(bytes, &names), &targets, true);
}

/// Dates and ages: what is read is what is written, and a response grows older
/// as time goes on, whatever its fields say.
pub(crate) fn dates(bytes: &[u8]) {
    if let Some(moment) = http_date(bytes, NOW) {
        let written = httpdate::fmt_http_date(moment.to_system_time());
        assert_eq!(http_date(written.as_bytes(), NOW), Some(moment));
    }
    let map = fields(bytes, &[DATE, AGE, EXPIRES, LAST_MODIFIED, CACHE_CONTROL]);
    let sent = Timestamp::from_unix_millis(NOW.unix_millis() - 250);
    let policy = Policy::default();
    let directives = ResponseDirectives::of(&map);
    let freshness = Freshness::of(StatusCode::OK, &map, &directives, &policy, sent, NOW);
    assert!(freshness.lifetime <= Duration::from_secs(8 * SECONDS_MAX));
    let mut before = freshness.initial_age;
    for later in [0, 1, 999, 86_400_000, u64::MAX / 2, u64::MAX] {
        let now = Timestamp::from_unix_millis(NOW.unix_millis().saturating_add(later));
        let age = freshness.current_age(NOW, now);
        assert!(age >= before);
        before = age;
    }
    let _ = freshness.usable_for();
}

/// Groups and tags (RFC 9875): sorted, each once, within their bounds.
pub(crate) fn groups(bytes: &[u8]) {
    let names = ["cache-groups", "surrogate-key", "cache-tag"].map(HeaderName::from_static);
    for names in [&names[..1], &names] {
        if let Ok(tags) = tags::of(&fields(bytes, names), "host") {
            assert!(tags.is_sorted() && tags.len() <= tags::TAGS_MAX);
        }
    }
    let invalidation = [HeaderName::from_static("cache-group-invalidation")];
    for tag in tags::invalidated(&fields(bytes, &invalidation), "host") {
        assert!(tag.starts_with("host\n"));
    }
}

/// `Vary` and what it selects: the same of a parsed head as of a map, and of
/// lines however they are spaced.
pub(crate) fn vary(bytes: &[u8]) {
    let (names, request) = halves(bytes);
    let Vary::Names(names) = Vary::of(&fields(names, &[VARY])) else {
        return;
    };
    let selecting = [ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT];
    let map = fields(request, &selecting);
    let head: Vec<httparse::Header<'_>> = map
        .iter()
        .map(|(name, value)| httparse::Header {
            name: name.as_str(),
            value: value.as_bytes(),
        })
        .collect();
    let selected = names.select(&map);
    assert_eq!(names.select(head.as_slice()), selected);
    let first = names.select_by_first_choice(&map);
    assert_eq!(names.select_by_first_choice(head.as_slice()), first);

    let mut spaced = HeaderMap::new();
    for (name, value) in &map {
        let value = [b" \t", value.as_bytes(), b"\t "].concat();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            spaced.append(name, value);
        }
    }
    assert_eq!(names.select(&spaced), selected);
    let _ = names.language_keys(&map, &fields(request, &[CONTENT_LANGUAGE]));
}

/// `Range` and `Content-Range`: what is selected lies within the content and
/// never twice.
pub(crate) fn ranges(bytes: &[u8]) {
    for length in [0, 1, 2, 100, 1 << 20, u64::MAX] {
        let Some(ranges) = ByteRanges::of(&fields(bytes, &[RANGE])) else {
            break;
        };
        if let Selection::Parts(parts) = ranges.select(length) {
            assert!(!parts.is_empty());
            for (at, part) in parts.iter().enumerate() {
                assert!(part.start < part.end && part.end <= length);
                for other in &parts[at + 1..] {
                    assert!(part.end <= other.start || other.end <= part.start);
                }
            }
        }
        let Some(spec) = ranges.single() else {
            continue;
        };
        let content_ranges = bytes.split(|byte| *byte == b'\n').skip(1);
        for line in content_ranges.take(4) {
            let map = fields(line, &[CONTENT_RANGE]);
            for length in [1, 10, u64::MAX / 2] {
                if let Some(part) = Part::of(&map, length)
                    && let Some(excerpt) = part.excerpt(spec)
                {
                    assert!(excerpt.bytes.start < excerpt.bytes.end);
                    assert!(excerpt.bytes.end as u64 <= length);
                    assert!(excerpt.range.first <= excerpt.range.last);
                }
            }
        }
    }
    let mut parts = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').take(4) {
        let map = fields(line, &[CONTENT_RANGE]);
        let Some(range) = ContentRange::of(&map) else {
            continue;
        };
        let written = HeaderMap::from_iter([(CONTENT_RANGE, content_range(&range))]);
        assert_eq!(ContentRange::of(&written), Some(range));
        let content = Bytes::from(vec![0; (range.last - range.first).min(64) as usize + 1]);
        if let Some(part) = Part::of(&map, content.len() as u64) {
            let _ = part.rest_from();
            parts.push((part, content));
        }
    }
    for (one, one_content) in &parts {
        for (other, other_content) in &parts {
            if let Some((range, content)) = combined((one, one_content), (other, other_content)) {
                assert_eq!(content.len() as u64, range.last - range.first + 1);
            }
        }
    }
}

/// Validators and conditions: a request made conditional on what is stored is
/// satisfied by it.
pub(crate) fn conditions(bytes: &[u8]) {
    let (stored, asked) = halves(bytes);
    let stored = fields(stored, &[ETAG, LAST_MODIFIED, DATE]);
    let validators = Validators::of(&stored, NOW);
    let mut request = fields(asked, &[IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE]);
    let _ = is_not_modified(&request, &stored, NOW);
    let _ = if_range_holds(&request, &stored, NOW);
    validators.make_conditional(&mut request);
    let tag = validators.etag.as_ref().map(|etag| etag.as_bytes());
    if tag.is_none_or(is_entity_tag) && validators.any() {
        assert!(is_not_modified(&request, &stored, NOW));
    }
}

/// `entity-tag` of RFC 9110 §8.8.3.
fn is_entity_tag(bytes: &[u8]) -> bool {
    let opaque = bytes.strip_prefix(b"W/").unwrap_or(bytes);
    let inner = opaque
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.is_some_and(|inner| {
        let is_etagc = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        inner.iter().all(is_etagc)
    })
}

/// Paths and queries as keys: writing a query in the key's form changes
/// nothing more, and what is bypassed is not forwarded.
pub(crate) fn keys(bytes: &[u8]) {
    let (path, query) = halves(bytes);
    let (Some(path), Some(query)) = (text(path), text(query)) else {
        return;
    };
    let target = RequestTarget::of(path, Some(query));
    if !target.is_ambiguous {
        let again = RequestTarget::of(&target.key_path, target.query);
        assert_eq!(again.key_path, target.key_path);
        assert_eq!(again.path, target.path);
    }
    assert!(target.readings().contains(&target.path.to_string()));

    let names = || vec!["page".to_owned(), "utm_*".to_owned()];
    let bypass = || Some(("use_cache".to_owned(), "false".to_owned()));
    for query_key in [
        QueryKey::All,
        QueryKey::None,
        QueryKey::Only(names()),
        QueryKey::Except(names()),
    ] {
        for bypass_query in [None, bypass()] {
            let spec = KeySpec {
                query: query_key.clone(),
                bypass_query,
                ..KeySpec::default()
            };
            let key = query_in_key(&spec, Some(query));
            assert_eq!(query_in_key(&spec, Some(&key)), key);
            let forwarded = query_to_forward(&spec, query);
            assert!(!asks_for_bypass(&spec, Some(&forwarded)));
            assert_eq!(query_in_key(&spec, Some(&forwarded)), key);
        }
    }
}

/// Path patterns: what is written is read again as the same, and matching
/// comes to an end.
pub(crate) fn patterns(bytes: &[u8]) {
    let (pattern, path) = halves(bytes);
    let (Some(pattern), Some(path)) = (text(pattern), text(path)) else {
        return;
    };
    assert!(Pattern::literal(path).matches(path));
    assert!(Pattern::below(path).matches(&format!("{}/x", path.trim_end_matches('/'))));
    if let Ok(template) = Pattern::parse_template(pattern) {
        let captures = Pattern::parse("/{a}/{b}").ok();
        let captures = captures.and_then(|named| named.captures(path));
        let _ = template.expand(&captures.unwrap_or_default());
    }
    if let Ok(parsed) = Pattern::parse(pattern) {
        let again = Pattern::parse(&parsed.to_string());
        assert_eq!(again.as_ref(), Ok(&parsed));
        let captures = parsed.captures(path);
        assert_eq!(captures.is_some(), parsed.matches(path));
        if let Some(captures) = captures {
            let _ = parsed.expand(&captures);
        }
    }
    let plain = percent::decode(path);
    assert!(path.contains('%') || plain == path);
}

/// The configuration: any text is a configuration or a list of problems that
/// can be shown.
pub(crate) fn configuration(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    let _ = config::units::parse_duration(text);
    let _ = config::units::parse_size(text);
    let environment = |name: &str| (name == "SECRET").then(|| "open sesame".to_owned());
    if let Err(problems) = config::parse("proxy.toml", text, environment) {
        let shown = problems.to_string();
        assert!(!shown.is_empty() && (!shown.contains("open sesame") || text.contains("open")));
    }
}

/// What a message says of its connection is gone, and what it says of its
/// content is not.
pub(crate) fn fields_of_messages(map: HeaderMap) {
    let mut stripped = map.clone();
    message_fields::strip_hop_by_hop(&mut stripped);
    assert!(!stripped.contains_key(CONNECTION) && !stripped.contains_key("keep-alive"));
    assert_eq!(stripped.get(CONTENT_LENGTH), map.get(CONTENT_LENGTH));
    let via = stripped.get_all(VIA).iter().count();
    message_fields::append_via(&mut stripped, http::Version::HTTP_11);
    assert!(stripped.get_all(VIA).iter().count() >= via.min(1));
    assert_eq!(message_fields::compact_where(&map, |_| true), map);
    let _ = upgrade_wanted(&map);
    for (is_trusted, scheme) in [(false, Scheme::Http), (true, Scheme::Https)] {
        let mut forwarded = map.clone();
        let peer = [127, 0, 0, 1].into();
        message_fields::set_forwarded(&mut forwarded, peer, scheme, is_trusted);
        assert!(forwarded.contains_key("x-forwarded-for"));
    }
}

/// See [`fields_of_messages`].
pub(crate) fn fields_of_bytes(bytes: &[u8]) {
    fields_of_messages(named_fields(bytes));
}

/// Headers of the PROXY protocol: what is read is within its bounds, and the same
/// however it comes.
pub(crate) fn proxy_headers(bytes: &[u8]) {
    pannier::server::proxied::check(bytes);
}

/// Records: any bytes, and any content under a right checksum, are a record
/// or an error; a record that is read is written and read again.
pub(crate) fn records(bytes: &[u8]) {
    const BODY_BYTES_MAX: u64 = 1 << 20;
    let _ = record::decode(&Bytes::copy_from_slice(bytes), BODY_BYTES_MAX);
    let mut forged = b"PNR\x01".to_vec();
    forged.extend_from_slice(bytes.get(..2).unwrap_or(&[1, 0]));
    forged.extend_from_slice(&[0; 4]);
    forged.extend_from_slice(bytes.get(2..).unwrap_or_default());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&forged[..6]);
    checksum.update(&forged[10..]);
    forged[6..10].copy_from_slice(&checksum.finalize().to_le_bytes());
    match record::decode(&forged.into(), BODY_BYTES_MAX) {
        Ok(Record::Response(response)) => {
            let _ = response.head.current_age(NOW);
            let _ = response.head.kept_for();
            let Ok(written) = record::encode_response(&response) else {
                return;
            };
            let Ok(Record::Response(again)) = record::decode(&written.into(), BODY_BYTES_MAX)
            else {
                panic!("a response that was written cannot be read");
            };
            assert_eq!(again.body, response.body);
            assert_eq!(format!("{:?}", again.head), format!("{:?}", response.head));
        }
        Ok(Record::Pointer(names)) => {
            record::encode_pointer(&names).expect("what was read can be written");
        }
        Err(_) => {}
    }
}

/// Bans as the log has them: what is read is written and read again.
pub(crate) fn bans(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    if let Ok(bans) = scope::read(text) {
        let again = scope::read(&scope::write(&bans)).expect("what was written can be read");
        assert_eq!(again, bans);
    }
}
