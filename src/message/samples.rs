//! What tests of messages share.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields of these lines, in their order.
pub(crate) fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    map
}

/// Chance that can be had again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of so many, counted from none.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 32) % count as u64).unwrap()
    }

    /// Changes bytes here and there, or none: another in a byte's place, one more,
    /// one less, a part twice.
    pub(crate) fn mangle(&mut self, bytes: &mut Vec<u8>, others: &[u8]) {
        let times = [0, 0, 0, 1, 1, 2, 4][self.below(7)];
        for _ in 0..times {
            let at = self.below(bytes.len() + 1);
            match self.below(4) {
                0 if at < bytes.len() => bytes[at] = others[self.below(others.len())],
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => {
                    let part = bytes[at..bytes.len().min(at + 1 + self.below(40))].to_vec();
                    let place = self.below(bytes.len() + 1);
                    bytes.splice(place..place, part);
                }
                _ => bytes.insert(at, others[self.below(others.len())]),
            }
        }
    }
}
