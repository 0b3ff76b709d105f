//! Pannier: a caching reverse proxy that rides beside an application.
//!
//! The map of the crate, from the ground up; imports point down only (held by
//! `tests/tidy.rs`). ARCHITECTURE.md tells the whole story.
//!
//! | level | modules | what they are |
//! |---|---|---|
//! | 10 | `app` | what runs, and in which order it stops |
//! | 9 | `cli`, `demo` | commands of the client; what `pannier demo` shows |
//! | 8 | `server`, `admin` | the listeners: data plane, control plane |
//! | 7 | `proxy` | the life of a request |
//! | 6 | `store`, `origin`, `invalidation`, `fleet`, `route` | siblings, strangers to each other |
//! | 5 | `link` | supervised connections to Redis |
//! | 4 | `telemetry` | what is counted and timed |
//! | 3 | `config` | what `proxy.toml` means |
//! | 2 | `semantics` | RFC 9110 and RFC 9111, pure |
//! | 1 | `message`, `pattern` | bodies and fields; path patterns |
//! | 0 | `percent`, `clock`, `backoff`, `drain`, `gate`, `rule`, `script` | escapes; time; pauses between attempts; the orderly end; the bound on what is under way; safety rules that a test can switch off; a scripted peer, for tests |

pub mod admin;
pub mod app;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drain;
pub mod fleet;
pub mod gate;
pub mod invalidation;
pub mod link;
pub mod message;
pub mod origin;
pub mod pattern;
pub mod percent;
pub mod proxy;
pub mod route;
pub mod rule;
#[cfg(any(test, fuzzing))]
pub mod script;
pub mod semantics;
pub mod server;
pub mod store;
pub mod telemetry;
