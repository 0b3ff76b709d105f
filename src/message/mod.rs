//! HTTP messages as this proxy handles them: bodies and fields.
//!
//! Knows nothing of caching, configuration or connections.

pub mod body;
pub mod directives;
pub mod fields;
pub mod interim;
pub mod parts;
pub mod targeted;
pub mod tee;

pub use body::{Body, BodyError};
