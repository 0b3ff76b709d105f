//! HTTP messages as this proxy handles them: bodies and fields.
//!
//! Knows nothing of caching, configuration or connections.

pub mod body;
pub mod chunked;
pub mod client;
pub mod digits;
mod directive_list;
pub mod directives;
pub mod fields;
pub mod grpc;
pub mod interim;
pub mod lines;
pub mod outgoing;
pub mod parts;
pub mod piped;
pub mod presence;
#[cfg(test)]
pub(crate) mod samples;
pub mod scheme;
pub mod targeted;
pub mod tee;
pub mod upgrade;

pub use body::{Body, BodyError};
