//! What was asked for most, kept in Redis for the next start.
//!
//! `ns:popular`, one string: paths without queries, most asked for first,
//! one a line. Whoever keeps them last is remembered. It is a hint: what
//! cannot be read is as good as nothing.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, RedisResult};

use crate::link::Link;

/// One exchange with Redis, and before it the time until there is a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What nobody renews is forgotten.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The paths that were asked for most, in Redis.
#[derive(Clone)]
pub struct Popular {
    link: Arc<Link>,
    key: Arc<str>,
}

/// Redis did not take them, or does not give them.
#[derive(Debug, thiserror::Error)]
pub enum PopularError {
    /// Not in time.
    #[error("Redis does not answer")]
    TimedOut(#[from] tokio::time::error::Elapsed),
    /// It says why.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
}

impl Popular {
    pub(super) fn of(namespace: &str, link: Arc<Link>) -> Self {
        Self {
            link,
            key: format!("{namespace}:popular").into(),
        }
    }

    /// Keeps them in the place of those kept before.
    ///
    /// # Errors
    /// [`PopularError`]: those kept before may be there or not.
    pub async fn keep<'a>(&self, paths: impl Iterator<Item = &'a str>) -> Result<(), PopularError> {
        let paths: Vec<&str> = paths.collect();
        let command = redis::cmd("SET")
            .arg(&*self.key)
            .arg(paths.join("\n"))
            .arg("EX")
            .arg(EXPIRY.as_secs())
            .take();
        self.ask(&command).await
    }

    /// Those kept last, most asked for first.
    ///
    /// # Errors
    /// [`PopularError`]
    pub async fn kept(&self) -> Result<Vec<String>, PopularError> {
        let command = redis::cmd("GET").arg(&*self.key).take();
        let text: Option<String> = self.ask(&command).await?;
        let text = text.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, PopularError> {
        let asked = async {
            let mut connection = self.link.connected().await;
            let answer: RedisResult<T> = command.query_async(&mut connection).await;
            answer.inspect_err(|error| self.link.report(&connection, error))
        };
        Ok(tokio::time::timeout(TIMEOUT, asked).await??)
    }
}
