//! What can happen to Redis and to those who use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::load::Chance;
use crate::support::proxy::Proxy;
use crate::support::redis::Redis;

/// Lets time pass: what a fault is made of.
async fn pass(millis: usize) {
    let time = Duration::from_millis(millis as u64);
    // Elapses, and that is all it is for.
    let _elapsed = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// One fault after the other until then; answers how many.
pub(crate) async fn until(until: Instant, redis: &mut Redis, proxies: &[Arc<Proxy>]) -> usize {
    let mut chance = Chance(42);
    let mut faults = 0;
    while Instant::now() < until {
        pass(100 + chance.below(900)).await;
        // Each kind comes before any comes again.
        match faults % 6 {
            0 => cut_followers(redis).await,
            1 => {
                redis.kill().await;
                pass(chance.below(1_500)).await;
                redis.restart().await;
            }
            2 => redis.flush().await,
            3 => {
                redis.stop().await;
                pass(100 + chance.below(2_500)).await;
                redis.resume().await;
            }
            4 => {
                let proxy = &proxies[chance.below(proxies.len())];
                proxy.stop().await;
                pass(100 + chance.below(1_500)).await;
                proxy.resume().await;
            }
            _ => {
                redis
                    .command::<u64>(&["XTRIM", "{test}:log", "MAXLEN", "0"])
                    .await;
            }
        }
        faults += 1;
    }
    faults
}

/// Cuts the connections that follow the log, and no others.
async fn cut_followers(redis: &Redis) {
    let clients: String = redis.command(&["CLIENT", "LIST"]).await;
    for client in clients
        .lines()
        .filter(|client| client.contains("cmd=xread"))
    {
        let id = client
            .split(' ')
            .find_map(|word| word.strip_prefix("id="))
            .expect("every client has an id");
        // It may have gone by itself.
        redis.command::<u64>(&["CLIENT", "KILL", "ID", id]).await;
    }
}
