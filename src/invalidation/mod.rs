//! Invalidation: bans, the rules that make writes into bans, and the log that
//! carries bans between instances.

pub mod bans;
pub mod rules;
pub mod scope;
