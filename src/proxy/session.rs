//! Read-your-writes on the wire: the position that the answer to a write
//! hands out, and the one that a request brings (`[coherence] session`).
//!
//! It is between the client and the instances: the origin does not see it, no
//! cache key or variant depends on it, and it is in no stored response.

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::SessionMode;
use crate::invalidation::session::{Brought, POSITION_AGE_MAX, write};
use crate::message::lines::FieldLines;
use crate::semantics::stored::LogPosition;

/// The name of the field; that of the cookie is the same.
const PANNIER_POSITION: HeaderName = HeaderName::from_static("pannier-position");

/// Whether a request of these fields may bring a position. Where the mode is
/// off, no field is looked at.
pub(super) fn is_brought(mode: SessionMode, fields: &(impl FieldLines + ?Sized)) -> bool {
    match mode {
        SessionMode::Off => false,
        SessionMode::Header => fields.lines(&PANNIER_POSITION).next().is_some(),
        SessionMode::Cookie => fields
            .lines(&COOKIE)
            .any(|line| pairs(line).any(|pair| position_in(pair).is_some())),
    }
}

/// Takes the position out of a request's fields. Two of them are none that can
/// be read.
pub(super) fn take(mode: SessionMode, fields: &mut HeaderMap) -> Brought {
    match mode {
        SessionMode::Off => Brought::Nothing,
        SessionMode::Header => {
            let lines = fields.get_all(PANNIER_POSITION);
            let brought = only(lines.iter().map(HeaderValue::as_bytes));
            fields.remove(PANNIER_POSITION);
            brought
        }
        SessionMode::Cookie => take_cookie(fields),
    }
}

fn take_cookie(fields: &mut HeaderMap) -> Brought {
    let lines = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let brought = only(lines.flat_map(pairs).filter_map(position_in));
    if brought == Brought::Nothing {
        return brought;
    }
    let kept: Vec<HeaderValue> = fields
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| {
            let others = pairs(line.as_bytes()).filter(|pair| position_in(pair).is_none());
            let left = others.collect::<Vec<_>>().join(&b';');
            // A part of what was a value is one.
            let left = HeaderValue::from_bytes(left.trim_ascii()).ok()?;
            (!left.is_empty()).then_some(left)
        })
        .collect();
    fields.remove(COOKIE);
    for line in kept {
        fields.append(COOKIE, line);
    }
    brought
}

/// Hands a position out with the answer to a write.
pub(super) fn hand_out(mode: SessionMode, position: &LogPosition, fields: &mut HeaderMap) {
    let position = write(position);
    match mode {
        SessionMode::Off => {}
        SessionMode::Header => {
            if let Ok(value) = HeaderValue::try_from(position) {
                fields.insert(PANNIER_POSITION, value);
            }
        }
        SessionMode::Cookie => {
            let seconds = POSITION_AGE_MAX.as_secs();
            let cookie = format!(
                "{PANNIER_POSITION}={position}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax"
            );
            if let Ok(value) = HeaderValue::try_from(cookie) {
                fields.append(SET_COOKIE, value);
            }
        }
    }
}

fn only<'a>(mut found: impl Iterator<Item = &'a [u8]>) -> Brought {
    match (found.next(), found.next()) {
        (None, _) => Brought::Nothing,
        (Some(text), None) => Brought::read(text),
        (Some(_), Some(_)) => Brought::Unreadable,
    }
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';')
}

/// The value, where the name of a pair is ours.
fn position_in(pair: &[u8]) -> Option<&[u8]> {
    let pair = pair.trim_ascii();
    let value = pair.strip_prefix(PANNIER_POSITION.as_str().as_bytes())?;
    Some(value.trim_ascii_start().strip_prefix(b"=")?.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use httparse::Header;

    fn taken(mode: SessionMode, lines: &[(&str, &str)]) -> (Brought, Vec<String>) {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::try_from(*value).unwrap());
        }
        let brought = take(mode, &mut fields);
        let left = fields.iter();
        let left = left.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        (brought, left.collect())
    }

    fn position() -> LogPosition {
        LogPosition {
            incarnation: 0xfe,
            millis: 7,
            sequence: 1,
        }
    }

    #[test]
    fn what_is_brought_does_not_stay_in_the_request() {
        let here = Brought::Position(position());
        let cookies = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            taken(SessionMode::Cookie, &lines)
        };
        assert_eq!(cookies(&["pannier-position=fe-7-1"]), (here, vec![]));
        assert_eq!(
            cookies(&["a=1; pannier-position=fe-7-1; b=2"]),
            (here, vec!["cookie: a=1; b=2".to_owned()])
        );
        assert_eq!(
            cookies(&["pannier-position=fe-7-1; b=\"x y\"", "c"]),
            (
                here,
                vec!["cookie: b=\"x y\"".to_owned(), "cookie: c".to_owned()]
            )
        );
        assert_eq!(
            cookies(&["my-pannier-position=fe-7-1;  b"]),
            (
                Brought::Nothing,
                vec!["cookie: my-pannier-position=fe-7-1;  b".to_owned()]
            )
        );
        let (brought, left) = taken(
            SessionMode::Header,
            &[("pannier-position", "fe-7-1"), ("x", "y")],
        );
        assert_eq!((brought, left), (here, vec!["x: y".to_owned()]));
    }

    #[test]
    fn two_positions_are_none_that_can_be_read() {
        for lines in [
            &["pannier-position=fe-7-1; pannier-position=fe-7-2"][..],
            &["pannier-position=fe-7-1", "pannier-position=fe-7-2"],
            &["pannier-position="],
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let unreadable = (Brought::Unreadable, vec![]);
            assert_eq!(taken(SessionMode::Cookie, &lines), unreadable, "{lines:?}");
        }
    }

    #[test]
    fn where_it_is_off_nothing_is_touched() {
        let lines = [("cookie", "pannier-position=fe-7-1")];
        let (brought, left) = taken(SessionMode::Off, &lines);
        assert_eq!(brought, Brought::Nothing);
        assert_eq!(left, ["cookie: pannier-position=fe-7-1"]);
    }

    #[test]
    fn what_is_taken_is_seen_on_the_short_way() {
        let field = |name, value: &'static str| Header {
            name,
            value: value.as_bytes(),
        };
        let cookie = [field("Cookie", "a=1;pannier-position =x")];
        let header = [field("Pannier-Position", "x")];
        assert!(is_brought(SessionMode::Cookie, &cookie[..]));
        assert!(!is_brought(SessionMode::Cookie, &header[..]));
        assert!(is_brought(SessionMode::Header, &header[..]));
        assert!(!is_brought(SessionMode::Header, &cookie[..]));
        let both = [cookie, header].concat();
        assert!(!is_brought(SessionMode::Off, &both[..]));
    }

    #[test]
    fn what_is_handed_out_can_be_brought() {
        let mut fields = HeaderMap::new();
        hand_out(SessionMode::Cookie, &position(), &mut fields);
        assert_eq!(
            fields["set-cookie"],
            "pannier-position=fe-7-1; Path=/; Max-Age=300; HttpOnly; SameSite=Lax"
        );
        hand_out(SessionMode::Header, &position(), &mut fields);
        assert_eq!(fields["pannier-position"], "fe-7-1");
    }
}
