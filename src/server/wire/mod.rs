//! What a client's bytes have to pass before hyper sees them.
//!
//! Two parsers that disagree about where a request ends are how requests are
//! smuggled. So every HTTP/1 head is checked here against the strict grammar
//! and the bounds, and the end of every body is found here, by rules that
//! leave nothing to interpretation; what passes means the same to everyone
//! behind it.
//!
//! [`interim`] is what the guard writes itself; [`head`] checks one head,
//! [`framer`] strings heads and bodies together; [`feed`] holds back what may not pass; [`guard`] is
//! the socket that does it all on the way, and [`exchange`] is how it and the request stack speak about a connection's
//! requests. [`authority`] and [`target`] know the two grammars that a head
//! has inside.

mod authority;
mod deadlines;
mod exchange;
mod feed;
mod framer;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod head;
mod interim;
mod target;

pub(super) use authority::same_authority;
pub(super) use deadlines::Deadline;
pub(super) use exchange::{Exchange, InFlight};
pub(super) use guard::{Guard, Protocol};
pub(super) use head::offers_switch;
pub(super) use target::is_origin_form;
