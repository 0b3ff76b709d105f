//! The application behind: connections to it, requests for it, and what can
//! go wrong on the way.

pub mod client;
pub mod connect;
pub mod error;
pub mod request;
pub mod timeout;
mod upload;
