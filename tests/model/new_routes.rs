//! A write that nobody is told of, because no route could have stored what it
//! changes, while another instance is given the first route that could.
//!
//! One instance writes, the other has the new route. Looks at the log may be
//! late, and Redis forgets everything once. Time is counted in leases, as in
//! [`crate::rules`]: `lease` in strict mode, the second that a word from the log
//! is good for in eventual mode. Memory stands for all tiers: what may not be
//! stored there may not be shared either. Of a ban that is logged the other
//! model says what becomes of it: here it is in force at once for every
//! instance that follows the log.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// Property: the ban is in the log, or waits, or nothing needs it.
const IN_THE_END: &str = "what a write replaced is banned in the end";
/// Property: strict mode.
const AT_ONCE: &str = "nothing before an answered write is reused";

/// How many times the clock has struck since something; once is a lease.
type Age = u8;
const LEASE: Age = 1;

/// The rules that can be turned off, to see what they are for.
#[derive(Clone, Copy)]
struct NewRoutes {
    is_strict: bool,
    /// What was fetched before the route was announced is not stored.
    holds_back: bool,
    /// The announcement takes effect when who follows the log has read it, or
    /// has had no word from the log for a lease.
    waits_for_readers: bool,
    /// A ban is left out only with a word from the log within a lease.
    wants_recent_word: bool,
    /// Who follows a log is known only of one that has stood for a lease: before
    /// that, the announcement takes effect after a lease (strict mode).
    distrusts_young_logs: bool,
    /// A ban is left out only in a log that has stood for a lease (strict mode):
    /// others may still answer by the one before, and its routes were not read.
    leaves_none_out_in_young_logs: bool,
    /// A ban that was left out waits for a word that was asked for after the
    /// write, and is logged where that brings the route or another log.
    settles: bool,
}

const ALL_RULES: NewRoutes = NewRoutes {
    is_strict: false,
    holds_back: true,
    waits_for_readers: true,
    wants_recent_word: true,
    distrusts_young_logs: true,
    leaves_none_out_in_young_logs: true,
    settles: true,
};

const STRICT: NewRoutes = NewRoutes {
    is_strict: true,
    ..ALL_RULES
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct State {
    redis: Redis,
    writer: Writer,
    other: Other,
    is_written: bool,
    is_flushed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Redis {
    incarnation: u8,
    is_announced: bool,
    has_ban: bool,
    /// Of the writer's newest look in this log: how old it is, and whether it
    /// said that the announcement was read.
    look: Option<(Age, bool)>,
}

/// The one that writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Writer {
    incarnation: u8,
    /// Since this log was first met.
    known: Age,
    knows_route: bool,
    /// Since the last word from the log was asked for.
    word: Age,
    /// It was asked for after the write.
    is_word_after_write: bool,
    look: Option<Look>,
    /// The origin has made the write; its client waits.
    is_writing: bool,
    /// In this log the ban was left out, and may still be logged.
    left_out_in: Option<u8>,
    /// The client was answered, by an instance in touch with the log.
    has_answered: bool,
}

/// An answer of Redis on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Look {
    incarnation: u8,
    is_announced: bool,
    age: Age,
    is_after_write: bool,
}

/// The one that has the new route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Other {
    incarnation: u8,
    known: Age,
    word: Age,
    /// The log that has its announcement, and for how long.
    announced: Option<(u8, Age)>,
    /// The log in which that took effect.
    effective_in: Option<u8>,
    fetch: Option<Fetch>,
    /// What it has stored is from before the write.
    stored: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    may_be_stored: bool,
    /// What the origin read, once it did.
    is_before_write: Option<bool>,
}

/// Both have followed the log for long.
impl Default for Writer {
    fn default() -> Self {
        Self {
            incarnation: 0,
            known: LEASE,
            knows_route: false,
            word: 0,
            is_word_after_write: false,
            look: None,
            is_writing: false,
            left_out_in: None,
            has_answered: false,
        }
    }
}

impl Default for Other {
    fn default() -> Self {
        Self {
            incarnation: 0,
            known: LEASE,
            word: 0,
            announced: None,
            effective_in: None,
            fetch: None,
            stored: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Strike,
    Flush,
    Write,
    /// The ban is logged or left out, and the client is answered.
    Judge,
    Settle,
    LookAtLog,
    Hear,
    OtherLooks,
    Announce,
    TakeEffect,
    BeginFetch,
    OriginReads,
    Store,
}

impl NewRoutes {
    fn leaves_out(&self, writer: &Writer) -> bool {
        let is_recent = writer.word < LEASE || !self.wants_recent_word;
        let is_old_log =
            !self.is_strict || writer.known >= LEASE || !self.leaves_none_out_in_young_logs;
        is_recent && is_old_log && !writer.knows_route
    }

    fn takes_effect(&self, state: &State) -> bool {
        let other = &state.other;
        let Some((incarnation, age)) = other.announced else {
            return false;
        };
        let is_complete = !self.is_strict || other.known >= LEASE || !self.distrusts_young_logs;
        let have_read = match state.redis.look {
            None => true,
            Some((silence, has_read)) => has_read || silence >= LEASE,
        };
        let is_read = state.redis.incarnation == incarnation && have_read && is_complete;
        let is_known = is_read || age >= LEASE || !self.waits_for_readers;
        other.incarnation == incarnation && other.effective_in != Some(incarnation) && is_known
    }
}

impl State {
    fn log_ban(&mut self) {
        self.redis.has_ban = true;
        if self.other.incarnation == self.redis.incarnation {
            self.other.ban();
        }
    }

    fn age(&mut self) {
        let next = |age: &mut Age| *age = (*age + 1).min(LEASE);
        next(&mut self.writer.known);
        next(&mut self.writer.word);
        next(&mut self.other.known);
        next(&mut self.other.word);
        self.writer
            .look
            .iter_mut()
            .for_each(|look| next(&mut look.age));
        self.redis.look.iter_mut().for_each(|(age, _)| next(age));
        self.other
            .announced
            .iter_mut()
            .for_each(|(_, age)| next(age));
    }
}

impl Other {
    /// What was stored, or fetched since before this, is not reused.
    fn ban(&mut self) {
        self.stored = None;
        if let Some(fetch) = &mut self.fetch {
            fetch.may_be_stored = false;
        }
    }

    fn look(&mut self, redis: &Redis) {
        if self.incarnation != redis.incarnation {
            self.incarnation = redis.incarnation;
            self.known = 0;
            self.effective_in = None;
            self.ban();
        }
        self.word = 0;
    }
}

impl Writer {
    fn hear(&mut self, look: Look) {
        if self.incarnation != look.incarnation {
            self.incarnation = look.incarnation;
            self.known = 0;
        }
        self.knows_route |= look.is_announced;
        self.word = look.age;
        self.is_word_after_write = look.is_after_write;
    }
}

impl Model for NewRoutes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::default();
        state.redis.look = Some((0, false));
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (writer, other) = (&state.writer, &state.other);
        actions.extend([Action::Strike, Action::OtherLooks]);
        if !state.is_flushed {
            actions.push(Action::Flush);
        }
        if !state.is_written {
            actions.push(Action::Write);
        }
        if writer.is_writing {
            actions.push(Action::Judge);
        }
        if writer.left_out_in.is_some() {
            actions.push(Action::Settle);
        }
        actions.push(match writer.look {
            None => Action::LookAtLog,
            Some(_) => Action::Hear,
        });
        let is_announced = other
            .announced
            .is_some_and(|(log, _)| log == other.incarnation);
        if !is_announced && other.incarnation == state.redis.incarnation {
            actions.push(Action::Announce);
        }
        if self.takes_effect(state) {
            actions.push(Action::TakeEffect);
        }
        actions.push(match other.fetch {
            None => Action::BeginFetch,
            Some(Fetch {
                is_before_write: None,
                ..
            }) => Action::OriginReads,
            Some(_) => Action::Store,
        });
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let (writer, other) = (&mut state.writer, &mut state.other);
        match action {
            Action::Strike => state.age(),
            Action::Flush => {
                state.is_flushed = true;
                state.redis = Redis {
                    incarnation: state.redis.incarnation + 1,
                    ..Redis::default()
                };
            }
            Action::Write => {
                state.is_written = true;
                writer.is_writing = true;
                writer.is_word_after_write = false;
            }
            Action::Judge => {
                writer.is_writing = false;
                if self.leaves_out(writer) {
                    // Out of touch, strict mode does not promise it either.
                    writer.has_answered = writer.word < LEASE || !self.wants_recent_word;
                    writer.left_out_in = self.settles.then_some(writer.incarnation);
                    // Words that were asked for before count no more.
                    writer.is_word_after_write = false;
                    writer
                        .look
                        .iter_mut()
                        .for_each(|look| look.is_after_write = false);
                } else {
                    state.log_ban();
                }
            }
            Action::Settle => {
                let is_elsewhere = writer.left_out_in != Some(writer.incarnation);
                if !is_elsewhere && !writer.is_word_after_write {
                    return None;
                }
                writer.left_out_in = None;
                if is_elsewhere || writer.knows_route {
                    state.log_ban();
                }
            }
            Action::LookAtLog => {
                let redis = &mut state.redis;
                let has_read = writer.incarnation == redis.incarnation && writer.knows_route;
                redis.look = Some((0, has_read));
                writer.look = Some(Look {
                    incarnation: redis.incarnation,
                    is_announced: redis.is_announced,
                    age: 0,
                    is_after_write: state.is_written && !writer.is_writing,
                });
            }
            Action::Hear => {
                let look = writer.look.take()?;
                writer.hear(look);
            }
            Action::OtherLooks => other.look(&state.redis),
            Action::Announce => {
                state.redis.is_announced = true;
                other.announced = Some((other.incarnation, 0));
            }
            Action::TakeEffect => other.effective_in = Some(other.incarnation),
            Action::BeginFetch => {
                let is_effective = other.effective_in == Some(other.incarnation);
                other.fetch = Some(Fetch {
                    may_be_stored: is_effective || !self.holds_back,
                    is_before_write: None,
                });
            }
            Action::OriginReads => {
                other.fetch.as_mut()?.is_before_write = Some(!state.is_written);
            }
            Action::Store => {
                let fetch = other.fetch.take()?;
                if fetch.may_be_stored {
                    other.stored = fetch.is_before_write;
                }
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(IN_THE_END, |_, state: &State| {
                let (writer, other) = (&state.writer, &state.other);
                // Who comes to another log drops everything.
                let stays = other.incarnation == state.redis.incarnation;
                let is_to_be_banned = writer.is_writing || writer.left_out_in.is_some();
                !state.is_written || !stays || is_to_be_banned || other.stored != Some(true)
            }),
            Property::sometimes("a ban is left out for good", |_, state: &State| {
                let writer = &state.writer;
                writer.has_answered && writer.left_out_in.is_none() && !state.redis.has_ban
            }),
            Property::sometimes("the new route serves", |_, state: &State| {
                state.other.stored.is_some()
            }),
        ];
        if self.is_strict {
            properties.push(Property::always(AT_ONCE, |_, state: &State| {
                let other = &state.other;
                let answers = other.stored == Some(true) && other.word < LEASE;
                !(state.writer.has_answered && answers)
            }));
        }
        properties
    }
}

fn holds(rules: NewRoutes) {
    let checker = rules.checker().spawn_bfs().join();
    println!("new routes: {} states", checker.unique_state_count());
    checker.assert_properties();
}

/// Whether the model finds a case in which the property does not hold.
fn finds(property: &'static str, rules: NewRoutes) -> bool {
    let checker = rules.checker();
    let checker = checker.finish_when(HasDiscoveries::AllOf([property].into()));
    let checker = checker.spawn_bfs().join();
    checker.discovery(property).is_some()
}

#[test]
fn a_ban_that_is_left_out_is_missed_by_no_new_route() {
    holds(ALL_RULES);
    holds(STRICT);
}

#[test]
fn storing_under_a_route_before_it_is_announced_is_found_to_be_wrong() {
    for rules in [ALL_RULES, STRICT] {
        assert!(finds(
            IN_THE_END,
            NewRoutes {
                holds_back: false,
                ..rules
            }
        ));
    }
}

#[test]
fn storing_before_the_announcement_was_read_is_found_to_break_strict_mode() {
    assert!(finds(
        AT_ONCE,
        NewRoutes {
            waits_for_readers: false,
            ..STRICT
        }
    ));
}

#[test]
fn leaving_a_ban_out_without_a_recent_word_is_found_to_break_strict_mode() {
    assert!(finds(
        AT_ONCE,
        NewRoutes {
            wants_recent_word: false,
            ..STRICT
        }
    ));
}

#[test]
fn taking_effect_early_in_a_young_log_is_found_to_break_strict_mode() {
    assert!(finds(
        AT_ONCE,
        NewRoutes {
            distrusts_young_logs: false,
            ..STRICT
        }
    ));
}

#[test]
fn leaving_a_ban_out_in_a_young_log_is_found_to_break_strict_mode() {
    assert!(finds(
        AT_ONCE,
        NewRoutes {
            leaves_none_out_in_young_logs: false,
            ..STRICT
        }
    ));
}

#[test]
fn forgetting_a_ban_that_was_left_out_is_found_to_lose_it_with_the_log() {
    assert!(finds(
        IN_THE_END,
        NewRoutes {
            settles: false,
            ..ALL_RULES
        }
    ));
}
