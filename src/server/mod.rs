//! The data plane's listeners: sockets in, requests out to the proxy,
//! responses and problems back.
//!
//! The way of a connection: `listener` accepts it within the bound,
//! `connection` reads whose it is where a proxy in front says so (`proxied`),
//! shakes hands where it is TLS (`tls`) and finds out which protocol it speaks. HTTP/1 is spoken by a
//! session of ours (`http1`): `wire` checks every head and the framing of every
//! body, what can be answered or passed on at once is (`direct`), and one
//! writer writes the rest. HTTP/2 is hyper's (`http2`). `stack` does what is
//! the same for both and calls the proxy, `respond` turns whatever went wrong
//! into a response. A [`Drain`](crate::drain::Drain) ends it all in order.
//!
//! Promises: a request that is refused never reaches the proxy, nor does
//! anything that follows it on its connection; refusals are answered in the
//! order of the requests; everything a client can make wait or grow is
//! bounded by [`Limits`](crate::config::Limits). Knows nothing of caching or
//! routes: the proxy is any [`tower::Service`], and only `respond` knows what
//! its errors mean.

mod body;
mod connection;
mod deadlines;
mod direct;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http1;
mod http2;
mod listener;
mod opened;
mod prefixed;
#[doc(hidden)]
pub mod proxied;
mod respond;
mod slowness;
mod stack;
pub mod tls;
mod unix;
mod wire;

pub use direct::Direct;
pub use listener::{Entrance, Sockets, bind, serve};
pub use respond::{Problem, Rejection};

#[cfg(test)]
mod tests;
