//! Frees what the records of a namespace take in Redis.

use redis::{Cmd, RedisResult};

use super::keys::Keys;
use crate::link::{Connection, Link};

/// Keys looked at in one step: few enough that Redis answers others between.
const STEP_KEYS: usize = 500;

/// Unlinks every record of the namespace, step by step; ends where it fails.
///
/// Only frees memory. That nothing of it is *reused* any more is the business
/// of a ban: records written while this runs may stay or go.
pub(super) async fn sweep(link: &Link, keys: &Keys) -> RedisResult<u64> {
    let mut connection = link.connected().await;
    let outcome = sweep_all(&mut connection, keys).await;
    if let Err(error) = &outcome {
        link.report(&connection, error);
    }
    outcome
}

async fn sweep_all(connection: &mut Connection, keys: &Keys) -> RedisResult<u64> {
    let pattern = keys.pattern();
    let mut unlinked = 0;
    for node in connection.primaries().await? {
        let mut cursor: u64 = 0;
        loop {
            let scan = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(STEP_KEYS)
                .take();
            let reply = connection.send_to(&node, scan).await?;
            let (next, found): (u64, Vec<Vec<u8>>) = redis::from_redis_value(reply)?;
            let groups: Vec<Vec<Cmd>> = found
                .iter()
                .map(|key| vec![redis::cmd("UNLINK").arg(key).take()])
                .collect();
            if !groups.is_empty() {
                for outcome in connection.send_groups(groups).await {
                    outcome?;
                    unlinked += 1;
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(unlinked)
}
