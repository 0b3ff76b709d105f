//! Bans: what outlives them and what does not.

use super::*;
use crate::invalidation::scope::Scope;
use crate::pattern::Pattern;
use crate::semantics::stored::tests_support::response;

const NOW: Timestamp = Timestamp::from_unix_millis(0);

fn ban(path: &str) -> Ban {
    Ban::hard(Scope::Pattern(Pattern::literal(path)))
}

fn stored(path: &str, position: Position) -> StoredHead {
    let mut head = response(path, 0).head;
    head.position = position;
    head
}

fn read(path: &str, millis: u64) -> Read {
    Read {
        position: log(millis),
        own: None,
        bans: vec![ban(path)],
    }
}

fn log(millis: u64) -> LogPosition {
    LogPosition {
        incarnation: 1,
        millis,
        sequence: 0,
    }
}

#[test]
fn a_response_outlives_bans_before_its_fetch_and_none_after() {
    let bans = Bans::new(100);
    bans.apply(&[ban("/a")], NOW);
    let head = stored("/a", bans.position());
    assert_eq!(
        bans.judge(&head.ban_subject(), head.position.local).verdict,
        Verdict::Stands
    );
    bans.apply(&[ban("/b")], NOW);
    assert_eq!(
        bans.judge(&head.ban_subject(), head.position.local).verdict,
        Verdict::Stands
    );
    bans.apply(&[ban("/a")], NOW);
    assert_eq!(
        bans.judge(&head.ban_subject(), head.position.local).verdict,
        Verdict::Banned
    );
}

#[test]
fn a_fill_that_began_before_a_write_ended_is_dead_on_arrival() {
    let bans = Bans::new(100);
    let before = bans.position();
    bans.apply(&[ban("/a")], NOW);
    let head = stored("/a", before);
    assert!(bans.overtook(&before, "r", &head.target));
    assert_eq!(
        bans.judge(&head.ban_subject(), before.local).verdict,
        Verdict::Banned
    );
    assert_eq!(bans.judge_record(&head).verdict, Verdict::Banned);
}

#[test]
fn a_record_is_measured_against_the_log() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[read("/a", 5)], log(5), NOW);
    let at = |millis| Position {
        local: 0,
        log: log(millis),
    };
    assert_eq!(
        bans.judge_record(&stored("/a", at(4))).verdict,
        Verdict::Banned
    );
    assert_eq!(
        bans.judge_record(&stored("/a", at(5))).verdict,
        Verdict::Stands
    );
    assert_eq!(
        bans.judge_record(&stored("/b", at(4))).verdict,
        Verdict::Stands
    );
}

#[test]
fn our_own_ban_counts_for_every_record_until_the_log_has_it() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(9), NOW);
    let last = bans.apply(&[ban("/a")], NOW);
    let record = stored(
        "/a",
        Position {
            local: 0,
            log: log(9),
        },
    );
    assert_eq!(bans.judge_record(&record).verdict, Verdict::Banned);
    bans.confirm(last, log(8));
    assert_eq!(bans.judge_record(&record).verdict, Verdict::Stands);
}

#[test]
fn a_record_of_another_log_or_from_before_the_horizon_is_a_miss() {
    let bans = Bans::new(100);
    bans.start_over(log(7), &[], log(9), NOW);
    let at = |log| stored("/a", Position { local: 0, log });
    assert_eq!(bans.judge_record(&at(log(6))).verdict, Verdict::Banned);
    assert_eq!(bans.judge_record(&at(log(7))).verdict, Verdict::Stands);
    let other = LogPosition {
        incarnation: 2,
        ..log(9)
    };
    assert_eq!(bans.judge_record(&at(other)).verdict, Verdict::Banned);
}

#[test]
fn starting_over_drops_memory_and_keeps_what_is_not_in_the_log_yet() {
    let bans = Bans::new(100);
    let early = stored("/b", bans.position());
    bans.apply(&[ban("/a")], NOW);
    bans.start_over(log(0), &[read("/c", 3)], log(3), NOW);
    assert_eq!(bans.judge(&early.ban_subject(), 0).verdict, Verdict::Banned);
    let at = |path, millis| {
        let log = log(millis);
        stored(path, Position { local: 0, log })
    };
    let verdict = |path, millis| bans.judge_record(&at(path, millis)).verdict;
    assert_eq!(verdict("/a", 3), Verdict::Banned);
    assert_eq!(verdict("/c", 2), Verdict::Banned);
    assert_eq!(verdict("/c", 3), Verdict::Stands);
    let late = stored("/b", bans.position());
    let judged = bans.judge(&late.ban_subject(), late.position.local);
    assert_eq!(judged.verdict, Verdict::Stands);
}

#[test]
fn our_own_entry_is_not_applied_twice() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(0), NOW);
    let last = bans.apply(&[ban("/a")], NOW);
    let refetched = stored("/a", bans.position());
    let own = Read {
        own: Some(last),
        ..read("/a", 1)
    };
    bans.follow(&[own], log(1), NOW);
    let judged = bans.judge(&refetched.ban_subject(), refetched.position.local);
    assert_eq!(judged.verdict, Verdict::Stands);
}

#[test]
fn a_soft_ban_softens_and_a_hard_one_after_it_bans() {
    let bans = Bans::new(100);
    let head = stored("/a", bans.position());
    let soft = Ban {
        is_soft: true,
        ..ban("/a")
    };
    bans.apply(&[soft], NOW);
    assert_eq!(
        bans.judge(&head.ban_subject(), 0).verdict,
        Verdict::Softened { by: 1 }
    );
    bans.apply(&[ban("/a")], NOW);
    assert_eq!(bans.judge(&head.ban_subject(), 0).verdict, Verdict::Banned);
}

#[test]
fn a_soft_ban_does_not_take_the_place_of_a_hard_one() {
    let bans = Bans::new(100);
    let head = stored("/a", bans.position());
    bans.apply(&[ban("/a")], NOW);
    bans.apply(
        &[Ban {
            is_soft: true,
            ..ban("/a")
        }],
        NOW,
    );
    assert_eq!(bans.judge(&head.ban_subject(), 0).verdict, Verdict::Banned);
}

#[test]
fn many_bans_on_one_path_are_one() {
    let bans = Bans::new(100);
    for _ in 0..1_000 {
        bans.apply(&[ban("/a")], NOW);
    }
    assert_eq!(bans.len(), 1);
    assert_eq!(bans.head(), 1_000);
}

#[test]
fn at_the_bound_the_older_half_bans_every_record_before_it() {
    let bans = Bans::new(10);
    bans.start_over(log(0), &[], log(0), NOW);
    let early = stored("/untouched", bans.position());
    let entries: Vec<Read> = (0..11).map(|n| read(&format!("/{n}"), n + 1)).collect();
    bans.follow(&entries, log(11), NOW);
    assert!(bans.len() <= 10);
    assert_eq!(bans.judge_record(&early).verdict, Verdict::Banned);
    let late = stored("/untouched", bans.position());
    assert_eq!(bans.judge_record(&late).verdict, Verdict::Stands);
    let in_memory = bans.judge(&early.ban_subject(), early.position.local);
    assert_eq!(in_memory.verdict, Verdict::Stands, "of that all is known");
    let banned = stored("/0", early.position);
    let in_memory = bans.judge(&banned.ban_subject(), early.position.local);
    assert_eq!(in_memory.verdict, Verdict::Banned);
}

#[test]
fn at_the_bound_bans_below_one_path_become_one_on_the_path() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(0), NOW);
    let untouched = stored("/other/7", bans.position());
    let neighbour = stored("/items/never-written", bans.position());
    let entries: Vec<Read> = (0..10_000)
        .map(|n| read(&format!("/items/{n}"), n + 1))
        .collect();
    bans.follow(&entries, log(10_000), NOW);
    assert!(bans.len() <= 100);
    for n in [0, 5_000, 9_999] {
        let written = stored(&format!("/items/{n}"), neighbour.position);
        assert_eq!(bans.judge_record(&written).verdict, Verdict::Banned, "{n}");
    }
    assert_eq!(bans.judge_record(&untouched).verdict, Verdict::Stands);
    assert_eq!(bans.judge_record(&neighbour).verdict, Verdict::Banned);
}

#[test]
fn what_is_folded_by_prefix_stays_as_hard_as_it_was() {
    let bans = Bans::new(8);
    bans.start_over(log(0), &[], log(0), NOW);
    let before = stored("/soft/x", bans.position());
    for n in 0..20 {
        let soft = Ban {
            is_soft: true,
            ..ban(&format!("/soft/{n}"))
        };
        bans.apply(&[soft], NOW);
    }
    let verdict = bans.judge_record(&before).verdict;
    assert!(matches!(verdict, Verdict::Softened { .. }), "{verdict:?}");
}

#[test]
fn many_patterns_in_one_folder_become_one_ban_on_the_folder() {
    let bans = Bans::new(10_000);
    bans.start_over(log(0), &[], log(0), NOW);
    let early = Position {
        local: 0,
        log: log(0),
    };
    for n in 0..1_000 {
        let pattern = Pattern::parse(&format!("/a/{n}*/x")).expect("a pattern");
        bans.apply(&[Ban::hard(Scope::Pattern(pattern))], NOW);
    }
    assert!(bans.len() < 200);
    let verdict = |path| bans.judge_record(&stored(path, early)).verdict;
    assert_eq!(verdict("/a/3z/x"), Verdict::Banned);
    assert_eq!(verdict("/a/999/x"), Verdict::Banned);
    assert_eq!(verdict("/b/3/x"), Verdict::Stands);
}

#[test]
fn bans_leave_when_nothing_they_match_can_be_left() {
    let bans = Bans::new(10);
    bans.apply(&[ban("/a")], NOW);
    bans.prune(NOW.plus(Duration::from_secs(60)), Duration::from_secs(60));
    assert_eq!(bans.len(), 1);
    bans.prune(NOW.plus(Duration::from_secs(61)), Duration::from_secs(60));
    assert!(bans.is_empty());
}

/// A ban of another instance on the same must not hide that ours is later:
/// records between the two were fetched before our write had ended.
#[test]
fn another_instance_s_ban_does_not_move_ours_back() {
    for is_confirmed_first in [true, false] {
        let bans = Bans::new(100);
        bans.start_over(log(0), &[], log(0), NOW);
        let own = bans.apply(&[ban("/a")], NOW);
        if is_confirmed_first {
            bans.confirm(own, log(9));
        }
        bans.follow(&[read("/a", 5)], log(5), NOW);
        let between = stored(
            "/a",
            Position {
                local: 0,
                log: log(6),
            },
        );
        assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
        let entry = Read {
            own: Some(own),
            ..read("/a", 9)
        };
        bans.follow(&[entry], log(9), NOW);
        assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
        let after = stored(
            "/a",
            Position {
                local: 0,
                log: log(9),
            },
        );
        assert_eq!(bans.judge_record(&after).verdict, Verdict::Stands);
    }
}

#[test]
fn a_ban_on_everything_does_not_move_ours_back_either() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(0), NOW);
    let own = bans.apply(&[ban("/a")], NOW);
    let all = Read {
        bans: vec![Ban::hard(Scope::All)],
        ..read("/a", 5)
    };
    bans.follow(&[all], log(5), NOW);
    let between = stored(
        "/a",
        Position {
            local: 0,
            log: log(6),
        },
    );
    assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
    bans.confirm(own, log(9));
    assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
}

#[test]
fn what_is_folded_before_the_log_has_it_still_counts_for_every_record() {
    let bans = Bans::new(10);
    bans.start_over(log(0), &[], log(0), NOW);
    let mut last = 0;
    for n in 0..11 {
        last = bans.apply(&[ban(&format!("/{n}"))], NOW);
    }
    let at = |millis| Position {
        local: 0,
        log: log(millis),
    };
    let between = stored("/0", at(6));
    assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
    bans.confirm(last, log(9));
    assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
    assert_eq!(
        bans.judge_record(&stored("/0", at(9))).verdict,
        Verdict::Stands
    );
}

#[test]
fn a_fetch_is_overtaken_by_a_ban_on_a_tag_it_may_come_to_carry() {
    let bans = Bans::new(10);
    let before = bans.position();
    bans.apply(&[Ban::hard(Scope::Tag("sale".into()))], NOW);
    assert!(bans.overtook(&before, "r", &stored("/a", before).target));
}

#[test]
fn what_a_ban_matches_settles_for_a_while() {
    let bans = Bans::new(10);
    let settle = Duration::from_secs(2);
    bans.apply(&[ban("/a")], NOW);
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let (a, b) = (
        stored("/a", Position::default()),
        stored("/b", Position::default()),
    );
    assert!(bans.settles(&a, at(1), settle));
    assert!(!bans.settles(&a, at(2), settle));
    assert!(!bans.settles(&b, at(1), settle));
    assert!(!bans.settles(&a, at(0), Duration::ZERO));
    bans.start_over(log(0), &[], log(0), at(9));
    assert!(bans.settles(&b, at(10), settle), "what was missed may be");
}

/// Found by the model: the log was read, then our ban was appended and
/// confirmed, and only then what had been read was applied.
#[test]
fn starting_over_from_what_was_read_before_our_ban_does_not_forget_it() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(0), NOW);
    let own = bans.apply(&[ban("/a")], NOW);
    bans.confirm(own, log(9));
    bans.start_over(log(0), &[read("/b", 5)], log(5), NOW);
    let at = |millis| Position {
        local: 0,
        log: log(millis),
    };
    let between = stored("/a", at(6));
    assert_eq!(bans.judge_record(&between).verdict, Verdict::Banned);
    assert_eq!(
        bans.judge_record(&stored("/a", at(9))).verdict,
        Verdict::Stands
    );
}

#[test]
fn a_ban_in_a_log_that_is_not_read_yet_counts_for_every_record() {
    let bans = Bans::new(100);
    bans.start_over(log(0), &[], log(5), NOW);
    let own = bans.apply(&[ban("/a")], NOW);
    let elsewhere = LogPosition {
        incarnation: 0,
        ..log(9)
    };
    bans.confirm(own, elsewhere);
    let record = Position {
        local: 0,
        log: log(5),
    };
    assert_eq!(
        bans.judge_record(&stored("/a", record)).verdict,
        Verdict::Banned
    );
}
