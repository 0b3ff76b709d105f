//! The application behind: connections to it, requests for it, and what can
//! go wrong on the way.

pub mod body;
pub mod client;
pub mod connect;
mod counted;
pub mod error;
pub mod request;
pub mod timeout;
mod upload;
pub mod wire_exchange;
pub mod wire_head;
pub mod wire_pool;
