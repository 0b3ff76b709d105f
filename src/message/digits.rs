//! Numbers as fields have them, without the formatting machinery.

/// The digits of the largest number.
const DIGITS_MAX: usize = 20;

/// Appends a number.
pub fn push_number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    loop {
        first -= 1;
        digits[first] = digit(number % 10);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

/// Appends a number that may be negative.
pub fn push_signed(text: &mut Vec<u8>, number: i64) {
    if number < 0 {
        text.push(b'-');
    }
    push_number(text, number.unsigned_abs());
}

/// Appends thousandths as a number with three decimals.
pub fn push_thousandths(text: &mut Vec<u8>, thousandths: u64) {
    push_number(text, thousandths / 1_000);
    let rest = thousandths % 1_000;
    text.extend([
        b'.',
        digit(rest / 100),
        digit(rest / 10 % 10),
        digit(rest % 10),
    ]);
}

/// Of a number below ten.
#[expect(clippy::cast_possible_truncation, reason = "below ten")]
const fn digit(number: u64) -> u8 {
    b'0' + number as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut text = Vec::new();
        push(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn numbers_are_written_as_formatting_would() {
        for number in [0, 7, 10, 99, 1_000, 86_399, u64::MAX] {
            assert_eq!(pushed(|text| push_number(text, number)), number.to_string());
            let formatted = format!("{}.{:03}", number / 1_000, number % 1_000);
            assert_eq!(pushed(|text| push_thousandths(text, number)), formatted);
        }
        for number in [0, -1, 60, i64::MIN, i64::MAX] {
            assert_eq!(pushed(|text| push_signed(text, number)), number.to_string());
        }
    }
}
