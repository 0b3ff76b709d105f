//! Nobody is given what is another's, and nobody empties what is not theirs.
//!
//! A hostile browser and a hostile application, two honest browsers with
//! secrets, and the real program between. By seed: `HOSTILE_SEED` chooses
//! another run, `HOSTILE_ROUNDS` a longer one, and `HOSTILE_ALL` counts all
//! findings by kind instead of stopping at the first.
//!
//! | module | is |
//! |---|---|
//! | `dictionary` | what a stranger sends, and what an application says |
//! | `reading` | how applications read a request |
//! | `application` | the origin, which remembers for whom it made each answer |
//! | `model` | who may see what, and what may be emptied |
//! | `rounds` | the stories |

mod application;
mod dictionary;
mod message;
mod model;
mod program;
mod random;
mod reading;
mod rounds;

use pannier::rule::RULES;
use rounds::Run;

/// Rounds of each of the two configurations, unless it is told otherwise.
const ROUNDS: usize = 200;
/// Rounds within which a rule that is off must have been found.
const ROUNDS_RULE_OFF: usize = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    number("HOSTILE_SEED").unwrap_or(1)
}

#[test]
fn nobody_sees_what_is_anothers_and_nobody_empties_what_is_not_theirs() {
    let rounds = number("HOSTILE_ROUNDS").and_then(|rounds| usize::try_from(rounds).ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let counts_all = std::env::var_os("HOSTILE_ALL").is_some();
    let off = std::env::var("HOSTILE_RULE_OFF").ok();
    let mut first = None;
    for trusted in [true, false] {
        let mut run = Run::new(seed(), trusted, off.as_deref());
        run.play(rounds, !counts_all);
        println!("trusted proxy {trusted}: {:?}", run.figures);
        first = first.or(run.first);
    }
    assert!(first.is_none(), "{}", first.unwrap_or_default());
}

#[test]
fn every_rule_switched_off_is_found() {
    let mut missed = Vec::new();
    for (_, name) in RULES {
        let mut run = Run::new(seed(), true, Some(name));
        run.play(ROUNDS_RULE_OFF, true);
        println!("{name} off: {:?}", run.figures);
        if run.first.is_none() {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "switched off and not found: {missed:?}");
}
