//! The bans in force against a plain list of them that is searched end to end.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::invalidation::scope::Scope;
use crate::pattern::Pattern;
use crate::semantics::stored::tests_support::response;

/// What a list says, which is what the promise is.
#[derive(Default)]
struct List {
    bans: Vec<Listed>,
    head: u64,
    local_floor: u64,
    log_floor: LogPosition,
    applied: LogPosition,
}

struct Listed {
    ban: Ban,
    local: u64,
    log: Option<LogPosition>,
    awaited: Option<u64>,
    at: Timestamp,
}

impl List {
    fn apply(&mut self, bans: &[Ban], at: Timestamp) -> u64 {
        let last = self.head + bans.len() as u64;
        for ban in bans {
            self.push(ban, None, Some(last), at);
        }
        last
    }

    fn push(&mut self, ban: &Ban, log: Option<LogPosition>, awaited: Option<u64>, at: Timestamp) {
        self.head += 1;
        self.bans.push(Listed {
            ban: ban.clone(),
            local: self.head,
            log,
            awaited,
            at,
        });
    }

    fn confirm(&mut self, last: u64, position: LogPosition) {
        if position.incarnation != self.applied.incarnation {
            return;
        }
        for listed in &mut self.bans {
            if listed.awaited.is_some_and(|number| number <= last) {
                listed.awaited = None;
                listed.log = listed.log.max(Some(position));
            }
        }
    }

    fn read(&mut self, entries: &[Read], is_replay: bool, at: Timestamp) {
        for entry in entries {
            if is_replay || entry.own.is_none() {
                for ban in &entry.bans {
                    self.push(ban, Some(entry.position), None, at);
                }
            }
            if let Some(last) = entry.own {
                self.confirm(last, entry.position);
            }
        }
    }

    fn start_over(&mut self, entries: &[Read], position: LogPosition, at: Timestamp) {
        self.head += 1;
        self.local_floor = self.head;
        self.log_floor = LogPosition {
            millis: 0,
            ..position
        };
        if self.applied.incarnation != position.incarnation {
            for listed in &mut self.bans {
                listed.log = None;
            }
        }
        self.bans.retain(|listed| {
            listed.awaited.is_some() || listed.log.is_some_and(|log| log > position)
        });
        self.applied = position;
        self.read(entries, true, at);
    }

    fn worst(&self, head: &StoredHead, counts: impl Fn(&Listed) -> bool) -> u8 {
        let matching = self
            .bans
            .iter()
            .filter(|listed| counts(listed) && listed.ban.scope.matches(head));
        let severities = matching.map(|listed| if listed.ban.is_soft { 1 } else { 2 });
        severities.max().unwrap_or(0)
    }

    fn judge(&self, head: &StoredHead, checked: u64) -> u8 {
        if checked < self.local_floor {
            return 2;
        }
        self.worst(head, |listed| listed.local > checked)
    }

    fn judge_record(&self, head: &StoredHead) -> u8 {
        let position = head.position.log;
        if position.incarnation != self.applied.incarnation || position < self.log_floor {
            return 2;
        }
        self.worst(head, |listed| {
            listed.awaited.is_some() || listed.log.is_none_or(|log| log > position)
        })
    }

    fn overtook(&self, began: u64, head: &StoredHead) -> bool {
        began < self.local_floor
            || self.bans.iter().any(|listed| {
                listed.local > began
                    && !listed.ban.is_soft
                    && listed.ban.scope.matches_target(&head.route, &head.target)
            })
    }
}

fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Stands => 0,
        Verdict::Softened { .. } => 1,
        Verdict::Banned => 2,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Ban>),
    /// So many of ours, the oldest first, came into the log.
    Confirm(u64),
    Follow(Vec<Ban>),
    /// The first of ours that are awaited is read in the log.
    FollowOwn,
    StartOver {
        bans: Vec<Ban>,
        is_another_log: bool,
        /// The log as it was so long ago.
        behind: u64,
    },
}

fn path() -> impl Strategy<Value = String> {
    let deep = "/a".repeat(80);
    let paths = [
        "/", "/a", "/a/", "/a/b", "/a/b/", "/a//b", "/ab", "/b/a/c", "/a/b/c", "//a",
    ];
    let mut paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
    paths.extend([format!("{deep}/x"), format!("{deep}/y"), deep]);
    select(paths)
}

fn scope(with_all: bool) -> impl Strategy<Value = Scope> {
    let written = [
        "**", "/**", "**/b", "/*", "/a/*", "/a/**/b", "/a/b**", "/{x}/b", "/a/{*r}", "/a*/**", "*b",
    ];
    let pattern = select(written.to_vec())
        .prop_map(|written| Scope::Pattern(Pattern::parse(written).expect("a pattern")));
    let url = (
        select(vec![None, Some("h"), Some("H:80"), Some("g")]),
        path(),
        select(vec![None, Some(""), Some("x=1"), Some("y=2&x=1")]),
    );
    let url = url.prop_map(|(host, path, query)| Scope::Url {
        host: host.map(Into::into),
        path: path.into(),
        query: query.map(Into::into),
    });
    prop_oneof![
        u32::from(with_all) => Just(Scope::All),
        1 => select(vec!["r", "s"]).prop_map(|name| Scope::Route(name.into())),
        2 => select(vec!["t", "u"]).prop_map(|tag| Scope::Tag(tag.into())),
        4 => path().prop_map(|path| Scope::Pattern(Pattern::literal(&path))),
        4 => path().prop_map(|path| Scope::Pattern(Pattern::below(&path))),
        3 => pattern,
        4 => url,
    ]
}

fn bans(with_all: bool) -> impl Strategy<Value = Vec<Ban>> {
    let ban = (scope(with_all), any::<bool>()).prop_map(|(scope, is_soft)| Ban { scope, is_soft });
    prop::collection::vec(ban, 1..4)
}

fn steps(with_all: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => bans(with_all).prop_map(Step::Apply),
        2 => (1..9_u64).prop_map(Step::Confirm),
        4 => bans(with_all).prop_map(Step::Follow),
        2 => Just(Step::FollowOwn),
        1 => (bans(with_all), any::<bool>(), 0..3_u64).prop_map(|(bans, is_another_log, behind)| {
            Step::StartOver { bans, is_another_log, behind }
        }),
    ];
    prop::collection::vec(step, 1..24)
}

fn head() -> impl Strategy<Value = StoredHead> {
    let tags = prop::collection::vec(select(vec!["t", "u", "v"]), 0..3);
    let query = select(vec!["", "x=1", "x=1&y=2"]);
    (path(), select(vec!["h", "h:443", "g"]), query, tags).prop_map(|(path, host, query, tags)| {
        let mut head = response(&path, 0).head;
        head.route = "r".into();
        head.target.host = host.into();
        head.target.query = query.into();
        head.tags = tags.into_iter().map(Into::into).collect();
        head
    })
}

/// Takes the steps with both; gives them and the positions in between.
fn take(steps: &[Step], bans: &Bans) -> (List, Vec<Position>) {
    let mut list = List::default();
    let mut positions = Vec::new();
    let mut awaited: Vec<(u64, Vec<Ban>)> = Vec::new();
    let (mut incarnation, mut millis) = (1, 10);
    for (step, at) in steps.iter().zip(0..) {
        let now = Timestamp::from_unix_millis(at);
        millis += 1;
        let next = LogPosition {
            incarnation,
            millis,
            sequence: 0,
        };
        match step {
            Step::Apply(applied) => {
                let last = list.apply(applied, now);
                assert_eq!(bans.apply(applied, now), last);
                awaited.push((last, applied.clone()));
            }
            Step::Confirm(of) => {
                if let Some((last, _)) = awaited.get(*of as usize % awaited.len().max(1)) {
                    list.confirm(*last, next);
                    bans.confirm(*last, next);
                }
            }
            Step::Follow(read) => {
                let entries = [Read {
                    position: next,
                    own: None,
                    bans: read.clone(),
                }];
                list.read(&entries, false, now);
                list.applied = next;
                bans.follow(&entries, next, now);
            }
            Step::FollowOwn if !awaited.is_empty() => {
                let (last, own) = awaited.remove(0);
                let entries = [Read {
                    position: next,
                    own: Some(last),
                    bans: own,
                }];
                list.read(&entries, false, now);
                list.applied = next;
                bans.follow(&entries, next, now);
            }
            Step::FollowOwn => {}
            Step::StartOver {
                bans: read,
                is_another_log,
                behind,
            } => {
                incarnation += u128::from(*is_another_log);
                let position = LogPosition {
                    incarnation,
                    millis: millis - behind,
                    sequence: 0,
                };
                let horizon = LogPosition {
                    millis: 0,
                    ..position
                };
                let entries = [Read {
                    position,
                    own: None,
                    bans: read.clone(),
                }];
                list.start_over(&entries, position, now);
                bans.start_over(horizon, &entries, position, now);
                // Numbers of replayed bans are not given: none is needed.
                list.head = bans.head();
                for listed in &mut list.bans {
                    listed.local = listed.local.min(list.head);
                }
            }
        }
        positions.push(Position {
            local: list.head,
            log: LogPosition {
                incarnation,
                millis,
                sequence: 0,
            },
        });
    }
    (list, positions)
}

/// What was asked, what the list said and what the bans said.
type Answer = (&'static str, u8, u8);

fn answers(list: &List, bans: &Bans, head: &StoredHead, position: Position) -> Vec<Answer> {
    let mut head = head.clone();
    head.position = position;
    let checked = bans.judge(&head.ban_subject(), position.local);
    assert_eq!(checked.checked, bans.head());
    let overtook = bans.overtook(&position, &head.route, &head.target);
    let (now, settle) = (Timestamp::from_unix_millis(30), Duration::from_millis(15));
    let is_recent = |listed: &Listed| now.since(listed.at) < settle;
    vec![
        (
            "in memory",
            list.judge(&head, position.local),
            severity(checked.verdict),
        ),
        (
            "a record",
            list.judge_record(&head),
            severity(bans.judge_record(&head).verdict),
        ),
        (
            "a fetch",
            list.overtook(position.local, &head).into(),
            overtook.into(),
        ),
        (
            "settling",
            u8::from(list.worst(&head, is_recent) > 0),
            bans.settles(&head, now, settle).into(),
        ),
    ]
}

proptest! {
    #[test]
    fn the_index_says_what_a_list_would(
        steps in steps(false),
        heads in prop::collection::vec(head(), 1..6),
    ) {
        let bans = Bans::new(10_000);
        let (list, positions) = take(&steps, &bans);
        let was_forgotten = steps.iter().any(|step| matches!(step, Step::StartOver { .. }));
        for position in positions {
            for head in &heads {
                for (what, listed, indexed) in answers(&list, &bans, head, position) {
                    if what == "settling" && was_forgotten {
                        prop_assert!(indexed >= listed, "{} {:?}", what, head.target);
                    } else {
                        prop_assert_eq!(indexed, listed, "{} {:?} {:?}", what, position, head.target);
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_folded_bans_no_less_than_a_list_would(
        steps in steps(true),
        heads in prop::collection::vec(head(), 1..6),
        bans_max in 2..9_usize,
    ) {
        let bans = Bans::new(bans_max);
        let (list, positions) = take(&steps, &bans);
        prop_assert!(bans.len() <= bans_max);
        for position in positions {
            for head in &heads {
                for (what, listed, indexed) in answers(&list, &bans, head, position) {
                    prop_assert!(indexed >= listed, "{} {:?} {:?}", what, position, head.target);
                }
            }
        }
    }
}
