//! The template of a path that has no route.

/// Longer paths are cut: a template is a name for a table, not the path.
pub const TEMPLATE_BYTES_MAX: usize = 256;

/// Hexadecimal segments at least so long are taken for identifiers (a short
/// one may be a word: `/cafe`, `/face`).
const HEX_DIGITS_MIN: usize = 16;

/// A path with numbers, UUIDs and long hexadecimal segments replaced by
/// `{id}`, and cut at [`TEMPLATE_BYTES_MAX`].
#[must_use]
pub fn of_path(path: &str) -> String {
    let mut template = String::with_capacity(path.len().min(TEMPLATE_BYTES_MAX));
    for (position, segment) in path.split('/').enumerate() {
        if position > 0 {
            template.push('/');
        }
        template.push_str(if is_identifier(segment) {
            "{id}"
        } else {
            segment
        });
        if template.len() > TEMPLATE_BYTES_MAX {
            let mut end = TEMPLATE_BYTES_MAX;
            while !template.is_char_boundary(end) {
                end -= 1;
            }
            template.truncate(end);
            template.push('…');
            break;
        }
    }
    template
}

fn is_identifier(segment: &str) -> bool {
    let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    let is_long_hex = segment.len() >= HEX_DIGITS_MIN
        && segment.bytes().all(|byte| byte.is_ascii_hexdigit())
        && segment.bytes().any(|byte| byte.is_ascii_digit());
    is_number || is_long_hex || is_uuid(segment)
}

/// RFC 9562: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(segment: &str) -> bool {
    segment.len() == 36
        && segment
            .bytes()
            .enumerate()
            .all(|(position, byte)| match position {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_become_one_name_and_words_stay() {
        for (path, template) in [
            ("/", "/"),
            ("/users/42/posts/7", "/users/{id}/posts/{id}"),
            ("/u/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "/u/{id}"),
            ("/blob/9f86d081884c7d659a2feaa0c55ad015", "/blob/{id}"),
            ("/cafe/v2", "/cafe/v2"),
            ("/facadefacadefacade", "/facadefacadefacade"),
            ("/42/", "/{id}/"),
            ("*", "*"),
        ] {
            assert_eq!(of_path(path), template);
        }
    }

    #[test]
    fn a_template_is_short() {
        let long = of_path(&"/é".repeat(4_000));
        assert!(long.len() <= TEMPLATE_BYTES_MAX + '…'.len_utf8());
        let one = of_path(&"x".repeat(8_000));
        assert!(one.len() <= TEMPLATE_BYTES_MAX + '…'.len_utf8());
    }
}
