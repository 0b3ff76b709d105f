//! Where responses are stored.

pub mod memory;
