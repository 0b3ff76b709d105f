//! Positions that clients bring: which are good here, and which never will be.

use std::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, Upstream};
use crate::invalidation::follow::Event;
use crate::invalidation::scope::{Ban, Scope};

const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

fn alone() -> Invalidation {
    let authority = "127.0.0.1:1".parse().unwrap();
    let config = Config::default_for(Upstream::Http { authority });
    Invalidation::alone(&config.coherence, Clock::System)
}

fn at(incarnation: u128, millis: u64) -> LogPosition {
    LogPosition {
        incarnation,
        millis,
        sequence: 0,
    }
}

fn brought(incarnation: u128, millis: u64) -> Brought {
    Brought::Position(at(incarnation, millis))
}

fn receipt(number: u64, position: Option<LogPosition>) -> Receipt {
    Receipt {
        number,
        position,
        is_unlogged: false,
        is_kept: true,
        appended: Instant::now(),
    }
}

/// One that follows log 1 up to 10.
fn following() -> Invalidation {
    let here = alone();
    here.here.bans.start_over(at(1, 1), &[], at(1, 10), NOW);
    here.here.touch.heard(Instant::now(), 1);
    here
}

#[test]
fn a_position_is_read_back_as_it_was_written() {
    let longest = LogPosition {
        incarnation: u128::MAX,
        millis: u64::MAX,
        sequence: u64::MAX,
    };
    assert_eq!(write(&longest).len(), TEXT_MAX);
    for position in [longest, at(0xfe, 7)] {
        let text = write(&position);
        assert_eq!(
            Brought::read(text.as_bytes()),
            Brought::Position(position),
            "{text}"
        );
    }
    let long = format!("{}1-1-1", "0".repeat(TEXT_MAX));
    for odd in [
        "", "1", "1-1", "1-1-", "-1-1", "x-1-1", "1-1-1-1", "+1-1-1", "1-+1-1", &long,
    ] {
        assert_eq!(Brought::read(odd.as_bytes()), Brought::Unreadable, "{odd}");
    }
}

#[tokio::test]
async fn alone_its_own_positions_are_good_at_once_and_no_others() {
    let (here, other) = (alone(), alone());
    let ban = [Ban::hard(Scope::All)];
    let of = async |instance: &Invalidation| {
        let receipt = instance.put_in_force(&ban).await;
        instance.session_position(&receipt, false, Brought::Nothing, NOW)
    };
    let (ours, theirs) = (of(&here).await, of(&other).await);
    assert!(here.has_reached(Brought::Nothing).await);
    assert!(here.has_reached(Brought::Position(ours)).await);
    assert!(!here.has_reached(Brought::Position(theirs)).await);
    assert!(!here.has_reached(Brought::Unreadable).await);
    let forged = LogPosition {
        sequence: ours.sequence + 1,
        ..ours
    };
    assert!(!here.has_reached(Brought::Position(forged)).await);
    assert!(!here.has_reached(brought(UNKNOWN, 0)).await);
}

#[tokio::test(start_paused = true)]
async fn one_waits_until_the_log_is_applied_and_no_longer_than_is_bearable() {
    let here = following();
    assert!(here.has_reached(brought(1, 10)).await);
    let applied = || {
        here.here.hear(Event::Applied {
            position: at(1, 11),
            entries: Vec::new(),
        });
        std::future::ready(())
    };
    let (reached, ()) = tokio::join!(here.has_reached(brought(1, 11)), async { applied().await });
    assert!(reached);

    let began = tokio::time::Instant::now();
    assert!(!here.has_reached(brought(1, 12)).await);
    assert_eq!(began.elapsed(), WAIT_MAX);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_cannot_come_nor_behind_too_many() {
    let here = following();
    let began = tokio::time::Instant::now();
    assert!(!here.has_reached(brought(2, 5)).await, "another log");

    let forged = (0..WAITERS_MAX).map(|_| here.has_reached(brought(1, 99)));
    let all = futures_util::future::join_all(forged);
    let one_more = async {
        tokio::task::yield_now().await;
        let reached = here.has_reached(brought(1, 99)).await;
        (reached, began.elapsed())
    };
    let (_, (reached, waited)) = tokio::join!(all, one_more);
    assert_eq!((reached, waited), (false, Duration::ZERO));

    here.here.touch.lost();
    let began = tokio::time::Instant::now();
    assert!(!here.has_reached(brought(1, 99)).await, "out of reach");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[test]
fn what_is_handed_out_covers_what_was_brought() {
    let here = following();
    let own = here.here.sessions.own;
    let (logged, pending) = (receipt(3, Some(at(1, 20))), receipt(3, None));
    let hands_out =
        |receipt: &Receipt, brought| here.session_position(receipt, false, brought, NOW);

    // Its place in the log covers what came before it there.
    for covered in [
        Brought::Nothing,
        Brought::Unreadable,
        brought(1, 5),
        brought(1, 15),
    ] {
        assert_eq!(hands_out(&logged, covered), at(1, 20), "{covered:?}");
    }
    // Without one it is good here alone, where what was brought is too.
    let local = hands_out(&pending, brought(1, 5));
    assert_eq!((local.incarnation, local.sequence), (own, 3));
    let goes_on = here.session_position(&logged, true, Brought::Nothing, NOW);
    assert_eq!(goes_on, local, "its bans come again");

    // What another instance holds back, or this one has not applied, is covered
    // by nothing: for a while the client asks the origin.
    let unknown = at(UNKNOWN, NOW.unix_millis());
    assert_eq!(hands_out(&logged, brought(7, 1)), unknown);
    assert_eq!(hands_out(&pending, brought(1, 15)), unknown);
    let began = NOW.unix_millis() - 1_000;
    assert_eq!(
        hands_out(&logged, brought(UNKNOWN, began)),
        at(UNKNOWN, began)
    );
    let age = POSITION_AGE_MAX.as_millis() as u64 + 1;
    let long_ago = NOW.unix_millis() - age;
    assert_eq!(hands_out(&logged, brought(UNKNOWN, long_ago)), at(1, 20));
}
