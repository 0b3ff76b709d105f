//! Pannier from the outside: the real program between a scripted origin and
//! real clients. Each test is a story; its name is the claim.
//!
//! One binary, so that it links once. The language the stories are told in is
//! in [`support`].

mod bad_input;
mod coalescing;
mod command_line;
mod exchange;
mod first_hit;
mod fleet;
mod grpc;
mod interim;
mod invalidation;
mod lifecycle;
mod limits;
mod metrics;
mod outages;
mod passing;
mod proxied;
mod purging;
mod ranges;
mod redis;
mod restart;
mod reuse;
mod route_options;
mod scripted_origin;
mod second_tier;
mod security;
mod session;
#[cfg(feature = "otlp")]
mod spans;
mod standard;
mod streaming;
mod support;
mod swapped;
mod terminal;
mod tls;
mod unix;
mod unlogged;
mod upstreams;
mod visitors;
mod warming;
mod watching;
