//! Who may see what, and what may be emptied, as the contract has it. Knows
//! nothing of how Pannier decides.

use crate::application::{Application, TRACE, Write_, is_safe};
use crate::message::{Answer, Ending, Request};
use crate::reading::{Aspect, Read};

/// Something that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The rule it speaks against, by its name in `pannier::rule`, as far as
    /// that can be told from outside.
    pub(crate) kind: &'static str,
    pub(crate) what: String,
}

fn finding(kind: &'static str, what: String) -> Option<Finding> {
    Some(Finding { kind, what })
}

/// The trace of a request.
pub(crate) fn trace(request: &Request) -> &str {
    let traced = request.fields.iter();
    let mut traced = traced.filter(|(name, _)| name == TRACE);
    traced.next().map_or("", |(_, trace)| trace)
}

/// The serial that begins at `mark` in a text.
fn serial<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let at = text.find(mark)? + mark.len();
    text.get(at..at + 32)
}

/// What is wrong with an answer to this request. `stranger` is the request of
/// a stranger that came before, to name the kind of a finding; `is_honest`
/// says whether the one who is answered is an honest browser.
pub(crate) fn judge(
    application: &Application,
    request: &Request,
    answer: &Answer,
    is_honest: bool,
    takes_last: bool,
    stranger: Option<&Request>,
) -> Option<Finding> {
    let own = trace(request);
    for cookie in answer.all("set-cookie") {
        let made = serial(cookie, "sid=").and_then(|serial| application.made(serial));
        if made.is_none_or(|made| made.trace != own) {
            let kind = match answer.cache() {
                "HIT" => "set-cookie",
                _ => "validated-cookie",
            };
            return finding(kind, format!("{own} was given another's session: {cookie}"));
        }
    }
    let Some(made) = serial(&answer.body, "serial=").and_then(|serial| application.made(serial))
    else {
        // Without a body of the application's there is nothing to have seen.
        let is_failure = answer.status >= 500 && !application.was_asked(own);
        if is_honest && is_failure {
            let what = format!("{own} was told of a failure that it did not ask for");
            return finding("own-failure", what);
        }
        if is_honest && answer.status == 200 && request.method == "GET" {
            return finding("other", format!("{own} was given no whole answer"));
        }
        return None;
    };
    if made.trace == own {
        return None;
    }
    let from = &made.trace;
    if made.is_failure {
        return finding(
            "own-failure",
            format!("{own} was given the failure of {from}"),
        );
    }
    if made.is_personal {
        let what = format!("{own} was shown what was for {from} alone");
        return finding("unreadable-directives", what);
    }
    if made.has_cookie {
        let what = format!("{own} was given the answer that began the session of {from}");
        return finding("set-cookie", what);
    }
    let read = Read {
        method: &request.method,
        target: &request.target,
        host: &request.host,
        fields: &request.fields,
        content: &request.content,
        takes_last,
    };
    for (aspect, seen) in &made.seen {
        let wanted = read.see(*aspect);
        let is_secret = matches!(aspect, Aspect::User | Aspect::Token);
        // A stranger that is shown odd things asked for them; but never the
        // answer to somebody's session.
        let is_judged =
            is_honest || is_secret && (seen.starts_with("A-") || seen.starts_with("B-"));
        if is_judged && *seen != wanted {
            let kind = kind_of(*aspect, stranger);
            let what =
                format!("{own} was given what {from} made: {aspect:?} is {seen}, not {wanted}");
            return finding(kind, what);
        }
    }
    if is_honest && answer.status == 200 && request.method == "GET" && answer.body != made.body {
        return finding(
            "other",
            format!("{own} was given a part of what {from} made"),
        );
    }
    if is_honest && matches!(answer.status, 206 | 304 | 412) {
        return finding(
            "other",
            format!("{own} was told {}, unasked", answer.status),
        );
    }
    None
}

/// The rule that should have kept this aspect apart.
fn kind_of(aspect: Aspect, stranger: Option<&Request>) -> &'static str {
    let fields = stranger.map_or(&[][..], |request| &request.fields);
    let has_twin = fields
        .iter()
        .any(|(name, _)| name.contains('_') && !name.starts_with("X-Unknown"));
    let is_listed = |name: &str| {
        let mut lists = fields.iter().filter(|(name, _)| name == "Connection");
        lists.any(|(_, list)| list.to_ascii_lowercase().contains(name))
    };
    match aspect {
        Aspect::Page => "query-names",
        Aspect::User | Aspect::Currency if is_listed("cookie") => "forwarded-fields",
        Aspect::User | Aspect::Currency => "cookie-names",
        Aspect::Token
        | Aspect::Tenant
        | Aspect::Language
        | Aspect::Encoding
        | Aspect::Part
        | Aspect::Site => "forwarded-fields",
        Aspect::Host | Aspect::Scheme if stranger.is_none() => "forwarded-target",
        _ if has_twin => "underscore-fields",
        Aspect::Host | Aspect::Scheme => "forwarded-target",
        _ => "forged-field",
    }
}

/// The path that a write is meant for.
fn path(request: &Request) -> &str {
    request.path().trim_start_matches("http://shop.example")
}

/// Whether a stored response at `stored` may be invalid after this write
/// (contract §2, "What a write does"): an upper bound.
pub(crate) fn may_empty(request: &Request, answered: Write_, stored: &str) -> bool {
    if is_safe(&request.method) {
        return false;
    }
    let target = path(request);
    if stored == target {
        return request.ending != Ending::Whole || is_success(answered);
    }
    if request.ending != Ending::Whole || !is_success(answered) {
        return false;
    }
    let trimmed = target.trim_end_matches('/');
    let parent = trimmed.rsplit_once('/').map_or("", |(parent, _)| parent);
    let named = ["/login", "/elsewhere", parent];
    if !stored.is_empty() && named.contains(&stored) {
        return true;
    }
    let method = request.method.as_str();
    let overriding = request.fields.iter();
    let mut overriding = overriding.filter(|(name, _)| {
        method == "POST"
            && name
                .to_ascii_lowercase()
                .replace('_', "-")
                .contains("-method")
    });
    let goes_below = |method: &str| {
        let method = method.to_ascii_uppercase();
        matches!(method.as_str(), "PUT" | "PATCH" | "DELETE" | "MOVE")
    };
    let goes_below = goes_below(method) || overriding.any(|(_, value)| goes_below(value));
    goes_below && answered == Write_::Done && stored.starts_with(&format!("{trimmed}/"))
}

fn is_success(answered: Write_) -> bool {
    matches!(answered, Write_::Done | Write_::Redirected(_))
}

/// The rule that should have kept a stored response.
pub(crate) fn kind_of_emptying(request: &Request, answered: Write_, stored: &str) -> &'static str {
    let has_override = |request: &Request| {
        let mut fields = request.fields.iter();
        fields.any(|(name, _)| name.to_ascii_lowercase().contains("method"))
    };
    if request.ending != Ending::Whole {
        "incomplete-write"
    } else if is_safe(&request.method) && has_override(request) {
        "override-on-post"
    } else if is_safe(&request.method) {
        "safe-method"
    } else if stored == "/" && path(request) != "/" && is_success(answered) {
        "root-parent"
    } else if matches!(answered, Write_::Redirected(_)) {
        "redirected-write"
    } else {
        "emptied"
    }
}
