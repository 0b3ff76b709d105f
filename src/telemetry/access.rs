//! The access log: one line for each request, to standard output.
//!
//! Promises: a request never waits for it: lines go through a bounded queue
//! to a thread of their own, and past the bound they are dropped, counted and
//! said. A line holds the path without its query and no field of the request:
//! nothing that could be a credential.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::counters::Counter;
use super::{ResponseServed, milliseconds, rfc3339};
use crate::clock::Timestamp;
use crate::config::AccessFormat;

/// Lines waiting to be written; past it they are dropped.
const LINES_MAX: usize = 8_192;

/// The access log. Off until a format is set.
#[derive(Debug, Default)]
pub struct AccessLog {
    format: AtomicU8,
    writer: OnceLock<SyncSender<String>>,
    dropped: Counter,
}

impl AccessLog {
    /// Writes so from now on. The first format but `Off` starts the thread.
    pub fn set_format(&self, format: AccessFormat) {
        self.format.store(format as u8, Ordering::Relaxed);
        if format != AccessFormat::Off {
            self.writer.get_or_init(|| {
                let (sender, lines) = sync_channel(LINES_MAX);
                let started = std::thread::Builder::new()
                    .name("access-log".to_owned())
                    .spawn(move || write_lines(&lines, std::io::stdout()));
                if let Err(error) = started {
                    tracing::error!(%error, "the access log cannot be written");
                }
                sender
            });
        }
    }

    /// Lines dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    pub(super) fn write(&self, event: &ResponseServed<'_>, route: &str, now: Timestamp) {
        let format = self.format.load(Ordering::Relaxed);
        if format == AccessFormat::Off as u8 {
            return;
        }
        let line = if format == AccessFormat::Json as u8 {
            json(event, route, now)
        } else {
            text(event, route, now)
        };
        let Some(writer) = self.writer.get() else {
            return;
        };
        if writer.try_send(line).is_err() {
            self.dropped.increment();
        }
    }
}

/// Writes until nobody logs any more. What comes in one go is flushed at its
/// end: a line waits for nothing but its turn.
fn write_lines(lines: &Receiver<String>, out: impl Write) {
    let mut out = std::io::BufWriter::new(out);
    while let Ok(line) = lines.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            if out.write_all(line.as_bytes()).is_err() {
                // Nobody reads it: to go on would only cost.
                return;
            }
            next = lines.try_recv().ok();
        }
        if out.flush().is_err() {
            return;
        }
    }
}

/// `time client "GET /path" status bytes CACHE route elapsed_ms upstream_ms`,
/// `-` for what there is not.
fn text(event: &ResponseServed<'_>, route: &str, now: Timestamp) -> String {
    let mut line = String::with_capacity(128 + event.path.len());
    line.push_str(&rfc3339::text(now));
    // Writing to a string does not fail.
    let _ = match event.client {
        Some(client) => write!(line, " {client}"),
        None => write!(line, " -"),
    };
    let _ = write!(line, " \"{} ", event.method);
    for character in event.path.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    let _ = write!(line, "\" {} ", event.status.as_u16());
    let _ = match event.body_bytes {
        Some(bytes) => write!(line, "{bytes}"),
        None => write!(line, "-"),
    };
    let route = if route.is_empty() { "-" } else { route };
    let _ = write!(
        line,
        " {} {route} {:.3} ",
        event.cache.as_str(),
        milliseconds(event.elapsed)
    );
    let _ = match event.upstream {
        Some(upstream) => writeln!(line, "{:.3}", milliseconds(upstream)),
        None => writeln!(line, "-"),
    };
    line
}

pub(super) fn json(event: &ResponseServed<'_>, route: &str, now: Timestamp) -> String {
    let mut line = serde_json::json!({
        "time": rfc3339::text(now),
        "client": event.client.map(|client| client.to_string()),
        "method": event.method.as_str(),
        "path": event.path,
        "status": event.status.as_u16(),
        "bytes": event.body_bytes,
        "cache": event.cache.as_str(),
        "route": (!route.is_empty()).then_some(route),
        "elapsed_ms": milliseconds(event.elapsed),
        "upstream_ms": event.upstream.map(milliseconds),
    })
    .to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};

    use super::*;
    use crate::semantics::outcome::CacheResult;

    fn event(path: &str) -> ResponseServed<'_> {
        ResponseServed {
            at: Timestamp::from_unix_millis(0),
            route: None,
            method: &Method::GET,
            path,
            status: StatusCode::OK,
            cache: CacheResult::Hit,
            elapsed: Duration::from_micros(42),
            upstream: None,
            body_bytes: Some(512),
            saved: None,
            client: Some([127, 0, 0, 1].into()),
            span: None,
        }
    }

    #[test]
    fn a_line_says_who_what_and_how_long() {
        let now = Timestamp::from_unix_millis(0);
        assert_eq!(
            text(&event("/a\"b\n"), "shop", now),
            "1970-01-01T00:00:00.000Z 127.0.0.1 \"GET /a\\\"b\\n\" 200 512 HIT shop 0.042 -\n"
        );
        let line = json(&event("/a\"b\n"), "", now);
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], "/a\"b\n");
        assert_eq!(read["elapsed_ms"], 0.042);
        assert!(read["route"].is_null() && read["upstream_ms"].is_null());
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (sender, lines) = sync_channel(8);
        for line in ["a\n", "b\n", "c\n"] {
            sender.send(line.to_owned()).unwrap();
        }
        drop(sender);
        let mut written = Vec::new();
        write_lines(&lines, &mut written);
        assert_eq!(written, b"a\nb\nc\n");
    }

    #[test]
    fn what_finds_no_place_is_dropped_and_counted() {
        let log = AccessLog::default();
        log.write(&event("/"), "", Timestamp::from_unix_millis(0));
        assert_eq!(log.dropped(), 0, "it is off");
        let (sender, _lines) = sync_channel(1);
        log.writer.set(sender).unwrap();
        log.format
            .store(AccessFormat::Text as u8, Ordering::Relaxed);
        for _ in 0..3 {
            log.write(&event("/"), "", Timestamp::from_unix_millis(0));
        }
        assert_eq!(log.dropped(), 2);
    }
}
