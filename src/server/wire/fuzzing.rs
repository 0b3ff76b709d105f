//! The framer for a fuzz target, which only sees what is public.

use super::framer::{Bounds, Framer, Step};
use crate::message::chunked::Then;

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 600,
    target_bytes_max: 100,
};

/// How far a connection got, and how it stands.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    passed: usize,
    heads: u64,
    content: Vec<u8>,
    /// Of the refusal.
    refused: Option<u16>,
    is_over: bool,
}

/// Frames the bytes whole, byte by byte, and in pieces whose lengths the first
/// byte gives: the verdict is the same.
///
/// # Panics
/// Where it is not.
pub fn framer(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = frame(bytes.chunks(bytes.len().max(1)));
    for piece in [1, usize::from(cut).max(1)] {
        assert_eq!(whole, frame(bytes.chunks(piece)));
    }
}

fn frame<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Verdict {
    let mut framer = Framer::new(BOUNDS);
    let mut verdict = Verdict {
        passed: 0,
        heads: 0,
        content: Vec::new(),
        refused: None,
        is_over: false,
    };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() && !framer.is_over() {
            if framer.is_in_content() {
                let content = &mut verdict.content;
                let found = framer.content(&held, |piece| content.extend_from_slice(piece));
                verdict.passed += found.passed;
                held.drain(..found.passed);
                if found.then == Then::Malformed {
                    break;
                }
                continue;
            }
            let mut seen = 0;
            match framer.step(&held, &mut |_, _, _| seen += 1) {
                Step::Drop(count) => {
                    verdict.passed += count;
                    held.drain(..count);
                }
                Step::Head(count, _) => {
                    assert_eq!(seen, 1);
                    verdict.heads += 1;
                    verdict.passed += count;
                    held.drain(..count);
                }
                Step::More => break,
                Step::Refuse(problem) => {
                    verdict.refused = Some(problem.status.as_u16());
                    break;
                }
            }
        }
    }
    verdict.is_over = framer.is_over();
    verdict
}
