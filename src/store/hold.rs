//! Who fetches a cold key, among the instances that share Redis.
//!
//! A *hold* is a key that expires within a second unless it is renewed: one
//! instance has it while it fetches, the others look for its record meanwhile.
//! Where the holder dies, the hold expires and another takes it. A hold lost
//! or taken twice costs one more fetch and nothing else: whether a record may
//! be reused is judged as always.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;

use super::queue::Queue;
use crate::link::{Connection, Link, Task};

/// A hold that is not renewed ends after it.
const TTL: Duration = Duration::from_secs(1);
/// Between two renewals.
const RENEW_EVERY: Duration = Duration::from_millis(300);
/// For what was fetched to be written, before the hold is given up.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// What came of asking for a hold.
#[derive(Debug)]
pub enum Asked {
    /// It is ours: fetch.
    Ours(Hold),
    /// Another instance fetches.
    Theirs,
    /// Redis does not say.
    Unavailable,
}

/// A hold of ours. Dropping it gives it up, once what was queued is written.
pub struct Hold {
    name: String,
    link: Arc<Link>,
    queue: Arc<Queue>,
    renewal: Option<Task>,
}

impl Hold {
    pub(super) async fn take(
        connection: &mut Connection,
        name: String,
        link: &Arc<Link>,
        queue: &Arc<Queue>,
    ) -> RedisResult<Option<Self>> {
        let taken: Option<String> = redis::cmd("SET")
            .arg(&name)
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(TTL.as_millis() as u64)
            .query_async(connection)
            .await?;
        Ok(taken.map(|_| Self {
            renewal: Some(Task::start(renew(name.clone(), Arc::clone(link)))),
            name,
            link: Arc::clone(link),
            queue: Arc::clone(queue),
        }))
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.renewal.take());
        let (link, queue) = (Arc::clone(&self.link), Arc::clone(&self.queue));
        let give_up = redis::cmd("UNLINK").arg(&self.name).take();
        // Without a runtime everything ends, and the hold expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The others shall find the record before they find no hold.
                let _written = tokio::time::timeout(WRITTEN_WITHIN, queue.emptied()).await;
                if let Some(mut connection) = link.current() {
                    let given_up: RedisResult<u64> = give_up.query_async(&mut connection).await;
                    if let Err(error) = given_up {
                        tracing::debug!(%error, "a hold was not given up and expires");
                    }
                }
            });
        }
    }
}

async fn renew(name: String, link: Arc<Link>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let Some(mut connection) = link.current() else {
            continue;
        };
        let renewed: RedisResult<u64> = redis::cmd("PEXPIRE")
            .arg(&name)
            .arg(TTL.as_millis() as u64)
            .query_async(&mut connection)
            .await;
        if let Err(error) = renewed {
            tracing::debug!(%error, "a hold was not renewed");
        }
    }
}
