//! What RFC 9110 and RFC 9111 say, as pure functions over values.
//!
//! No IO, no clock of its own, no locks: every function takes the moment it
//! is to judge and returns a value that carries its reason. The caller acts.

pub mod date;
pub mod freshness;
pub mod key;
pub mod method;
pub mod outcome;
pub mod partial;
pub mod policy;
pub mod query;
pub mod range;
pub mod reuse;
#[cfg(test)]
mod second_opinion;
mod selecting;
pub mod storability;
pub mod stored;
pub mod tags;
pub mod target;
pub mod told;
pub mod update;
pub mod validation;
pub mod vary;
