//! The commands that ask a running Pannier.

pub mod client;
mod columns;
pub mod purge;
pub mod stats;
#[cfg(test)]
mod tests;
