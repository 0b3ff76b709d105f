//! Stories on real loopback sockets, told in raw bytes.

mod against_hyper;
mod any_requests;
mod bodies;
mod direct;
mod endings;
mod h2;
mod messages;
mod random;
mod refusals;
mod reluctant;
mod session;
mod support;
mod switching;
