//! The task that keeps one connection standing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::RedisError;
use tokio::sync::{Notify, watch};

use super::connection::{Connection, Verdict, judge};
use super::endpoint::Endpoint;
use super::patience::answered_within;
use super::task::Task;
use crate::backoff::Backoff;
use crate::telemetry::counters::RedisCounters;

/// How often a standing connection is asked whether it still stands.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that has not answered a PING for so long is replaced.
const PING_DEADLINE: Duration = Duration::from_secs(1);
/// The last resort for answers: callers have shorter budgets of their own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that stood for so long was a good one: the next loss is
/// answered at once again.
const GOOD_AFTER: Duration = Duration::from_secs(2);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Lookups, on the request path. `RedisCounters::up` tells of this one.
    Lookup,
    /// Lookups of large records, so that small ones do not wait behind them.
    Large,
    /// Stores, behind it.
    Store,
    /// Appending to the invalidation log.
    Append,
    /// Seeing who has applied what is in it.
    Acks,
    /// Telling who this instance is, and asking who the others are.
    Fleet,
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lookup => "lookup",
            Self::Large => "large lookup",
            Self::Store => "store",
            Self::Append => "append",
            Self::Acks => "acks",
            Self::Fleet => "fleet",
        })
    }
}

/// A connection that is made again whenever it is lost. Dropping the link
/// ends it.
pub struct Link {
    shared: Arc<Shared>,
    _supervisor: Task,
}

struct Shared {
    current: watch::Sender<Option<Connection>>,
    /// Somebody doubts the connection: ask now rather than at the next PING.
    doubt: Notify,
    /// The last connection found to be of no use; 0 for none.
    condemned: AtomicU64,
    role: Role,
    counters: Arc<RedisCounters>,
}

impl Link {
    /// Starts to connect, on the runtime this is called from; the connection
    /// may be used from any.
    #[must_use]
    pub fn start(endpoint: Endpoint, role: Role, counters: Arc<RedisCounters>) -> Self {
        let shared = Arc::new(Shared {
            current: watch::Sender::new(None),
            doubt: Notify::new(),
            condemned: AtomicU64::new(0),
            role,
            counters,
        });
        Self {
            _supervisor: Task::start(supervise(endpoint, Arc::clone(&shared))),
            shared,
        }
    }

    /// The connection that stands now, if one does. Never waits.
    #[must_use]
    pub fn current(&self) -> Option<Connection> {
        self.shared.current.borrow().clone()
    }

    /// Waits until a connection stands. For background work only.
    pub async fn connected(&self) -> Connection {
        let mut watched = self.shared.current.subscribe();
        loop {
            if let Some(connection) = watched.borrow_and_update().clone() {
                return connection;
            }
            // The sender lives in `self`: this only ends with a change.
            let _unchanged_is_asked_again = watched.changed().await;
        }
    }

    /// Waits until no connection stands.
    pub async fn disconnected(&self) {
        let mut watched = self.shared.current.subscribe();
        while watched.borrow_and_update().is_some() {
            let _unchanged_is_asked_again = watched.changed().await;
        }
    }

    /// Something failed over `connection`: it is asked whether it still
    /// stands, or replaced, as the error demands.
    pub fn report(&self, connection: &Connection, error: &RedisError) {
        match judge(error) {
            Verdict::Usable => {}
            Verdict::Suspect => self.shared.doubt.notify_one(),
            Verdict::Condemned => self.condemn(connection),
        }
    }

    /// `connection` does not achieve what it is for, whatever its errors say:
    /// it is replaced.
    pub fn condemn(&self, connection: &Connection) {
        self.shared
            .condemned
            .store(connection.id, Ordering::Release);
        self.shared.doubt.notify_one();
    }

    /// An answer did not come in its caller's time.
    pub fn report_timeout(&self) {
        self.shared.doubt.notify_one();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Link")
            .field("role", &self.shared.role)
            .finish_non_exhaustive()
    }
}

async fn supervise(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut is_first_failure = true;
    let mut id = 0;
    loop {
        match endpoint.connect(RESPONSE_TIMEOUT).await {
            Ok(mut connection) => {
                id += 1;
                connection.id = id;
                is_first_failure = true;
                let since = Instant::now();
                shared.install(connection.clone());
                let reason = watch_over(connection, &shared).await;
                shared.clear(&reason);
                if since.elapsed() >= GOOD_AFTER {
                    backoff.reset();
                }
            }
            // An outage is told once, not at every attempt.
            Err(error) if is_first_failure => {
                is_first_failure = false;
                tracing::warn!(role = %shared.role, %error, "Redis cannot be reached");
            }
            Err(error) => {
                tracing::debug!(role = %shared.role, %error, "Redis still cannot be reached");
            }
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Returns, with the reason, when `connection` is of no more use.
async fn watch_over(mut connection: Connection, shared: &Shared) -> String {
    loop {
        tokio::select! {
            () = shared.doubt.notified() => {}
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
        if shared.condemned.load(Ordering::Acquire) == connection.id {
            return "what it is for keeps failing, or its node does not serve".to_owned();
        }
        match answered_within(PING_DEADLINE, connection.ping()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => return error.to_string(),
            None => return format!("no answer for {PING_DEADLINE:?}"),
        }
    }
}

impl Shared {
    fn install(&self, connection: Connection) {
        tracing::info!(role = %self.role, "connected to Redis");
        self.counters.connects.increment();
        self.current.send_replace(Some(connection));
        if self.role == Role::Lookup {
            self.counters.up.set(1);
        }
    }

    fn clear(&self, reason: &str) {
        tracing::warn!(role = %self.role, reason, "the connection to Redis is lost");
        if self.role == Role::Lookup {
            self.counters.up.set(0);
        }
        self.current.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::test_redis::{TestRedis, within};

    fn link(redis: &TestRedis) -> Link {
        let endpoint = Endpoint::of(&redis.config()).unwrap();
        Link::start(endpoint, Role::Lookup, Arc::default())
    }

    #[tokio::test]
    async fn a_redis_that_is_missing_at_start_is_found_when_it_comes() {
        let mut redis = TestRedis::reserve();
        let link = link(&redis);
        assert!(link.current().is_none());
        redis.start();
        let mut connection = within(link.connected()).await;
        within(connection.ping()).await.unwrap();
        assert_eq!(link.shared.counters.up.get(), 1);
    }

    #[tokio::test]
    async fn a_killed_redis_is_noticed_and_found_again_at_the_same_place() {
        let mut redis = TestRedis::started();
        let link = link(&redis);
        within(link.connected()).await;
        redis.kill();
        within(link.disconnected()).await;
        assert!(link.current().is_none());
        redis.start();
        within(within(link.connected()).await.ping()).await.unwrap();
    }

    #[tokio::test]
    async fn a_redis_that_hangs_is_given_up_and_found_again() {
        let redis = TestRedis::on_tcp();
        let link = link(&redis);
        within(link.connected()).await;
        redis.stop();
        within(link.disconnected()).await;
        redis.cont();
        within(within(link.connected()).await.ping()).await.unwrap();
    }

    #[tokio::test]
    async fn a_reported_error_is_looked_into_at_once() {
        let redis = TestRedis::started();
        let link = link(&redis);
        let connection = within(link.connected()).await;
        let demoted = RedisError::from((
            redis::ErrorKind::Server(redis::ServerErrorKind::ReadOnly),
            "demoted",
        ));
        link.report(&connection, &demoted);
        within(link.disconnected()).await;
        let next = within(link.connected()).await;
        assert_ne!(next.id, connection.id);
        link.report(&connection, &demoted);
        link.report_timeout();
        assert_eq!(
            within(link.connected()).await.id,
            next.id,
            "an old connection's error is not the new one's"
        );
    }

    #[tokio::test]
    async fn a_user_with_few_rights_and_a_password_is_enough() {
        let redis = TestRedis::started();
        redis.cli(&["ACL", "SETUSER", "app", "on", ">s3cret", "~*", "+get"]);
        let endpoint = Endpoint::of(&redis.config_as("app", "s3cret")).unwrap();
        let link = Link::start(endpoint, Role::Store, Arc::default());
        let mut connection = within(link.connected()).await;
        within(connection.ping()).await.unwrap();

        let endpoint = Endpoint::of(&redis.config_as("app", "wrong")).unwrap();
        assert!(endpoint.connect(Duration::from_secs(1)).await.is_err());
    }
}
