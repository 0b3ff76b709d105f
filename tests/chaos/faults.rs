//! What can happen to Redis and to those who use it.

use std::sync::Arc;
use std::time::Duration;

use crate::history::History;
use crate::load::{Chance, Stop};
use crate::stage::{Instance, Servers};
use crate::support::redis::Redis;

/// Lets time pass: what a fault is made of.
pub(crate) async fn pass(millis: usize) {
    let time = Duration::from_millis(millis as u64);
    // Elapses, and that is all it is for.
    let _elapsed = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Kinds of faults.
const KINDS: usize = 14;
/// After so many faults nothing happens for [`LULL_MILLIS`]: what stays stale
/// for long shows.
const LULL_AFTER: usize = 5;
const LULL_MILLIS: usize = 3_000;

/// One fault after the other until then. Each kind comes before any comes again;
/// the first run begins with `first`.
pub(crate) async fn until(
    stop: Stop,
    servers: &mut Servers,
    instances: &[Arc<Instance>],
    history: &History,
    first: usize,
) {
    let mut chance = Chance(first as u64);
    for number in first.. {
        let is_lull = number % LULL_AFTER == LULL_AFTER - 1;
        let quiet = 100 + chance.below(900);
        pass(if is_lull { LULL_MILLIS } else { quiet }).await;
        if stop.is_over(history) {
            return;
        }
        let instance = &instances[chance.below(instances.len())];
        one(number % KINDS, servers, instance, history, &mut chance).await;
        history.fault_ends();
    }
}

async fn one(
    kind: usize,
    servers: &mut Servers,
    instance: &Instance,
    history: &History,
    chance: &mut Chance,
) {
    let begins = |name| history.fault_begins(name, None);
    let cut_off = |name| history.fault_begins(name, Some(instance.who));
    match kind {
        0 => {
            begins("following connections cut");
            cut_followers(servers.redis()).await;
        }
        1 => {
            begins("Redis killed and started empty");
            servers.kill().await;
            pass(chance.below(1_500)).await;
            servers.restart().await;
        }
        2 => {
            begins("Redis flushed");
            servers.redis().flush().await;
        }
        3 => {
            begins("Redis stopped");
            servers.redis().stop().await;
            pass(100 + chance.below(2_500)).await;
            servers.redis().resume().await;
        }
        4 => {
            begins("instance stopped");
            instance.proxy().stop().await;
            pass(100 + chance.below(1_500)).await;
            instance.proxy().resume().await;
        }
        5 => {
            begins("log trimmed");
            let trim = ["XTRIM", "{test}:log", "MAXLEN", "0"];
            servers.redis().command::<u64>(&trim).await;
        }
        6 => {
            let other = servers.another(chance.below(2));
            begins("another Redis and back");
            let first = servers.swap(other).await;
            pass(200 + chance.below(2_500)).await;
            servers.swap(first).await;
        }
        7 => {
            begins("SWAPDB and back");
            servers.redis().command::<()>(&["SWAPDB", "0", "1"]).await;
            pass(200 + chance.below(2_500)).await;
            servers.redis().command::<()>(&["SWAPDB", "0", "1"]).await;
        }
        8 => {
            let copy = servers.another(chance.below(2));
            servers.copy_to(copy).await;
            pass(chance.below(500)).await;
            begins("failover, both alive");
            servers.promote(copy).await;
        }
        9 => {
            cut_off("instance ended (SIGTERM) while cut off");
            servers.relays[instance.who].refuse();
            pass(200 + chance.below(1_000)).await;
            instance.proxy().term().await;
            pass(chance.below(800)).await;
            servers.relays[instance.who].admit();
            instance.start_again().await;
        }
        10 => {
            cut_off("instance killed (SIGKILL) while cut off");
            servers.relays[instance.who].refuse();
            pass(200 + chance.below(1_000)).await;
            instance.proxy().kill().await;
            servers.relays[instance.who].admit();
            instance.start_again().await;
        }
        11 => {
            cut_off("instance cut off");
            servers.relays[instance.who].refuse();
            pass(200 + chance.below(2_500)).await;
            servers.relays[instance.who].admit();
        }
        12 => {
            begins("instance killed and started");
            instance.proxy().kill().await;
            instance.start_again().await;
        }
        _ => {
            let other = servers.another(chance.below(2));
            begins("another Redis for good");
            servers.swap(other).await;
        }
    }
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
