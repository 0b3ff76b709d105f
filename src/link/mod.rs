//! The supervised way to Redis, shared by the store and the invalidation log.
//!
//! Promises: nobody ever waits for a connection on the request path; a
//! connection that failed, hangs or was demoted is replaced, on *any* error;
//! attempts are spaced and bounded. Knows nothing of what is said over it.
//!
//! | module | what it is |
//! |---|---|
//! | [`endpoint`] | where Redis is and how one connection to it is made |
//! | [`connection`] | one connection, to a single node or to a cluster |
//! | [`supervisor`] | the task that keeps one connection standing |
//! | [`breaker`] | when to stop asking a Redis that does not answer in time |
//! | [`patience`] | what counts as no answer in time |

pub mod breaker;
pub mod connection;
pub mod endpoint;
pub mod patience;
pub mod supervisor;
mod task;
#[cfg(test)]
pub(crate) mod test_redis;

pub use connection::Connection;
pub use endpoint::{Endpoint, EndpointError};
pub use supervisor::{Link, Role};
pub use task::Task;
