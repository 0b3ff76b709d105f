//! The rules of coherence, every order in which things can happen, and whether
//! a response older than it may be can ever be reused.
//!
//! The rules are those of docs/invalidation.md. One key, two instances, one
//! Redis; messages are late or lost, Redis is flushed or trimmed, instances
//! crash. Time is counted in leases: a lease holds until the clock has struck.
//! A test that turns a rule off shows that the model would find what it is for.

mod new_routes;
mod out_of_touch;
mod rules;

use rules::{Fault, Rules, System};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

/// A machine that needs longer than this checks less, and the test says so.
const PATIENCE: Duration = Duration::from_secs(240);

const FAULTS: [Option<Fault>; 6] = [
    None,
    Some(Fault::Flush),
    Some(Fault::Trim),
    Some(Fault::Crash),
    Some(Fault::LostAppend),
    Some(Fault::LostLook),
];

/// Checks everything that can happen within the bounds of `system`.
fn check(system: System) -> impl Checker<System> {
    let checker = system.checker().threads(2).timeout(PATIENCE);
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    println!(
        "{:?}: {} states, up to {} steps",
        system.fault,
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker
}

/// Every state was looked at, and the properties hold in all of them.
fn holds(system: System) {
    let started = Instant::now();
    let checker = check(system);
    let is_complete = checker.is_done() && started.elapsed() < PATIENCE;
    assert!(is_complete, "not everything was looked at");
    checker.assert_properties();
}

#[test]
fn no_response_older_than_an_applied_ban_is_ever_reused() {
    for fault in FAULTS {
        holds(System {
            writes: 1,
            fetches: 2,
            fault,
            ..System::default()
        });
    }
}

#[test]
fn two_writes_through_two_instances_do_not_hide_each_other() {
    holds(System {
        writes: 2,
        fetches: 1,
        ..System::default()
    });
}

#[test]
fn in_strict_mode_nothing_before_an_answered_write_is_ever_reused() {
    for fault in FAULTS {
        holds(System {
            writes: 1,
            fetches: 1,
            fault,
            is_strict: true,
            ..System::default()
        });
    }
}

#[test]
fn a_position_read_after_the_fetch_is_found_to_be_wrong() {
    let checker = check(System {
        writes: 1,
        fetches: 1,
        rules: Rules {
            position_first: false,
            ..Rules::default()
        },
        ..System::default()
    });
    assert!(checker.discovery(rules::NOT_BANNED).is_some());
}

#[test]
fn a_list_of_followers_that_was_just_lost_is_found_to_be_incomplete() {
    let checker = check(System {
        writes: 1,
        fetches: 1,
        fault: Some(Fault::Flush),
        is_strict: true,
        rules: Rules {
            distrusts_young_logs: false,
            ..Rules::default()
        },
    });
    assert!(checker.discovery(rules::NOT_BEFORE).is_some());
}

#[test]
fn a_hit_without_a_lease_is_found_to_break_the_promise() {
    let checker = check(System {
        writes: 1,
        fetches: 1,
        fault: None,
        is_strict: true,
        rules: Rules {
            leases: false,
            ..Rules::default()
        },
    });
    assert!(checker.discovery(rules::NOT_BEFORE).is_some());
}

#[test]
fn a_log_that_is_taken_up_again_as_it_was_left_is_found_to_be_wrong() {
    let checker = check(System {
        writes: 1,
        fetches: 1,
        fault: Some(Fault::Swap),
        rules: Rules {
            fences: false,
            ..Rules::default()
        },
        ..System::default()
    });
    assert!(checker.discovery(rules::NOT_BANNED).is_some());
}

#[test]
fn a_redis_that_was_away_and_is_back_gives_nothing_older_than_an_applied_ban() {
    holds(System {
        writes: 1,
        fetches: 1,
        fault: Some(Fault::Swap),
        ..System::default()
    });
}

#[test]
fn a_ban_that_waits_in_memory_alone_is_found_to_be_lost_in_a_crash() {
    let checker = check(System {
        writes: 1,
        fetches: 1,
        fault: Some(Fault::Crash),
        rules: Rules {
            spools: false,
            ..Rules::default()
        },
        ..System::default()
    });
    assert!(checker.discovery(rules::NOT_LOST).is_some());
}

#[test]
fn a_frozen_list_of_followers_is_found_to_leave_out_who_came_since() {
    let frozen = |wants_own_word| System {
        writes: 1,
        fetches: 1,
        fault: Some(Fault::Freeze),
        is_strict: true,
        rules: Rules {
            wants_own_word,
            ..Rules::default()
        },
    };
    let checker = check(frozen(false));
    assert!(checker.discovery(rules::NOT_BEFORE).is_some());
    holds(frozen(true));
}

#[test]
fn a_ban_before_a_late_commit_alone_is_found_to_be_too_early() {
    for is_strict in [false, true] {
        let checker = check(System {
            writes: 1,
            fetches: 1,
            is_strict,
            rules: Rules {
                bans_at_end: false,
                ..Rules::default()
            },
            ..System::default()
        });
        assert!(checker.discovery(rules::NOT_BANNED).is_some());
    }
}
