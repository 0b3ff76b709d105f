//! Percent escapes of URLs (RFC 3986 §2.1).

/// Decodes every percent escape, as far as the result is text: bytes that are
/// no UTF-8 stay escaped, in upper case. Broken escapes stay as they are.
#[must_use]
pub fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match escape_at(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let mut plain = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        plain.push_str(chunk.valid());
        for byte in chunk.invalid() {
            plain.push_str(&format!("%{byte:02X}"));
        }
    }
    plain
}

/// The byte that an escape at the start of `text` stands for.
#[must_use]
pub fn escape_at(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_stay_escaped() {
        assert_eq!(decode("/%ff%41%c3%a9%zz"), "/%FFAé%zz");
    }
}
