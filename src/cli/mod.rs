//! The commands that ask a running Pannier.

pub mod client;
mod columns;
pub mod purge;
pub mod stats;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod top;
