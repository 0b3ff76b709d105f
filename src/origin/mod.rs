//! The application behind: connections to it, requests for it, and what can
//! go wrong on the way.

#[cfg(test)]
mod against_hyper;
pub mod body;
pub mod cause;
pub mod client;
mod connection;
mod content;
pub mod error;
pub mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod head;
mod http2;
pub mod pool;
pub mod request;
mod resolve;
pub mod response;
mod restart;
mod stream;
pub mod timeout;
mod tls;
mod upload;
