//! One run: two honest browsers A and B, a stranger E, an application, and
//! Pannier between; round after round, each with pages of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::application::{Application, Behaviour, POKE, TRACE, Write_};
use crate::dictionary::{self, COMMON, STRANGER};
use crate::message::{Answer, Ending, Request, ask};
use crate::model::{self, Finding};
use crate::program::Program;
use crate::random::Random;
use crate::reading::{Aspect, FORGEABLE};

/// Rounds in which no write touches `/`, so that it can be held against its
/// being emptied as a parent.
const QUIET_ROOT_ROUNDS: usize = 60;
/// Pages that stay stored through a run.
const HOT: [&str; 4] = ["/hot", "/hot/1", "/hot/1/leaf", "/shop/index.html"];

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    /// Answers that one visitor was given of what was made for another.
    pub(crate) shared: u64,
    /// Pairs of visitors of one page in one round.
    pub(crate) pairs: u64,
    /// Looks at whether a stored response is still there.
    pub(crate) looks: u64,
    /// Findings by kind.
    pub(crate) kinds: BTreeMap<&'static str, u64>,
}

/// A run.
pub(crate) struct Run {
    seed: u64,
    random: Random,
    program: Program,
    application: Application,
    trusted: bool,
    round: usize,
    asked: u64,
    /// What was asked and answered in this round and the one before.
    story: [String; 2],
    pub(crate) figures: Figures,
    pub(crate) first: Option<String>,
}

impl Run {
    pub(crate) fn new(seed: u64, trusted: bool, rule_off: Option<&str>) -> Self {
        let application = Application::start(seed);
        Self {
            seed,
            random: Random::new(seed),
            program: Program::start(application.address, trusted, rule_off),
            application,
            trusted,
            round: 0,
            asked: 0,
            story: Default::default(),
            figures: Figures::default(),
            first: None,
        }
    }

    /// Plays rounds; `stops` says whether at the first finding.
    pub(crate) fn play(&mut self, rounds: usize, stops: bool) {
        for _ in 0..rounds {
            self.round += 1;
            self.story.swap(0, 1);
            self.story[1].clear();
            match self.random.below(10) {
                0..4 => self.variants(),
                4 => self.personal(),
                5 => self.sessions(),
                6 => self.failure(),
                _ => self.emptying(),
            }
            if stops && self.first.is_some() {
                return;
            }
        }
    }

    fn find(&mut self, found: Finding) {
        *self.figures.kinds.entry(found.kind).or_default() += 1;
        if self.first.is_none() {
            let (seed, round) = (self.seed, self.round);
            self.first = Some(format!(
                "seed {seed}, round {round}, {}: {}\n--- the round before\n{}--- the round\n{}",
                found.kind, found.what, self.story[0], self.story[1]
            ));
        }
    }

    /// Gives a request its trace.
    fn traced(&mut self, who: &str, request: Request) -> Request {
        self.asked += 1;
        let trace = format!("{who}-{}-{}", self.round, self.asked);
        request.field(TRACE, &trace)
    }

    fn tell(&mut self, request: &Request, answer: &Answer) {
        let _ = writeln!(
            self.story[1],
            "{request:?}\n    -> {} {} {:?} {}",
            answer.status,
            answer.cache(),
            answer.fields,
            answer.body
        );
    }

    /// Asks, and tells the story.
    fn ask(&mut self, request: &Request) -> Answer {
        self.figures.requests += 1;
        let answer = ask(self.program.address, request);
        self.tell(request, &answer);
        answer
    }

    /// Asks, and holds the answer against the model.
    fn ask_judged(&mut self, request: &Request, takes_last: bool, stranger: Option<&Request>) {
        let answer = self.ask(request);
        self.judge(request, &answer, takes_last, stranger);
    }

    fn judge(
        &mut self,
        request: &Request,
        answer: &Answer,
        takes_last: bool,
        stranger: Option<&Request>,
    ) {
        let is_honest = request.from != STRANGER;
        if !answer.body.is_empty() && answer.cache() != "MISS" && answer.cache() != "BYPASS" {
            self.figures.shared += 1;
        }
        let application = &self.application;
        let found = model::judge(
            application,
            request,
            answer,
            is_honest,
            takes_last,
            stranger,
        );
        if let Some(found) = found {
            self.find(found);
        }
    }

    /// A request of an honest browser: directly, or through the trusted proxy.
    fn honest(&mut self, who: &str, target: &str, aspects: &[Aspect]) -> Request {
        let is_behind = self.trusted && self.random.chance(60);
        let mut request = Request::get(target, if is_behind { 1 } else { 3 });
        for (aspect, name, values) in COMMON {
            if aspects.contains(&aspect) && self.random.chance(70) {
                request = request.field(name, self.random.pick(values));
            }
        }
        if aspects.contains(&Aspect::Currency) && self.random.chance(60) {
            let currency = self.random.pick(&["eur", "usd"]);
            request = request.field("Cookie", &format!("currency={currency}"));
        } else if self.random.chance(50) {
            request = request.field("Cookie", &format!("sid={who}-secret"));
        }
        if aspects.contains(&Aspect::Token) && self.random.chance(50) {
            request = request.field("Authorization", &format!("Bearer {who}-secret"));
        }
        if is_behind {
            let scheme = self.random.pick(&["http", "https"]);
            request = request.field("X-Forwarded-Proto", scheme);
            if self.random.chance(30) {
                let host = self.random.pick(&["shop.example", "other.example"]);
                request = request.field("X-Forwarded-Host", host);
            }
        }
        request.field("Connection", "close")
    }

    /// Pages whose content depends on what the application states.
    fn variants(&mut self) {
        let (folder, vary, mut aspects) = match self.random.below(8) {
            0 => ("tenant", "", vec![Aspect::Tenant]),
            1 | 2 => ("session", "", vec![Aspect::Currency, Aspect::User]),
            3 | 4 => ("list", "", vec![Aspect::Page]),
            5 => ("any", "Cookie", vec![Aspect::User]),
            6 => ("any", "Authorization", vec![Aspect::Token]),
            _ => {
                let (aspect, name, _) = self.random.pick(&COMMON);
                ("any", name, vec![aspect, Aspect::Page])
            }
        };
        if self.random.chance(60) {
            aspects.extend(FORGEABLE);
        }
        let mut fields = Vec::new();
        if self.random.chance(50) {
            fields.push(("Cache-Control".to_owned(), "max-age=600".to_owned()));
        }
        if !vary.is_empty() {
            fields.push(("Vary".to_owned(), vary.to_owned()));
        }
        let behaviour = Behaviour {
            reads: aspects.clone(),
            fields,
            validates: self.random.chance(20),
            takes_last: self.random.chance(60),
            ..Behaviour::default()
        };
        let takes_last = behaviour.takes_last;
        let path = format!("/{folder}/{}", self.round);
        self.application.behave(&path, behaviour);
        let mut stranger = None;
        for turn in 0..5 {
            if turn == 0 && self.random.chance(70) || self.random.chance(25) {
                let request = dictionary::stranger(&path, &aspects, &mut self.random);
                let request = self.traced("E", request);
                self.ask_judged(&request, takes_last, None);
                stranger = Some(request);
                continue;
            }
            let who = self.random.pick(&["A", "B"]);
            let target = self.target(&path, &aspects);
            let request = self.honest(who, &target, &aspects);
            let request = self.traced(who, request);
            self.ask_judged(&request, takes_last, stranger.as_ref());
        }
        self.figures.pairs += 1;
    }

    /// A target that honest browsers ask for.
    fn target(&mut self, path: &str, aspects: &[Aspect]) -> String {
        if aspects.contains(&Aspect::Page) {
            match self.random.below(5) {
                0 => return format!("{path}?page=1"),
                // A link that somebody made.
                1 => return dictionary::odd_query(path, &mut self.random),
                _ => {}
            }
        }
        path.to_owned()
    }

    /// Pages that are for one visitor each, and say so.
    fn personal(&mut self) {
        let mut path = format!("/personal/{}", self.round);
        let fields = dictionary::personal(&mut path, &mut self.random);
        let behaviour = Behaviour {
            reads: vec![Aspect::User],
            fields,
            is_personal: true,
            ..Behaviour::default()
        };
        self.application.behave(&path, behaviour);
        for who in ["A", "B", "E", "A"] {
            let request = if who == "E" {
                dictionary::stranger(&path, &[], &mut self.random)
            } else {
                self.honest(who, &path, &[])
            };
            let request = self.traced(who, request);
            self.ask_judged(&request, true, None);
        }
        self.figures.pairs += 1;
    }

    /// Files that everybody may share, from an application that gives who has
    /// no session a new one with whatever it answers.
    fn sessions(&mut self) {
        let path = format!("/{}/{}", self.random.pick(&["plain", "any"]), self.round);
        let lifetime = self.random.pick(&[
            "public, max-age=0",
            "public, max-age=3600",
            "max-age=0",
            "public, no-cache",
            "s-maxage=60",
        ]);
        let behaviour = Behaviour {
            fields: vec![("Cache-Control".into(), lifetime.into())],
            gives_sessions: true,
            validates: true,
            ..Behaviour::default()
        };
        self.application.behave(&path, behaviour);
        for turn in 0..6 {
            let who = self.random.pick(&["A", "B", "E"]);
            let request = if who == "E" {
                let request = Request::get(&path, STRANGER).field("Connection", "close");
                let is_planted = self.random.chance(40);
                if is_planted {
                    request.field("Cache-Control", "no-cache")
                } else {
                    request
                }
            } else {
                let request = Request::get(&path, 3).field("Connection", "close");
                let has_session = turn == 0 || self.random.chance(50);
                if has_session {
                    request.field("Cookie", &format!("sid={who}-secret"))
                } else {
                    request
                }
            };
            let request = self.traced(who, request);
            self.ask_judged(&request, true, None);
        }
        self.figures.pairs += 1;
    }

    /// A stranger makes the application fail while others wait for the page.
    fn failure(&mut self) {
        let path = format!("/any/{}", self.round);
        self.application.behave(&path, Behaviour::default());
        let poke = self.random.pick(&["1", "1", "close"]);
        let request = Request::get(&path, STRANGER)
            .field(POKE, poke)
            .field("Connection", "close");
        let stranger = self.traced("E", request);
        let trace = model::trace(&stranger).to_owned();
        let others = ["A", "B", "A", "B"].map(|who| {
            let request = Request::get(&path, 3).field("Connection", "close");
            self.traced(who, request)
        });
        self.figures.requests += 5;
        let (to, application) = (self.program.address, &self.application);
        let answers = std::thread::scope(|scope| {
            let failing = scope.spawn(|| ask(to, &stranger));
            application.arrives(&trace);
            let waiting = others
                .each_ref()
                .map(|other| scope.spawn(|| ask(to, other)));
            let answers = waiting.map(|waiting| waiting.join().expect("an answer"));
            (failing.join().expect("an answer"), answers)
        });
        self.tell(&stranger, &answers.0);
        for (request, answer) in others.iter().zip(&answers.1) {
            self.tell(request, answer);
            self.judge(request, answer, true, Some(&stranger));
        }
        self.figures.pairs += 1;
    }

    /// A stranger writes, or seems to; what is stored stays.
    fn emptying(&mut self) {
        let write = self.random.pick(&[
            Write_::Refused,
            Write_::RefusedEarly,
            Write_::Redirected(302),
            Write_::Redirected(303),
            Write_::Redirected(301),
            Write_::Redirected(307),
            Write_::Done,
            Write_::Done,
        ]);
        let at_root = self.round > QUIET_ROOT_ROUNDS;
        let request = dictionary::write(self.round, at_root, &mut self.random);
        // To the pages that everybody needs no stranger's write is ever done.
        let is_at_root = matches!(request.path(), "/" | "http://shop.example/");
        let write = match write {
            Write_::Done if is_at_root => Write_::Refused,
            write => write,
        };
        let mut stored = HOT.to_vec();
        if !at_root {
            stored.push("/");
        }
        let mut kept = Vec::new();
        for path in stored {
            if self.is_stored(path) {
                kept.push(path);
            }
        }
        self.application.fall_back(Behaviour {
            write,
            ..Behaviour::default()
        });
        let request = self.traced("E", request);
        let answer = self.ask(&request);
        if request.ending == Ending::Reset {
            self.application.arrives(model::trace(&request));
        }
        if request.ending != Ending::Whole {
            self.application.breaks_off(model::trace(&request));
        }
        let _ = writeln!(
            self.story[1],
            "    the write is {write:?}, {}",
            answer.status
        );
        for path in kept {
            if model::may_empty(&request, write, path) {
                continue;
            }
            self.figures.looks += 1;
            let look = self.honest_look(path);
            if look.cache() != "HIT" {
                let kind = model::kind_of_emptying(&request, write, path);
                let what = format!("{path} was stored and is {}", look.cache());
                self.find(Finding { kind, what });
            }
        }
    }

    fn honest_look(&mut self, path: &str) -> Answer {
        let request = Request::get(path, 3).field("Connection", "close");
        let request = self.traced("A", request);
        self.ask(&request)
    }

    /// Whether a page can be had from the store.
    fn is_stored(&mut self, path: &str) -> bool {
        (0..3).any(|_| self.honest_look(path).cache() == "HIT")
    }
}
