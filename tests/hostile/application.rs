//! The application behind: it answers as a page's [`Behaviour`] says, and
//! remembers for whom it made each answer. Every answer, and every cookie, has
//! a serial that nobody can guess, so that what a client was shown can be
//! traced to the request that it was made for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::reading::{Aspect, Read};

/// The field by which a request is known again at the application.
pub(crate) const TRACE: &str = "X-Trace";
/// The field, in no key, that makes an application fail.
pub(crate) const POKE: &str = "X-Poke";
/// How long a failing answer is held for others to join its flight.
const HOLD: Duration = Duration::from_millis(40);

/// What a write is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write_ {
    /// 403.
    Refused,
    /// 403 before the content was read, and the connection closed.
    RefusedEarly,
    /// To the login page, with this status.
    Redirected(u16),
    /// Done.
    Done,
}

/// How the pages of a round answer.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    /// What their content depends on.
    pub(crate) reads: Vec<Aspect>,
    /// The fields of their responses.
    pub(crate) fields: Vec<(String, String)>,
    /// Whether each is for one visitor alone, and says so.
    pub(crate) is_personal: bool,
    /// Whether who has no session is given one.
    pub(crate) gives_sessions: bool,
    /// Whether there is an `ETag`, and conditions are answered with 304.
    pub(crate) validates: bool,
    pub(crate) takes_last: bool,
    pub(crate) write: Write_,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            reads: Vec::new(),
            fields: vec![("Cache-Control".into(), "max-age=3600".into())],
            is_personal: false,
            gives_sessions: false,
            validates: false,
            takes_last: true,
            write: Write_::Refused,
        }
    }
}

/// What was answered to whom.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The request that it was made for.
    pub(crate) trace: String,
    /// What was read, and what it was.
    pub(crate) seen: Vec<(Aspect, String)>,
    pub(crate) is_personal: bool,
    pub(crate) has_cookie: bool,
    pub(crate) is_failure: bool,
    pub(crate) body: String,
}

#[derive(Default)]
struct State {
    behaviours: HashMap<String, Behaviour>,
    fallback: Behaviour,
    made: HashMap<String, Made>,
    /// Traces of requests that arrived, and whether their connection is over.
    arrived: HashMap<String, bool>,
    serial: u64,
}

/// The application, on threads of its own.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Application {
    pub(crate) fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let application = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::default(),
        };
        application.shared.0.lock().serial = seed;
        let serving = application.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // A connection that breaks is the client's doing, or Pannier's.
                std::thread::spawn(move || serving.serve(stream).unwrap_or_default());
            }
        });
        application
    }

    /// From now on the pages below `folder` answer so.
    pub(crate) fn behave(&self, folder: &str, behaviour: Behaviour) {
        let mut state = self.shared.0.lock();
        // Pages of old rounds are asked for no more; their answers are held
        // against whom they are shown to all the same.
        if state.behaviours.len() > 256 {
            state.behaviours.clear();
        }
        state.behaviours.insert(folder.to_owned(), behaviour);
    }

    /// From now on all others answer so.
    pub(crate) fn fall_back(&self, behaviour: Behaviour) {
        self.shared.0.lock().fallback = behaviour;
    }

    /// For whom the answer with this serial was made.
    pub(crate) fn made(&self, serial: &str) -> Option<Made> {
        self.shared.0.lock().made.get(serial).cloned()
    }

    /// Whether a request arrived here.
    pub(crate) fn was_asked(&self, trace: &str) -> bool {
        self.shared.0.lock().arrived.contains_key(trace)
    }

    /// Waits a moment until a request has arrived.
    pub(crate) fn arrives(&self, trace: &str) {
        let mut state = self.shared.0.lock();
        if !state.arrived.contains_key(trace) {
            let changed = &self.shared.1;
            let is_missing = |state: &mut State| !state.arrived.contains_key(trace);
            let limit = Duration::from_millis(500);
            changed.wait_while_for(&mut state, is_missing, limit);
        }
    }

    /// Waits a moment until the connection of a request that came in part is
    /// over, if it came at all.
    pub(crate) fn breaks_off(&self, trace: &str) {
        let mut state = self.shared.0.lock();
        let is_open = |state: &mut State| state.arrived.get(trace) == Some(&false);
        let limit = Duration::from_millis(500);
        self.shared.1.wait_while_for(&mut state, is_open, limit);
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut out = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        while let Some(head) = head(&mut input)? {
            let trace = head.field(TRACE).unwrap_or_default();
            self.arrival(&trace, false);
            let behaviour = self.behaviour(&head);
            let is_read = matches!(head.method.as_str(), "GET" | "HEAD");
            if !is_read && behaviour.write == Write_::RefusedEarly {
                out.write_all(
                    b"HTTP/1.1 403 F\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
                )?;
                out.shutdown(std::net::Shutdown::Write)?;
                // Until the other side has closed too: what it had not read
                // would be lost by a reset.
                let _ = input.read_to_end(&mut Vec::new());
                self.arrival(&trace, true);
                return Ok(());
            }
            let content = content(&mut input, &head);
            let Ok(content) = content else {
                self.arrival(&trace, true);
                return Ok(());
            };
            let poke = head.field(POKE);
            if poke.is_some() {
                self.hold();
            }
            if poke.as_deref() == Some("close") {
                return Ok(());
            }
            let answer = self.answer(&head, &behaviour, &content, poke.is_some());
            out.write_all(&answer)?;
        }
        Ok(())
    }

    fn arrival(&self, trace: &str, is_over: bool) {
        let (state, changed) = &*self.shared;
        state.lock().arrived.insert(trace.to_owned(), is_over);
        changed.notify_all();
    }

    /// Holds an answer for as long as a neighbour needs to ask as well.
    fn hold(&self) {
        let never = Mutex::new(());
        Condvar::new().wait_for(&mut never.lock(), HOLD);
    }

    fn behaviour(&self, head: &Head) -> Behaviour {
        let path = head.target.split('?').next().unwrap_or_default();
        let path = path.trim_start_matches("http://shop.example");
        let state = self.shared.0.lock();
        state
            .behaviours
            .get(path)
            .unwrap_or(&state.fallback)
            .clone()
    }

    fn answer(&self, head: &Head, behaviour: &Behaviour, content: &str, fails: bool) -> Vec<u8> {
        let read = Read {
            method: &head.method,
            target: &head.target,
            host: &head.field("Host").unwrap_or_default(),
            fields: &head.fields,
            content,
            takes_last: behaviour.takes_last,
        };
        let aspects = behaviour.reads.iter();
        let seen: Vec<_> = aspects.map(|aspect| (*aspect, read.see(*aspect))).collect();
        let serial = {
            let mut state = self.shared.0.lock();
            let mut random = crate::random::Random::new(state.serial);
            state.serial = random.next();
            format!("{:016x}{:016x}", state.serial, random.next())
        };
        let etag = format!("\"{:?}\"", seen).replace(['"', '\\', ' '], "");
        let etag = format!("\"{etag}\"");
        let condition = head.field("If-None-Match");
        let is_read = matches!(head.method.as_str(), "GET" | "HEAD");
        let is_unchanged = behaviour.validates && condition.is_some_and(|tag| tag.contains(&etag));
        let (status, reason) = match behaviour.write {
            _ if fails => (500, "Failed"),
            _ if is_read && is_unchanged => (304, "Not Modified"),
            _ if is_read || is_safe(&head.method) => (200, "OK"),
            Write_::Refused | Write_::RefusedEarly => (403, "Forbidden"),
            Write_::Redirected(status) => (status, "To Login"),
            Write_::Done => (200, "OK"),
        };
        let mut fields = String::new();
        for (name, value) in behaviour.fields.iter().filter(|_| is_read && !fails) {
            fields.push_str(&format!("{name}: {value}\r\n"));
        }
        if status >= 300 && status != 304 && status < 400 {
            fields.push_str("Location: /login\r\n");
        }
        if behaviour.validates {
            fields.push_str(&format!("ETag: {etag}\r\n"));
        }
        let is_newcomer = read.see(Aspect::User) == "-";
        let has_cookie = behaviour.gives_sessions && is_newcomer;
        if has_cookie {
            fields.push_str(&format!("Set-Cookie: sid={serial}; HttpOnly\r\n"));
        }
        let body = if status == 304 {
            String::new()
        } else {
            format!("serial={serial} {seen:?}")
        };
        let made = Made {
            trace: head.field(TRACE).unwrap_or_default(),
            seen,
            is_personal: behaviour.is_personal,
            has_cookie,
            is_failure: fails,
            body: body.clone(),
        };
        self.shared.0.lock().made.insert(serial, made);
        let size = body.len();
        let length = if status == 304 {
            String::new()
        } else {
            format!("Content-Length: {size}\r\n")
        };
        let sent = if head.method == "HEAD" { "" } else { &body };
        format!("HTTP/1.1 {status} {reason}\r\n{length}{fields}\r\n{sent}").into_bytes()
    }
}

/// Methods of the IANA registry that are safe.
pub(crate) fn is_safe(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" | "PROPFIND" | "REPORT" | "SEARCH" | "PRI"
    )
}

struct Head {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn field(&self, name: &str) -> Option<String> {
        let named = self.fields.iter();
        let mut named = named.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.clone())
    }
}

fn head(input: &mut impl BufRead) -> std::io::Result<Option<Head>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next(), words.next());
    let mut fields = Vec::new();
    loop {
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\r', '\n']);
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Some(Head {
        method: method.unwrap_or_default(),
        target: target.unwrap_or_default(),
        fields,
    }))
}

/// The content, if all of it comes.
fn content(input: &mut impl BufRead, head: &Head) -> std::io::Result<String> {
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut content = Vec::new();
    if head.field("Transfer-Encoding").is_some() {
        loop {
            let mut line = String::new();
            input.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| broken())?;
            let mut piece = vec![0; size + 2];
            input.read_exact(&mut piece)?;
            if size == 0 {
                break;
            }
            content.extend_from_slice(&piece[..size]);
        }
    } else if let Some(length) = head.field("Content-Length") {
        content = vec![0; length.parse().map_err(|_| broken())?];
        input.read_exact(&mut content)?;
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}
