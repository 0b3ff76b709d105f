//! The framer for a fuzz target, which only sees what is public.

use super::framer::{Bounds, Framer, Step};

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 600,
    target_bytes_max: 100,
};

/// How far a connection got, and how it stands.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    passed: usize,
    heads: u64,
    /// Of the refusal.
    refused: Option<u16>,
    is_broken: bool,
    is_switching: bool,
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
    for is_answering in [false, true] {
        let whole = frame(bytes.chunks(bytes.len().max(1)), is_answering);
        for piece in [1, usize::from(cut).max(1)] {
            assert_eq!(whole, frame(bytes.chunks(piece), is_answering));
        }
    }
}

fn frame<'a>(pieces: impl Iterator<Item = &'a [u8]>, is_answering: bool) -> Verdict {
    let mut framer = Framer::new(BOUNDS);
    let mut verdict = Verdict {
        passed: 0,
        heads: 0,
        refused: None,
        is_broken: false,
        is_switching: false,
    };
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        while !held.is_empty() {
            match framer.step_or_answer(&held, &mut |_| is_answering) {
                Step::Pass(count) | Step::Answered(count) | Step::Drop(count) => {
                    verdict.passed += count;
                    held.drain(..count);
                }
                Step::More | Step::Switch => break,
                Step::Refuse(problem) => {
                    verdict.refused = Some(problem.status.as_u16());
                    break;
                }
                Step::Broken => {
                    verdict.is_broken = true;
                    break;
                }
            }
        }
    }
    verdict.heads = framer.heads();
    verdict.is_switching = framer.is_switching();
    verdict
}
