//! Heads that are passed on, written from parsed heads: what
//! [`fields_for_origin`], [`make_ready`] and [`Outcome`] do to a map of fields,
//! done to lines.
//!
//! [`fields_for_origin`]: crate::origin::request::fields_for_origin
//! [`make_ready`]: super::forward
//! [`Outcome`]: super::outcome::Outcome

use httparse::Header;

use crate::clock::Clock;
use crate::message::chunked::push_size;
use crate::message::client::ClientAddress;
use crate::message::digits::push_number;
use crate::message::fields::{
    PSEUDONYM, can_be_hop_by_hop, is_hop_by_hop, is_of_the_way, push_address, push_forwarded,
};
use crate::origin::head::{Framing, Head};
use crate::origin::request::{Sender, passes_underscore};

/// Writes the fields that a plain request goes forward with, and the end of
/// its head. `None` where they need a closer look.
pub(super) fn write_for_origin(
    request: &mut Vec<u8>,
    fields: &[Header<'_>],
    host: &str,
    sender: &Sender,
) -> Option<()> {
    let client = sender.address;
    let (mut via, mut forwarded, mut forwarded_for) = (None, None, None);
    let (mut has_proto, mut has_host) = (false, false);
    for field in fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        let is_kept = (sender.is_trusted || !is_of_the_way(field.name))
            && passes_underscore(field.name, sender.underscore_fields);
        if is_hop_by_hop(field.name) || !is_kept {
            continue;
        }
        let list = if is("via") {
            &mut via
        } else if is("forwarded") {
            &mut forwarded
        } else if is("x-forwarded-for") {
            &mut forwarded_for
        } else {
            has_proto |= is("x-forwarded-proto");
            has_host |= is("x-forwarded-host");
            push_line(request, field);
            continue;
        };
        if list.replace(field.value).is_some() {
            return None;
        }
    }
    // It may be a loop.
    let may_name_us = |value: &[u8]| memchr::memmem::find(value, PSEUDONYM.as_bytes()).is_some();
    if via.is_some_and(may_name_us) {
        return None;
    }
    begin_list(request, b"via: ", via);
    request.extend_from_slice(b"1.1 pannier\r\n");
    begin_list(request, b"forwarded: ", forwarded);
    push_forwarded(request, client, sender.scheme, Some(host.as_bytes()));
    request.extend_from_slice(b"\r\n");
    match client {
        ClientAddress::Ip(address) => {
            begin_list(request, b"x-forwarded-for: ", forwarded_for);
            push_address(request, address);
            request.extend_from_slice(b"\r\n");
        }
        ClientAddress::UnixSocket => {
            if let Some(value) = forwarded_for {
                let name = "x-forwarded-for";
                push_line(request, &Header { name, value });
            }
        }
    }
    if !has_proto {
        request.extend_from_slice(b"x-forwarded-proto: ");
        request.extend_from_slice(sender.scheme.as_str().as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    if !has_host {
        request.extend_from_slice(b"x-forwarded-host: ");
        request.extend_from_slice(host.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    Some(())
}

fn begin_list(text: &mut Vec<u8>, name: &[u8], members: Option<&[u8]>) {
    text.extend_from_slice(name);
    if let Some(members) = members {
        text.extend_from_slice(members);
        text.extend_from_slice(b", ");
    }
}

/// Writes an interim response (see [`crate::message::interim`]).
pub(super) fn write_interim(text: &mut Vec<u8>, head: &Head<'_>) {
    let reason = head.status.canonical_reason().unwrap_or_default();
    push_status(text, head, reason);
    let named = Named::of(head.fields);
    for field in head.fields {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if !named.is_hop_by_hop(field) && !is("content-length") && !is("pannier-cache-control") {
            push_line(text, field);
        }
    }
    text.extend_from_slice(b"\r\n");
}

/// What the head of an answer depends on besides the origin's.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientHead<'a> {
    pub(super) clock: &'a Clock,
    /// Whether the connection ends with it.
    pub(super) is_last: bool,
}

impl ClientHead<'_> {
    /// Writes it as far as [`super::outcome::OutcomeView::finish`] goes on. Says whether it announces
    /// a stream of events.
    pub(super) fn write(self, text: &mut Vec<u8>, head: &Head<'_>) -> bool {
        let reason = head.status.canonical_reason().unwrap_or_default();
        push_status(text, head, reason);
        let named = Named::of(head.fields);
        let (mut via, mut cache_status) = (List::default(), List::default());
        let (mut has_date, mut is_event_stream) = (false, None);
        for field in head.fields {
            if named.is_hop_by_hop(field) {
                continue;
            }
            match Meaning::of(field.name) {
                Meaning::Ours => continue,
                Meaning::Via => {
                    via.add(text, "via", field.value);
                    continue;
                }
                Meaning::CacheStatus => {
                    cache_status.add(text, "cache-status", field.value);
                    continue;
                }
                Meaning::Date => has_date = true,
                Meaning::ContentType => {
                    is_event_stream.get_or_insert(field.value.starts_with(b"text/event-stream"));
                }
                // It announces what comes after content.
                Meaning::Trailer if head.framing == Framing::Absent => continue,
                Meaning::Trailer | Meaning::Other => {}
            }
            push_line(text, field);
        }
        match head.framing {
            // The last is not had without having been asked for.
            Framing::Absent | Framing::Switched => {}
            Framing::Counted(length) => {
                text.extend_from_slice(b"content-length: ");
                push_number(text, length);
                text.extend_from_slice(b"\r\n");
            }
            Framing::Chunked | Framing::UntilClose => {
                text.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        via.end(text, "via");
        let ours: &[u8] = if head.is_http_10 {
            b"1.0 pannier\r\n"
        } else {
            b"1.1 pannier\r\n"
        };
        text.extend_from_slice(ours);
        if !has_date {
            let now = httpdate::fmt_http_date(self.clock.wall().to_system_time());
            text.extend_from_slice(b"date: ");
            text.extend_from_slice(now.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        if self.is_last {
            text.extend_from_slice(b"connection: close\r\n");
        }
        cache_status.end(text, "cache-status");
        is_event_stream.unwrap_or(false)
    }
}

/// What a field of a response is to us.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    /// We say it ourselves, or it was said to us.
    Ours,
    Via,
    CacheStatus,
    Date,
    ContentType,
    Trailer,
    Other,
}

impl Meaning {
    fn of(name: &str) -> Self {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // The length first: it tells most names apart at once.
        match name.len() {
            3 if is("via") => Self::Via,
            4 if is("date") => Self::Date,
            7 if is("x-cache") => Self::Ours,
            7 if is("trailer") => Self::Trailer,
            11 if is("x-cache-age") => Self::Ours,
            12 if is("cache-status") => Self::CacheStatus,
            12 if is("content-type") => Self::ContentType,
            14 if is("content-length") || is("x-process-time") => Self::Ours,
            21 if is("pannier-cache-control") => Self::Ours,
            _ => Self::Other,
        }
    }
}

/// The fields that `Connection` names.
struct Named<'a> {
    fields: &'a [Header<'a>],
    has_any: bool,
}

impl<'a> Named<'a> {
    fn of(fields: &'a [Header<'a>]) -> Self {
        let has_any = fields
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case("connection"));
        Self { fields, has_any }
    }

    fn is_hop_by_hop(&self, field: &Header<'_>) -> bool {
        is_hop_by_hop(field.name) || (self.has_any && self.names(field.name))
    }

    fn names(&self, name: &str) -> bool {
        let lines = self
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("connection"));
        let is_named = lines
            .flat_map(|line| line.value.split(|&byte| byte == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        is_named && can_be_hop_by_hop(name)
    }
}

/// A list field that a member of ours is appended to: on its one line, or on a
/// line of its own after several.
#[derive(Default)]
struct List<'a> {
    line: Option<&'a [u8]>,
    is_several: bool,
}

impl<'a> List<'a> {
    fn add(&mut self, text: &mut Vec<u8>, name: &str, line: &'a [u8]) {
        if let Some(earlier) = self.line.replace(line) {
            self.is_several = true;
            push(text, name, earlier);
        }
    }

    /// Writes up to where our member goes.
    fn end(self, text: &mut Vec<u8>, name: &str) {
        if let (Some(line), true) = (self.line, self.is_several) {
            push(text, name, line);
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        if let (Some(line), false) = (self.line, self.is_several) {
            text.extend_from_slice(line);
            text.extend_from_slice(b", ");
        }
    }
}

fn push_status(text: &mut Vec<u8>, head: &Head<'_>, reason: &str) {
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(head.status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(reason.as_bytes());
    text.extend_from_slice(b"\r\n");
}

fn push_line(text: &mut Vec<u8>, field: &Header<'_>) {
    push(text, field.name, field.value);
}

/// Appends a field, its name in lower case.
fn push(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    let start = text.len();
    text.extend_from_slice(name.as_bytes());
    text[start..].make_ascii_lowercase();
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// Appends a chunk (RFC 9112 §7.1); the piece is not empty.
pub(super) fn push_chunk(text: &mut Vec<u8>, piece: &[u8]) {
    push_size(text, piece.len());
    text.extend_from_slice(piece);
    text.extend_from_slice(b"\r\n");
}
