//! Selecting request fields in a form in which equal meanings are equal bytes
//! (RFC 9111 §4.1 allows it "in a way that is known to have identical
//! semantics").
//!
//! Every field: lines combined, white space around list members removed; empty
//! members stay, since what is no list to its application is read whole.
//! `Accept`, `Accept-Charset`, `Accept-Encoding` and `Accept-Language` are
//! lists of choices whose order means nothing beside their weights (RFC 9110
//! §12.4.2, §12.5): weights are written one way, members sorted, case folded
//! where names have none. What cannot be read is left as it came.

use http::HeaderName;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE};

use crate::message::lines::FieldLines;

/// A weight in thousandths (RFC 9110 §12.4.2).
type Thousandths = u16;
const WEIGHT_MAX: Thousandths = 1_000;

/// The value of a selecting field, normalised; `None` where the request has no
/// such field.
pub(super) fn normalise(
    name: &HeaderName,
    request: &(impl FieldLines + ?Sized),
) -> Option<Vec<u8>> {
    let members = members(name, request)?;
    let has_choices = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name);
    if has_choices && let Some(mut choices) = choices(&members) {
        choices.sort_unstable();
        choices.dedup();
        let written: Vec<Vec<u8>> = choices.iter().map(Choice::write).collect();
        return Some(written.join(&b","[..]));
    }
    Some(members.join(&b","[..]))
}

/// The language range a request likes best, in lower case, if it likes one
/// better than all others; `*` is none.
pub(super) fn first_choice(request: &(impl FieldLines + ?Sized)) -> Option<String> {
    let members = members(&ACCEPT_LANGUAGE, request)?;
    let choices = choices(&members)?;
    let best = choices.iter().max_by_key(|choice| choice.weight)?;
    let rivals = choices.iter().filter(|choice| choice.weight == best.weight);
    let is_alone = rivals.count() == 1 && best.weight > 0;
    (is_alone && best.name != b"*")
        .then(|| String::from_utf8(best.name.clone()).ok())
        .flatten()
}

/// One member of a list of choices: what, and how much it is liked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Choice {
    name: Vec<u8>,
    weight: Thousandths,
}

impl Choice {
    fn write(&self) -> Vec<u8> {
        let mut written = self.name.clone();
        if self.weight != WEIGHT_MAX {
            written.extend_from_slice(format!(";q={}", self.weight).as_bytes());
        }
        written
    }
}

/// The members of a field over all its lines, the empty ones too. A line with a
/// quoted string is one member: a comma in it separates nothing.
fn members<'a>(
    name: &'a HeaderName,
    request: &'a (impl FieldLines + ?Sized),
) -> Option<Vec<&'a [u8]>> {
    let mut lines = request.lines(name).peekable();
    lines.peek()?;
    let mut members = Vec::new();
    for line in lines {
        let line = line.trim_ascii();
        if line.contains(&b'"') {
            members.push(line);
            continue;
        }
        let parts = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        members.extend(parts);
    }
    Some(members)
}

fn choices(members: &[&[u8]]) -> Option<Vec<Choice>> {
    // Empty members of a list mean nothing (RFC 9110 §5.6.1).
    let members = members.iter().filter(|member| !member.is_empty());
    members.map(|member| choice(member)).collect()
}

/// Reads `name [;parameter]… [;q=weight]`; `None` where it cannot be read.
fn choice(member: &[u8]) -> Option<Choice> {
    if member.contains(&b'"') {
        return None;
    }
    let mut name = Vec::with_capacity(member.len());
    let mut weight = WEIGHT_MAX;
    let mut is_weighed = false;
    for (index, part) in member.split(|byte| *byte == b';').enumerate() {
        let part = part.trim_ascii();
        let weight_text = part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="));
        match weight_text {
            // Of two weights one application takes the first, another the last.
            Some(_) if index > 0 && is_weighed => return None,
            Some(text) if index > 0 => {
                weight = thousandths(text)?;
                is_weighed = true;
            }
            _ => {
                if index > 0 {
                    name.push(b';');
                }
                let start = name.len();
                name.extend(part.iter().filter(|byte| !byte.is_ascii_whitespace()));
                // The values of parameters may mean something by their case.
                if index == 0 {
                    name[start..].make_ascii_lowercase();
                }
            }
        }
    }
    Some(Choice { name, weight })
}

/// `1`, `0.5`, `1.000`.
fn thousandths(text: &[u8]) -> Option<Thousandths> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: Thousandths = format!("{fraction:0<3}").parse().ok()?;
    let weight = match whole {
        "0" => fraction,
        "1" => WEIGHT_MAX.checked_add(fraction)?,
        _ => return None,
    };
    (is_number && weight <= WEIGHT_MAX).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use http::HeaderValue;

    fn request(name: &'static str, lines: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(name, HeaderValue::from_static(line));
        }
        map
    }

    fn language(lines: &[&'static str]) -> Option<Vec<u8>> {
        normalise(&ACCEPT_LANGUAGE, &request("accept-language", lines))
    }

    #[test]
    fn the_order_of_choices_means_nothing_beside_their_weights_rfc9110_12_5_4() {
        let one = language(&["en, de;q=0.5"]);
        for same in [
            &["de;q=0.5,en"][..],
            &["DE; q=0.50", " EN "],
            &["en;q=1.000, ,de ;Q=0.500"],
        ] {
            assert_eq!(language(same), one, "{same:?}");
        }
        for other in [&["de,en;q=0.5"][..], &["en,de"], &["en"], &["en,de;q=0.51"]] {
            assert_ne!(language(other), one, "{other:?}");
        }
    }

    #[test]
    fn an_empty_member_is_told_apart_where_the_field_may_be_no_list() {
        let name = HeaderName::from_static("x-currency");
        let value = |lines: &[&'static str]| normalise(&name, &request("x-currency", lines));
        for other in [&["EUR,"][..], &[",EUR"], &["", "EUR"], &["EUR,,"]] {
            assert_ne!(value(other), value(&["EUR"]), "{other:?}");
        }
        assert_eq!(value(&["A, B"]), value(&["A", "B"]));
    }

    #[test]
    fn what_cannot_be_read_is_left_in_its_order() {
        assert_ne!(language(&["de;q=0;q=1"]), language(&["de"]));
        assert_ne!(language(&["en;q=x, de"]), language(&["de, en;q=x"]));
        assert_ne!(language(&["en;q=2, de"]), language(&["de, en;q=2"]));
    }

    #[test]
    fn the_first_choice_is_liked_better_than_all_others() {
        let choice = |line| first_choice(&request("accept-language", &[line]));
        assert_eq!(choice("fr;q=0.5, De;q=1.0").as_deref(), Some("de"));
        assert_eq!(choice("de-AT").as_deref(), Some("de-at"));
        for none in ["en, de", "*", "de;q=0", "de;q=x"] {
            assert_eq!(choice(none), None, "{none}");
        }
        assert_eq!(first_choice(&HeaderMap::new()), None);
    }
}
