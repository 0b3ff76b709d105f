//! What can happen, and what the rules make of it.

use stateright::{Model, Property};

/// Property: what an applied ban speaks of is not reused.
pub(crate) const NOT_BANNED: &str = "nothing older than an applied ban is reused";
/// Property: what an answered write replaced is not reused.
pub(crate) const NOT_BEFORE: &str = "nothing before an answered write is reused";

/// Property: of a write that was answered, the ban is in the log or will be.
pub(crate) const NOT_LOST: &str = "no ban that was answered for is lost";

const INSTANCES: usize = 2;

/// The rules that can be turned off, to see what they are for.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// A fetch reads its position before it asks the origin.
    pub(crate) position_first: bool,
    /// Who follows a log is not known before it has stood for a lease.
    pub(crate) distrusts_young_logs: bool,
    /// Without word from the log for a lease, nothing is reused.
    pub(crate) leases: bool,
    /// Whoever comes from another log and knows more than the one who began
    /// this one bans everything in it first.
    pub(crate) fences: bool,
    /// What waits for the log when a write is answered survives its writer.
    pub(crate) spools: bool,
    /// A write whose answer is streamed, and which the application makes while
    /// it streams, is banned for after that too.
    pub(crate) bans_at_end: bool,
    /// A list of followers is believed where the writer's own follower says in
    /// it that it has applied the entry.
    pub(crate) wants_own_word: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            position_first: true,
            distrusts_young_logs: true,
            leases: true,
            fences: true,
            spools: true,
            bans_at_end: true,
            wants_own_word: true,
        }
    }
}

/// How much happens in a run.
#[derive(Clone, Copy, Default)]
pub(crate) struct System {
    pub(crate) writes: u8,
    pub(crate) fetches: u8,
    /// What goes wrong, once.
    pub(crate) fault: Option<Fault>,
    pub(crate) is_strict: bool,
    pub(crate) rules: Rules,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Redis forgets everything.
    Flush,
    /// The log forgets what is in it.
    Trim,
    /// An instance starts anew.
    Crash,
    /// The answer to an append is lost.
    LostAppend,
    /// The answer to a look at the log is lost.
    LostLook,
    /// Another Redis takes the place of this one…
    Swap,
    /// … and gives it back.
    SwapBack,
    /// Who follows the log is from now on read from a copy that nobody writes:
    /// a node that was demoted and has lost its primary.
    Freeze,
}

/// How many times the clock has struck since something, as far as it matters:
/// once is a lease.
type Age = u8;
const LEASE: Age = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct State {
    /// How many writes the origin has made: what it answers.
    origin: u8,
    /// The newest write whose client was answered.
    answered: u8,
    redis: Redis,
    /// What waits for the log on the disk of each instance.
    spools: [Option<u8>; INSTANCES],
    /// The one whose place was taken.
    away: Option<Box<Redis>>,
    /// A copy of the list of followers, which is read in its stead.
    frozen: Option<Roll>,
    instances: [Instance; INSTANCES],
    writes_left: u8,
    fetches_left: u8,
    fault_left: Option<Fault>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Redis {
    incarnation: u8,
    /// After what it was begun, or what was known to the last who banned
    /// everything in it; `None` before anybody came.
    after: Option<Option<(u8, u8)>>,
    /// Who wrote what; the place of an entry is its number, from one.
    log: Vec<Entry>,
    /// Entries up to here were trimmed.
    horizon: u8,
    /// How far those who follow the log say they have applied it.
    roll: Roll,
    record: Option<Record>,
}

/// The log that each instance follows, and how far it has applied it.
type Roll = [Option<(u8, u8)>; INSTANCES];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Entry {
    writer: usize,
    /// Which of its lives: one that starts anew has another name.
    life: u8,
    write: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    version: u8,
    incarnation: u8,
    position: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Instance {
    life: u8,
    /// Local number of the newest ban.
    head: u8,
    /// Responses with a local number below this are banned.
    local_floor: u8,
    /// The place in the log of the newest ban that the log has.
    banned_at: u8,
    /// The newest write of our own whose ban is not known to be in the log.
    awaited: Option<u8>,
    log_floor: u8,
    applied: u8,
    incarnation: Option<u8>,
    /// The newest write of which a ban was put in force here.
    told: u8,
    memory: Option<Stored>,
    fetch: Option<Fetch>,
    look: Option<Look>,
    /// Since the last word from the log; `None` before the first.
    word: Option<Age>,
    /// Since this log was first met.
    known: Age,
    write: Option<Write>,
    /// A write that was answered before its ban was in the log.
    pending: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    version: u8,
    local: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    began: Option<Position>,
    version: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Position {
    local: u8,
    incarnation: Option<u8>,
    log: u8,
}

/// An answer of Redis on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Look {
    age: Age,
    incarnation: u8,
    horizon: u8,
    log: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Write {
    number: u8,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Made,
    InForce,
    /// In the log; the writer does not know yet.
    Logged {
        incarnation: u8,
        at: u8,
    },
    Confirmed {
        incarnation: u8,
        at: u8,
        age: Age,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    BeginFetch(usize),
    OriginAnswers(usize),
    Store(usize),
    Promote(usize),
    LookAtLog(usize),
    Hear(usize),
    LoseLook(usize),
    Write(usize),
    PutInForce(usize),
    Append(usize),
    AppendAgain(usize),
    Confirm(usize),
    Answer(usize),
    AnswerPending(usize),
    AppendPending(usize),
    Strike,
    Flush,
    Trim,
    Crash(usize),
    Swap,
    SwapBack,
    Freeze,
}

impl Redis {
    /// An instance comes to this log, perhaps from another.
    fn enter(&mut self, rules: &Rules, instance: &Instance, who: usize) {
        let from = instance.incarnation.map(|log| (log, instance.applied));
        let after = *self.after.get_or_insert(from);
        let Some((log, applied)) = from else {
            return;
        };
        let follows_on = after.is_some_and(|after| after.0 == log && after.1 >= applied);
        if rules.fences && log != self.incarnation && !follows_on {
            self.log.push(Entry {
                writer: who,
                life: instance.life,
                write: 0,
            });
            self.after = Some(from);
        }
    }
}

impl Instance {
    fn position(&self) -> Position {
        Position {
            local: self.head,
            incarnation: self.incarnation,
            log: self.applied,
        }
    }

    fn reuses_from_memory(&self) -> Option<u8> {
        let stored = self.memory?;
        (stored.local >= self.local_floor).then_some(stored.version)
    }

    fn reuses_from_redis(&self, redis: &Redis) -> Option<u8> {
        let record = redis.record?;
        let is_known =
            Some(record.incarnation) == self.incarnation && record.position >= self.log_floor;
        let is_banned = self.awaited.is_some() || self.banned_at > record.position;
        (is_known && !is_banned).then_some(record.version)
    }

    /// What it could answer with, unless its lease says otherwise.
    fn reuses(&self, redis: &Redis) -> impl Iterator<Item = u8> {
        let memory = self.reuses_from_memory();
        memory.into_iter().chain(self.reuses_from_redis(redis))
    }

    /// There is one key, so every ban is about it: the newest stands for all.
    fn put_in_force(&mut self, write: u8) {
        self.head += 1;
        self.local_floor = self.head;
        self.told = self.told.max(write);
    }

    fn confirm(&mut self, write: u8) {
        self.awaited = self.awaited.filter(|awaited| *awaited > write);
    }

    fn hear(&mut self, own: usize, look: &Look) {
        let end = look.log.len() as u8;
        let is_same = self.incarnation == Some(look.incarnation);
        if !is_same || self.applied < look.horizon {
            if !is_same {
                self.known = 0;
            }
            self.head += 1;
            self.local_floor = self.head;
            self.log_floor = look.horizon;
            // One that came into the log after it was read stays.
            if !is_same || self.banned_at <= end {
                self.banned_at = 0;
            }
            self.applied = look.horizon;
            self.incarnation = Some(look.incarnation);
        }
        for at in self.applied..end {
            let entry = look.log[usize::from(at)];
            if entry.writer == own && entry.life == self.life {
                self.confirm(entry.write);
            } else {
                self.put_in_force(entry.write);
            }
            self.banned_at = self.banned_at.max(at + 1);
        }
        self.applied = end.max(self.applied);
        self.word = Some(look.age);
    }
}

impl System {
    fn may_answer(&self, state: &State, who: usize, write: Write) -> bool {
        let Step::Confirmed {
            incarnation,
            at,
            age,
        } = write.step
        else {
            return false;
        };
        if !self.is_strict || age >= LEASE {
            return true;
        }
        let writer = &state.instances[who];
        let is_complete = state.redis.incarnation == incarnation
            && writer.incarnation == Some(incarnation)
            && (writer.known >= LEASE || !self.rules.distrusts_young_logs);
        let roll = state.frozen.unwrap_or(state.redis.roll);
        let has_applied = |ack: (u8, u8)| ack.0 == incarnation && ack.1 >= at;
        let has_own_word = roll[who].is_some_and(has_applied) || !self.rules.wants_own_word;
        let mut others = roll.iter().enumerate().filter(|(other, _)| *other != who);
        is_complete && has_own_word && others.all(|(_, ack)| ack.is_none_or(has_applied))
    }

    /// Whether a look at the log would change anything.
    fn has_news(&self, state: &State, who: usize) -> bool {
        let (instance, redis) = (&state.instances[who], &state.redis);
        let is_behind = instance.incarnation != Some(redis.incarnation)
            || usize::from(instance.applied) < redis.log.len();
        let acked = instance.incarnation.map(|log| (log, instance.applied));
        let is_leased = instance.word.is_some_and(|age| age < LEASE);
        is_behind || (self.is_strict && (redis.roll[who] != acked || !is_leased))
    }

    fn step(&self, state: &mut State, action: Action) -> Option<()> {
        let State {
            redis, instances, ..
        } = state;
        match action {
            Action::BeginFetch(who) => {
                state.fetches_left -= 1;
                let began = instances[who].position();
                instances[who].fetch = Some(Fetch {
                    began: self.rules.position_first.then_some(began),
                    version: None,
                });
            }
            Action::OriginAnswers(who) => {
                instances[who].fetch.as_mut()?.version = Some(state.origin);
            }
            Action::Store(who) => {
                let instance = &mut instances[who];
                let fetch = instance.fetch.take()?;
                let version = fetch.version?;
                let began = fetch.began.unwrap_or(instance.position());
                instance.memory = Some(Stored {
                    version,
                    local: began.local,
                });
                if let Some(incarnation) = began.incarnation {
                    redis.record = Some(Record {
                        version,
                        incarnation,
                        position: began.log,
                    });
                }
            }
            Action::Promote(who) => {
                let instance = &mut instances[who];
                instance.memory = Some(Stored {
                    version: instance.reuses_from_redis(redis)?,
                    local: instance.head,
                });
            }
            Action::LookAtLog(who) => {
                redis.enter(&self.rules, &instances[who], who);
                let instance = &mut instances[who];
                let applied = instance.applied;
                redis.roll[who] = Some((instance.incarnation.unwrap_or(u8::MAX), applied));
                instance.look = Some(Look {
                    age: 0,
                    incarnation: redis.incarnation,
                    horizon: redis.horizon,
                    log: redis.log.clone(),
                });
            }
            Action::Hear(who) => {
                let look = instances[who].look.take()?;
                instances[who].hear(who, &look);
            }
            Action::LoseLook(who) => {
                state.fault_left = None;
                instances[who].look = None;
            }
            Action::Write(who) => {
                state.writes_left -= 1;
                let number = state.origin + 1;
                if self.rules.bans_at_end {
                    state.origin = number;
                }
                instances[who].write = Some(Write {
                    number,
                    step: Step::Made,
                });
            }
            Action::PutInForce(who) => {
                let number = instances[who].write?.number;
                instances[who].put_in_force(number);
                instances[who].awaited = Some(number);
                instances[who].write.as_mut()?.step = Step::InForce;
            }
            Action::Append(who) | Action::AppendAgain(who) => {
                let instance = &instances[who];
                let from = instance.incarnation.map(|log| (log, instance.applied));
                redis.after.get_or_insert(from);
                let life = instances[who].life;
                let write = instances[who].write.as_mut()?;
                redis.log.push(Entry {
                    writer: who,
                    life,
                    write: write.number,
                });
                if action == Action::Append(who) {
                    write.step = Step::Logged {
                        incarnation: redis.incarnation,
                        at: redis.log.len() as u8,
                    };
                } else {
                    // The answer is lost.
                    state.fault_left = None;
                }
            }
            Action::Confirm(who) => {
                let instance = &mut instances[who];
                let write = instance.write.as_mut()?;
                let Step::Logged { incarnation, at } = write.step else {
                    return None;
                };
                let number = write.number;
                write.step = Step::Confirmed {
                    incarnation,
                    at,
                    age: 0,
                };
                if instance.incarnation == Some(incarnation) {
                    instance.confirm(number);
                    instance.banned_at = instance.banned_at.max(at);
                }
            }
            Action::Answer(who) => {
                let write = instances[who].write.take()?;
                state.origin = state.origin.max(write.number);
                state.answered = state.answered.max(write.number);
            }
            Action::AnswerPending(who) => {
                let write = instances[who].write.take()?;
                instances[who].pending = Some(write.number);
                if self.rules.spools {
                    state.spools[who] = Some(write.number);
                }
                state.answered = state.answered.max(write.number);
            }
            Action::AppendPending(who) => {
                let instance = &mut instances[who];
                redis.log.push(Entry {
                    writer: who,
                    life: instance.life,
                    write: instance.pending.take()?,
                });
                state.spools[who] = None;
            }
            Action::Strike => instances.iter_mut().for_each(Instance::age),
            Action::Flush => {
                state.fault_left = None;
                *redis = Redis {
                    incarnation: redis.incarnation + 1,
                    ..Redis::default()
                };
            }
            Action::Swap => {
                state.fault_left = Some(Fault::SwapBack);
                let other = Redis {
                    incarnation: redis.incarnation + 1,
                    ..Redis::default()
                };
                state.away = Some(Box::new(std::mem::replace(redis, other)));
            }
            Action::SwapBack => {
                state.fault_left = None;
                *redis = *state.away.take()?;
            }
            Action::Freeze => {
                state.fault_left = None;
                state.frozen = Some(redis.roll);
            }
            Action::Trim => {
                state.fault_left = None;
                redis.horizon = redis.log.len() as u8;
            }
            Action::Crash(who) => {
                state.fault_left = None;
                instances[who] = Instance {
                    life: instances[who].life + 1,
                    ..Instance::default()
                };
                if let Some(write) = state.spools[who] {
                    let instance = &mut instances[who];
                    instance.put_in_force(write);
                    instance.awaited = Some(write);
                    instance.pending = Some(write);
                }
            }
        }
        Some(())
    }
}

impl Instance {
    fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// Local numbers are only compared: what is banned is 0, what stands is 1,
    /// as the newest ban is.
    fn renumber(&mut self) {
        let floor = self.local_floor;
        let renumber = |local: u8| u8::from(local >= floor);
        self.memory = self.memory.filter(|stored| stored.local >= floor);
        if let Some(stored) = &mut self.memory {
            stored.local = 1;
        }
        if let Some(Fetch {
            began: Some(began), ..
        }) = &mut self.fetch
        {
            began.local = renumber(began.local);
        }
        (self.head, self.local_floor) = (1, 1);
    }

    fn age(&mut self) {
        let next = |age: Age| (age + 1).min(LEASE);
        self.word = self.word.map(next);
        self.known = next(self.known);
        if let Some(look) = &mut self.look {
            look.age = next(look.age);
        }
        if let Some(Write {
            step: Step::Confirmed { age, .. },
            ..
        }) = &mut self.write
        {
            *age = next(*age);
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            writes_left: self.writes,
            fetches_left: self.fetches,
            fault_left: self.fault,
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, instance) in state.instances.iter().enumerate() {
            match instance.fetch {
                None if state.fetches_left > 0 => actions.push(Action::BeginFetch(who)),
                None => {}
                Some(Fetch { version: None, .. }) => actions.push(Action::OriginAnswers(who)),
                Some(_) => actions.push(Action::Store(who)),
            }
            if instance.reuses_from_redis(&state.redis).is_some() {
                actions.push(Action::Promote(who));
            }
            if instance.look.is_some() {
                actions.push(Action::Hear(who));
                if state.fault_left == Some(Fault::LostLook) {
                    actions.push(Action::LoseLook(who));
                }
            } else if self.has_news(state, who) {
                actions.push(Action::LookAtLog(who));
            }
            match instance.write {
                // Until somebody writes they are alike: let it be the first.
                None if state.writes_left > 0 && (who == 0 || state.origin > 0) => {
                    actions.push(Action::Write(who))
                }
                None => {}
                Some(write) => match write.step {
                    Step::Made => actions.push(Action::PutInForce(who)),
                    Step::InForce => {
                        actions.push(Action::Append(who));
                        if state.fault_left == Some(Fault::LostAppend) {
                            actions.push(Action::AppendAgain(who));
                        }
                    }
                    Step::Logged { .. } => actions.push(Action::Confirm(who)),
                    Step::Confirmed { .. } if self.may_answer(state, who, write) => {
                        actions.push(Action::Answer(who));
                    }
                    Step::Confirmed { .. } => {}
                },
            }
            if instance.pending.is_some() {
                actions.push(Action::AppendPending(who));
            }
            let is_in_force = instance
                .write
                .is_some_and(|write| write.step == Step::InForce);
            // Redis is out of reach for this write; in strict mode its client
            // is told that others may not know of it.
            if is_in_force && !self.is_strict && self.fault == Some(Fault::Crash) {
                actions.push(Action::AnswerPending(who));
            }
            if state.fault_left == Some(Fault::Crash) {
                actions.push(Action::Crash(who));
            }
        }
        if self.is_strict {
            actions.push(Action::Strike);
        }
        match state.fault_left {
            Some(Fault::Flush) => actions.push(Action::Flush),
            Some(Fault::Trim) => actions.push(Action::Trim),
            Some(Fault::Swap) => actions.push(Action::Swap),
            Some(Fault::Freeze) => actions.push(Action::Freeze),
            // A look is answered sooner than Redis is swapped twice.
            Some(Fault::SwapBack) if !state.instances.iter().any(Instance::is_looking) => {
                actions.push(Action::SwapBack);
            }
            _ => {}
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action)?;
        next.instances.iter_mut().for_each(Instance::renumber);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NOT_BANNED, |_, state: &State| {
                let mut instances = state.instances.iter();
                instances.all(|instance| {
                    let mut reused = instance.reuses(&state.redis);
                    reused.all(|version| version >= instance.told)
                })
            }),
            Property::sometimes("a record of another is reused", |_, state: &State| {
                let is_from_other = |instance: &Instance| {
                    instance.memory.is_none() && instance.reuses_from_redis(&state.redis).is_some()
                };
                state.instances.iter().any(is_from_other)
            }),
            Property::sometimes("a write is answered", |_, state: &State| state.answered > 0),
        ];
        if self.fault == Some(Fault::Crash) && !self.is_strict {
            properties.push(Property::always(NOT_LOST, |_, state: &State| {
                let is_logged = |write| state.redis.log.iter().any(|entry| entry.write == write);
                let is_pending = |write| {
                    let mut instances = state.instances.iter();
                    instances.any(|instance| instance.pending == Some(write))
                };
                (1..=state.answered).all(|write| {
                    let is_under_way = state.instances.iter().any(|instance| {
                        instance
                            .write
                            .is_some_and(|under_way| under_way.number == write)
                    });
                    is_under_way || is_logged(write) || is_pending(write)
                })
            }));
        }
        if self.is_strict {
            properties.push(Property::always(NOT_BEFORE, |system: &Self, state| {
                let mut instances = state.instances.iter();
                instances.all(|instance| {
                    let is_leased = instance.word.is_some_and(|age| age < LEASE);
                    let is_silent = system.rules.leases && !is_leased;
                    let mut reused = instance.reuses(&state.redis);
                    is_silent || reused.all(|version| version >= state.answered)
                })
            }));
        }
        properties
    }
}
