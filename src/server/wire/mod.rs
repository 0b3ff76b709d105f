//! What a client's bytes have to pass before anything is made of them.
//!
//! Two parsers that disagree about where a request ends are how requests are
//! smuggled. So every HTTP/1 head is checked here against a strict grammar
//! and the bounds, and the end of every body is found here, by rules that
//! leave nothing to interpretation; what passes means the same to everyone
//! behind it.
//!
//! Pure: [`head`] checks one head, [`framer`] strings heads and bodies
//! together; [`authority`] and [`target`] know the two grammars that a head
//! has inside. The socket is the session's (`http1`).

mod authority;
mod framer;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod head;
mod target;

pub(super) use authority::same_authority;
pub(super) use framer::{Bounds, Framer, Step};
pub(super) use head::{Framing, Message, offers_switch};
pub(super) use target::{as_uri, has_unsafe_bytes, is_origin_form};
