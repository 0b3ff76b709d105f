//! What is counted, timed and told: events in, figures out.
//!
//! Everything here is written by any thread without waiting and read by the
//! admin listener. Knows nothing of HTTP connections, stores or routing.

pub mod counters;
