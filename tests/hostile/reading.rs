//! How applications read a request: `_` is `-` in the name of a field (WSGI,
//! CGI, PHP, Rack), names of cookies and of query parameters are decoded and
//! trimmed, `page[]` is `page`, fields of the way are believed.
//!
//! Used twice: by the application, of what reached it; and by the model, of
//! what an honest browser sent. Where the two differ for a shared answer,
//! somebody else's request spoke.

/// What the answer of an application may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aspect {
    /// The cookie `sid`.
    User,
    /// The cookie `currency`.
    Currency,
    /// `Authorization`.
    Token,
    /// `X-Tenant`.
    Tenant,
    /// `Accept-Language`.
    Language,
    /// `Accept-Encoding`.
    Encoding,
    /// `RSC`.
    Part,
    /// `Origin`.
    Site,
    /// The query parameter `page`.
    Page,
    /// The host, as forwarded.
    Host,
    /// The scheme, as forwarded.
    Scheme,
    /// The path, as rewritten.
    Path,
    /// Where the application is mounted.
    Mount,
    /// Whether a forged address was believed.
    Address,
    /// The method, as overridden.
    Method,
    /// The content.
    Content,
}

/// What everybody trusts Pannier to keep a stranger from forging, whatever a
/// response says.
pub(crate) const FORGEABLE: [Aspect; 7] = [
    Aspect::Host,
    Aspect::Scheme,
    Aspect::Path,
    Aspect::Mount,
    Aspect::Address,
    Aspect::Method,
    Aspect::Content,
];

/// A request as an application has it.
pub(crate) struct Read<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: &'a str,
    pub(crate) fields: &'a [(String, String)],
    pub(crate) content: &'a str,
    /// Whether the last of several equal names counts, or the first.
    pub(crate) takes_last: bool,
}

impl Read<'_> {
    /// The value of an aspect.
    pub(crate) fn see(&self, aspect: Aspect) -> String {
        match aspect {
            Aspect::User => self.cookie("sid"),
            Aspect::Currency => self.cookie("currency"),
            Aspect::Token => self.any(&["authorization"]),
            Aspect::Tenant => self.any(&["x-tenant"]),
            Aspect::Language => self.any(&["accept-language"]),
            Aspect::Encoding => self.any(&["accept-encoding"]),
            Aspect::Part => self.any(&["rsc"]),
            Aspect::Site => self.any(&["origin"]),
            Aspect::Page => self.parameter("page"),
            Aspect::Host => self.host(),
            Aspect::Scheme => self.scheme(),
            Aspect::Path => self.any(&["x-original-url", "x-rewrite-url", "x-original-uri"]),
            Aspect::Mount => self.any(&["x-script-name", "x-forwarded-prefix", "x-forwarded-path"]),
            Aspect::Address => {
                let names = [
                    "x-forwarded-for",
                    "x-real-ip",
                    "true-client-ip",
                    "forwarded",
                ];
                let values = names.iter().flat_map(|name| self.all(name));
                let forged = values.filter(|value| value.contains("6.6.6.6")).count();
                if forged > 0 { "forged" } else { "-" }.to_owned()
            }
            Aspect::Method => {
                let names = [
                    "x-http-method-override",
                    "x-http-method",
                    "x-method-override",
                ];
                match self.any(&names).as_str() {
                    "-" if self.method == "HEAD" => "GET".to_owned(),
                    "-" => self.method.to_owned(),
                    method => method.to_owned(),
                }
            }
            Aspect::Content if self.content.is_empty() => "-".to_owned(),
            Aspect::Content => self.content.to_owned(),
        }
    }

    fn all(&self, name: &str) -> Vec<String> {
        let is_named = |other: &str| other.to_ascii_lowercase().replace('_', "-") == name;
        let named = self.fields.iter().filter(|(other, _)| is_named(other));
        named.map(|(_, value)| value.clone()).collect()
    }

    fn one(&self, values: Vec<String>) -> Option<String> {
        let mut values = values.into_iter();
        if self.takes_last {
            values.last()
        } else {
            values.next()
        }
    }

    /// The value of the first of these fields that there is.
    fn any(&self, names: &[&str]) -> String {
        let found = names.iter().find_map(|name| self.one(self.all(name)));
        found.unwrap_or_else(|| "-".to_owned())
    }

    fn host(&self) -> String {
        let forwarded = self.one(self.all("x-forwarded-host"));
        let host = forwarded.unwrap_or_else(|| self.host.to_owned());
        let host = host.to_ascii_lowercase();
        host.strip_suffix(":80").unwrap_or(&host).to_owned()
    }

    fn scheme(&self) -> String {
        let names = [
            "x-forwarded-scheme",
            "x-scheme",
            "x-forwarded-protocol",
            "x-forwarded-proto",
        ];
        match self.any(&names).as_str() {
            "-" => "http".to_owned(),
            scheme => scheme.to_owned(),
        }
    }

    fn cookie(&self, name: &str) -> String {
        let mut found = Vec::new();
        for field in self.all("cookie") {
            for pair in field.split(';') {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                if key.trim() == name {
                    found.push(value.trim().to_owned());
                }
            }
        }
        self.one(found).unwrap_or_else(|| "-".to_owned())
    }

    fn parameter(&self, name: &str) -> String {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let mut found = Vec::new();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decoded(key);
            let key = key.trim();
            if key.strip_suffix("[]").unwrap_or(key) == name {
                found.push(decoded(value));
            }
        }
        self.one(found).unwrap_or_else(|| "-".to_owned())
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    let bytes = text.as_bytes();
    let mut plain = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3);
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match byte.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}
