//! An instance that is out of touch with the log, in eventual mode: what it may
//! answer from its flights, from memory and from Redis.
//!
//! Time is counted in strokes of a clock. Another instance writes and stores;
//! its clock is ahead. The instance looked at has heard nothing of the log from
//! the first stroke on, but Redis gives it records.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// Property: what is answered was true not longer ago than the bound.
const NOT_OLDER: &str = "nothing answers that was replaced longer ago than the bound";
/// The bound (`unsynced_age_max`), in strokes.
const BOUND: u8 = 1;
/// By so much the other instance's clock is ahead.
const AHEAD: u8 = 3;
/// When a run ends.
const END: u8 = 4;

/// The rules that can be turned off, to see what they are for.
#[derive(Clone, Copy)]
struct OutOfTouch {
    /// A flight older than the bound is not joined.
    joins_young_flights_only: bool,
    /// A record is no younger than the clock of Redis tells.
    asks_redis_for_the_age: bool,
    /// What took long to fetch is as old as the question.
    ages_from_the_question: bool,
}

const ALL_RULES: OutOfTouch = OutOfTouch {
    joins_young_flights_only: true,
    asks_redis_for_the_age: true,
    ages_from_the_question: true,
};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    /// When the first version was replaced by the second.
    replaced: Option<u8>,
    memory: Option<Stored>,
    flight: Option<Flight>,
    record: Option<Record>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    is_first: bool,
    /// As this instance's clock tells it.
    asked: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flight {
    since: u8,
    /// When the last of those who wait for it asked.
    joined: u8,
    /// What the origin read, once it did.
    is_first: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    is_first: bool,
    stored: u8,
    /// As the other's clock had it.
    dated: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    is_first: bool,
    /// When it was asked for.
    asked: u8,
    is_from_redis: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Strike,
    Write,
    OtherStores,
    Request,
    OriginReads,
    Land,
    Evict,
}

impl OutOfTouch {
    fn request(&self, state: &mut State) {
        let now = state.now;
        let is_young = |asked: u8| now - asked <= BOUND;
        if let Some(stored) = state.memory.filter(|stored| is_young(stored.asked)) {
            return state.answer(stored.is_first, now, false);
        }
        let may_join = |flight: &Flight| !self.joins_young_flights_only || is_young(flight.since);
        if let Some(flight) = state.flight.as_mut().filter(|flight| may_join(flight)) {
            flight.joined = now;
            return;
        }
        if let Some(record) = state.record {
            let mut asked = record.dated.min(now);
            if self.asks_redis_for_the_age {
                asked = asked.min(record.stored);
            }
            if is_young(asked) {
                let is_first = record.is_first;
                state.memory = Some(Stored { is_first, asked });
                return state.answer(is_first, now, true);
            }
        }
        // One that was under way goes on for those who wait for it; nobody
        // joins it any more, and it is left out here.
        state.flight = Some(Flight {
            since: now,
            joined: now,
            is_first: None,
        });
    }
}

impl State {
    fn answer(&mut self, is_first: bool, asked: u8, is_from_redis: bool) {
        self.answer = Some(Answer {
            is_first,
            asked,
            is_from_redis,
        });
    }

    fn is_first(&self) -> bool {
        self.replaced.is_none()
    }
}

impl Model for OutOfTouch {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Request);
        if state.now < END {
            actions.push(Action::Strike);
        }
        if state.is_first() {
            actions.push(Action::Write);
        }
        if state.record.is_none() {
            actions.push(Action::OtherStores);
        }
        if state.memory.is_some() {
            actions.push(Action::Evict);
        }
        match state.flight {
            Some(Flight { is_first: None, .. }) => actions.push(Action::OriginReads),
            Some(_) => actions.push(Action::Land),
            None => {}
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Strike => next.now += 1,
            Action::Write => next.replaced = Some(next.now),
            Action::OtherStores => {
                next.record = Some(Record {
                    is_first: next.is_first(),
                    stored: next.now,
                    dated: next.now + AHEAD,
                });
            }
            Action::Request => self.request(&mut next),
            Action::OriginReads => {
                let is_first = next.is_first();
                next.flight.as_mut()?.is_first = Some(is_first);
            }
            Action::Land => {
                let flight = next.flight.take()?;
                let is_first = flight.is_first?;
                let asked = if self.ages_from_the_question {
                    flight.since
                } else {
                    next.now
                };
                next.memory = Some(Stored { is_first, asked });
                next.answer(is_first, flight.joined, false);
            }
            Action::Evict => next.memory = None,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOT_OLDER, |_, state: &State| {
                let (Some(answer), Some(replaced)) = (state.answer, state.replaced) else {
                    return true;
                };
                !answer.is_first || answer.asked.saturating_sub(replaced) <= BOUND
            }),
            Property::sometimes("a record answers", |_, state: &State| {
                state.answer.is_some_and(|answer| answer.is_from_redis)
            }),
            Property::sometimes("a flight is joined", |_, state: &State| {
                state
                    .flight
                    .is_some_and(|flight| flight.joined > flight.since)
            }),
        ]
    }
}

/// Whether the model finds an answer that is older than allowed.
fn is_found_wrong(rules: OutOfTouch) -> bool {
    let checker = rules.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    checker.discovery(NOT_OLDER).is_some()
}

#[test]
fn out_of_touch_nothing_older_than_the_bound_answers() {
    let checker = ALL_RULES.checker().spawn_bfs().join();
    println!("out of touch: {} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn joining_an_old_flight_is_found_to_break_the_bound() {
    assert!(is_found_wrong(OutOfTouch {
        joins_young_flights_only: false,
        ..ALL_RULES
    }));
}

#[test]
fn a_record_from_the_future_is_found_to_break_the_bound() {
    assert!(is_found_wrong(OutOfTouch {
        asks_redis_for_the_age: false,
        ..ALL_RULES
    }));
}

#[test]
fn an_answer_that_took_long_is_found_to_break_the_bound() {
    assert!(is_found_wrong(OutOfTouch {
        ages_from_the_question: false,
        ..ALL_RULES
    }));
}
