//! The options of `[[routes]]` that say what is stored, and for how long.

use std::time::Duration;

use http::{HeaderName, StatusCode};
use toml::de::DeValue;

use super::CacheConfig;
use super::given::{Given, Kind};
use super::kinds::{Choice, Durations, List, Parsed, Wrong};
use super::reader::Table;
use super::route_values::{Field, ignored};
use super::units::WrittenDuration;
use crate::message::directives::IgnoredDirectives;
use crate::message::targeted::{TARGETS, Target};
use crate::semantics::policy::{LifetimeBounds, Policy, StoreErrors, StoreSetCookie, Targets};

/// The longest lifetime anything may be configured to.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Reads them.
pub(super) fn read(table: &mut Table<'_>, cache: &CacheConfig) -> Policy {
    let ignored_fields = table.option(
        "ignore_headers",
        Vec::new(),
        List(Choice(&[("cache-control", Field::CacheControl), ("set-cookie", Field::SetCookie), ("vary", Field::Vary)])),
        "Response fields to act as if the origin had not sent. set-cookie is what `set_cookie = \"strip\"` does.",
    );
    let mut policy = Policy {
        ttl: table.optional("ttl", "\"60s\"", Ttl { default: cache.ttl }, "Freshness lifetime of a 2xx response that states none of its own; \"default\" is `[cache] ttl`; left out: RFC 9111 alone decides, heuristic freshness included."),
        ttl_by_status: table
            .optional("ttl_by_status", "{ 404 = \"10s\", 301 = \"1h\" }", TtlByStatus, "The same for responses of these status codes, whatever their class: they are stored where they state no lifetime, errors too.")
            .unwrap_or_default(),
        ttl_bounds: bounds(table),
        stale_while_revalidate: table.option("stale_while_revalidate", Duration::ZERO, lifetimes(), "How long past its lifetime a response is reused while it is validated in the background, unless the origin says."),
        stale_if_error: table.option("stale_if_error", Duration::ZERO, lifetimes(), "How long past its lifetime a response is reused when the origin fails, unless the origin says."),
        ignore: ignored(&ignored_fields),
        ignore_vary: table.option(
            "ignore_vary",
            Vec::new(),
            List(field_name()),
            "Request fields that select nothing although the origin's Vary names them, such as Cookie where only a counter sets one. Fields and cookies of routes.key need not be named: their Vary means what the key has of them.",
        ),
        ignore_request: ignored_directives(&table.option(
            "ignore_request_headers",
            Vec::new(),
            List(Choice(&[
                ("cache-control", Directives::CacheControl),
                ("pragma", Directives::Pragma),
            ])),
            "Request fields whose directives clients may not give: with both, no client can have the origin asked, nor refuse what is stored.",
        )),
        errors: table.option(
            "errors",
            StoreErrors::Never,
            Choice(&[("never", StoreErrors::Never), ("origin", StoreErrors::Origin)]),
            "\"never\": a 4xx or 5xx is not stored; \"origin\": it is when the origin gives it explicit freshness, on a route without ttl also by heuristics.",
        ),
        targets: Targets(table.option(
            "targets",
            TARGETS.to_vec(),
            List(Choice(&[
                ("pannier-cache-control", Target::Pannier),
                ("cdn-cache-control", Target::Cdn),
                ("surrogate-control", Target::Surrogate),
            ])),
            "Response fields that govern in the place of Cache-Control and Expires, most applicable first (RFC 9213). With surrogate-control, Surrogate-Capability is sent to the origin.",
        )),
        set_cookie: table.option(
            "set_cookie",
            StoreSetCookie::Never,
            Choice(&[
                ("never", StoreSetCookie::Never),
                ("strip", StoreSetCookie::Strip),
                ("origin", StoreSetCookie::Origin),
            ]),
            "What becomes of a response with Set-Cookie. \"never\": it goes to the client that asked and is neither stored nor shared; \"strip\": it is stored without the field; \"origin\": it is stored with the field where the origin gives it explicit freshness or says public (RFC 9111 §7.3), and everybody gets the cookie.",
        ),
    };
    if ignored_fields.contains(&Field::SetCookie) {
        if policy.set_cookie == StoreSetCookie::Origin {
            table.problem(
                "set_cookie",
                "`set_cookie = \"origin\"` stores what `ignore_headers` leaves out".to_owned(),
                Some(
                    "take `set-cookie` out of `ignore_headers`, or leave `set_cookie` out"
                        .to_owned(),
                ),
            );
        }
        policy.set_cookie = StoreSetCookie::Strip;
    }
    policy
}

fn bounds(table: &mut Table<'_>) -> LifetimeBounds {
    let unbounded = LifetimeBounds::default();
    let min = table.option(
        "ttl_min",
        unbounded.min,
        lifetimes(),
        "A lifetime that the origin states, or that is guessed, is at least this long. What forbids to store or to reuse stays forbidden.",
    );
    let max = table.optional(
        "ttl_max",
        "\"1h\"",
        lifetimes(),
        "And at most this long; left out: no bound.",
    );
    if max.is_some_and(|max| max < min) {
        table.problem(
            "ttl_max",
            "`routes.ttl_max` is less than `ttl_min`".to_owned(),
            Some("leave one of them out".to_owned()),
        );
    }
    LifetimeBounds {
        min,
        max: max.unwrap_or(unbounded.max),
    }
}

/// The name of a request field.
pub(super) fn field_name() -> Parsed<HeaderName> {
    Parsed {
        expects: "the name of a request field",
        parse: |text| match text {
            "*" => Err(Wrong::new("`*` is no name of a field")
                .hint("`ignore_headers = [\"vary\"]` ignores all of Vary")),
            text => text
                .parse::<HeaderName>()
                .map_err(|_| Wrong::new("this is no name of a field")),
        },
        write: HeaderName::to_string,
    }
}

/// A field with directives that a route may ignore.
#[derive(Clone, Copy, PartialEq)]
enum Directives {
    CacheControl,
    Pragma,
}

fn ignored_directives(fields: &[Directives]) -> IgnoredDirectives {
    IgnoredDirectives {
        cache_control: fields.contains(&Directives::CacheControl),
        pragma: fields.contains(&Directives::Pragma),
    }
}

/// How long something may be kept; zero is a lifetime like any other: kept,
/// and validated each time.
pub(super) fn lifetimes() -> Durations {
    Durations {
        min: Duration::ZERO,
        max: YEAR,
    }
}

/// A lifetime, or the one that `[cache] ttl` gives to all who ask for it.
struct Ttl {
    default: Option<Duration>,
}

impl Kind for Ttl {
    type Value = Duration;

    fn expects(&self) -> String {
        format!("{}, or `\"default\"`", lifetimes().expects())
    }

    fn read(&self, given: &Given<'_>) -> Option<Duration> {
        let is_default = matches!(given.value, DeValue::String(text) if text == "default");
        if !is_default {
            return lifetimes().read(given);
        }
        if self.default.is_none() {
            let hint = "write `ttl = \"60s\"` below `[cache]`".to_owned();
            return given.problem("there is no default: `[cache] ttl` is not set", Some(hint));
        }
        self.default
    }

    fn write(&self, value: &Duration) -> String {
        lifetimes().write(value)
    }
}

/// Lifetimes by status code.
struct TtlByStatus;

impl Kind for TtlByStatus {
    type Value = Vec<(StatusCode, Duration)>;

    fn expects(&self) -> String {
        "a table such as `{ 404 = \"10s\", 301 = \"1h\" }`".to_owned()
    }

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        let DeValue::Table(entries) = given.value else {
            return given.wrong_type(&self.expects());
        };
        let mut lifetimes_by_status = Vec::new();
        for (status, lifetime) in entries {
            let code = StatusCode::from_bytes(status.get_ref().as_bytes()).ok();
            // A part, and answers to conditions and ranges: nothing to keep whole.
            let Some(code) = code.filter(|code| {
                !code.is_informational() && !matches!(code.as_u16(), 206 | 304 | 416)
            }) else {
                let message = "expected a status code from 200 to 599, none of 206, 304 and 416";
                return given.problem(message, None);
            };
            let lifetime = lifetimes().read(&given.item(lifetime))?;
            lifetimes_by_status.push((code, lifetime));
        }
        Some(lifetimes_by_status)
    }

    fn write(&self, value: &Self::Value) -> String {
        let entries: Vec<String> = value
            .iter()
            .map(|(status, ttl)| format!("{} = \"{}\"", status.as_u16(), WrittenDuration(*ttl)))
            .collect();
        format!("{{ {} }}", entries.join(", "))
    }
}
