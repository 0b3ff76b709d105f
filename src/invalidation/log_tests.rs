//! Appending to the log of a real Redis.

use super::*;
use crate::invalidation::queue::{PAYLOAD_BYTES_MAX, PENDING_MAX};
use crate::link::test_redis::{TestRedis, within};

struct Fixture {
    log: Log,
    counters: Arc<RedisCounters>,
}

fn start(redis: &TestRedis, append_timeout: Duration) -> Fixture {
    start_with(redis, Wait::EveryTime(append_timeout))
}

fn start_with(redis: &TestRedis, wait: Wait) -> Fixture {
    let counters = Arc::<RedisCounters>::default();
    let log = Log::start(
        Endpoint::of(&redis.config()).unwrap(),
        LogName::new("shop", "left", 1_000),
        wait,
        Arc::clone(&counters),
        None,
        None,
        || Bytes::from_static(b"everything"),
    );
    Fixture { log, counters }
}

const PATIENT: Duration = Duration::from_secs(20);

fn position(appended: Appended) -> LogPosition {
    match appended {
        Appended::At(position) => position,
        Appended::Pending => panic!("not appended"),
    }
}

/// The payloads in the log, in order.
fn payloads(redis: &TestRedis) -> Vec<String> {
    let text = redis.cli(&["XRANGE", "{shop}:log", "-", "+"]);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "b")
        .map(|pair| pair[1].to_owned())
        .collect()
}

#[tokio::test]
async fn appends_are_in_the_log_in_order_and_know_where() {
    let redis = TestRedis::started();
    let Fixture { log, .. } = start(&redis, PATIENT);
    let waits: Vec<_> = ["x", "y", "z"]
        .into_iter()
        .enumerate()
        .map(|(nonce, payload)| log.append(nonce as u64, payload.into()))
        .collect();
    let mut positions = Vec::new();
    for wait in waits {
        positions.push(position(within(wait).await));
    }
    assert!(positions.is_sorted());
    assert_ne!(positions[0].incarnation, 0);
    assert_eq!(payloads(&redis), ["x", "y", "z"]);
}

#[tokio::test]
async fn an_append_whose_wait_was_given_up_is_made_all_the_same() {
    let redis = TestRedis::started();
    let Fixture { log, counters } = start(&redis, PATIENT);
    drop(log.append(1, "x".into()));
    within(log.flushed()).await;
    assert_eq!(payloads(&redis), ["x"]);
    assert_eq!(counters.log.appends_pending.get(), 0);
}

#[tokio::test]
async fn without_redis_appends_wait_their_time_and_are_made_in_order_when_it_comes() {
    let mut redis = TestRedis::reserve();
    let Fixture { log, counters } = start(&redis, Duration::from_millis(1));
    assert_eq!(within(log.append(1, "x".into())).await, Appended::Pending);
    assert_eq!(within(log.append(2, "y".into())).await, Appended::Pending);
    assert_eq!(counters.log.appends_pending.get(), 2);
    redis.start();
    within(log.flushed()).await;
    assert_eq!(payloads(&redis), ["x", "y"]);
    assert_eq!(counters.log.appends.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_once_until_an_append_succeeds() {
    let mut redis = TestRedis::reserve();
    let patience = Duration::from_millis(250);
    let Fixture { log, .. } = start_with(&redis, Wait::OnceAnOutage(patience));
    let began = tokio::time::Instant::now();
    assert_eq!(log.append(1, "x".into()).await, Appended::Pending);
    assert!(began.elapsed() >= patience, "the first finds out");
    let began = tokio::time::Instant::now();
    assert_eq!(log.append(2, "y".into()).await, Appended::Pending);
    assert!(began.elapsed() < patience, "the next is told at once");
    tokio::time::resume();
    redis.start();
    within(log.flushed()).await;
    position(within(log.append(3, "z".into())).await);
    assert_eq!(payloads(&redis), ["x", "y", "z"]);
}

#[tokio::test]
async fn a_redis_that_hangs_delays_an_append_but_does_not_lose_it() {
    let redis = TestRedis::on_tcp();
    let Fixture { log, .. } = start(&redis, Duration::from_millis(20));
    drop(log.append(1, "x".into()));
    within(log.flushed()).await;
    redis.stop();
    assert_eq!(within(log.append(2, "y".into())).await, Appended::Pending);
    redis.cont();
    within(log.flushed()).await;
    let mut found = payloads(&redis);
    found.dedup();
    assert_eq!(found, ["x", "y"]);
}

#[tokio::test]
async fn a_redis_that_refuses_is_asked_again_until_it_does_not() {
    let redis = TestRedis::started();
    redis.cli(&["ACL", "SETUSER", "default", "-xadd"]);
    let Fixture { log, counters } = start(&redis, Duration::from_millis(1));
    drop(log.append(1, "x".into()));
    within(async {
        while counters.log.append_retries.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    redis.cli(&["ACL", "SETUSER", "default", "+xadd"]);
    within(log.flushed()).await;
    assert_eq!(payloads(&redis), ["x"]);
}

#[tokio::test]
async fn a_redis_without_free_memory_still_takes_bans() {
    let redis = TestRedis::started();
    let Fixture { log, .. } = start(&redis, PATIENT);
    position(within(log.append(1, "x".into())).await);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    position(within(log.append(2, "y".into())).await);
    assert_eq!(payloads(&redis), ["x", "y"]);
}

#[tokio::test]
async fn too_many_become_one_that_matches_everything_and_all_who_wait_are_told() {
    let mut redis = TestRedis::reserve();
    let Fixture { log, counters } = start(&redis, PATIENT);
    let first = log.append(0, "x".into());
    for nonce in 1..=PENDING_MAX as u64 {
        drop(log.append(nonce, "x".into()));
    }
    let last = log.append(9_999, "after".into());
    assert_eq!(counters.log.appends_pending.get(), 2);
    redis.start();
    let (first, last) = (within(first).await, within(last).await);
    assert!(position(first) < position(last));
    assert_eq!(payloads(&redis), ["everything", "after"]);
    assert_eq!(counters.log.appends_folded.get(), PENDING_MAX as u64 + 1);
}

#[tokio::test]
async fn a_payload_that_is_too_large_matches_everything() {
    let redis = TestRedis::started();
    let Fixture { log, .. } = start(&redis, PATIENT);
    let large = Bytes::from(vec![b'x'; PAYLOAD_BYTES_MAX + 1]);
    position(within(log.append(1, large)).await);
    assert_eq!(payloads(&redis), ["everything"]);
}

#[tokio::test]
async fn a_log_that_was_flushed_begins_anew_under_another_name() {
    let redis = TestRedis::started();
    let Fixture { log, .. } = start(&redis, PATIENT);
    let before = position(within(log.append(1, "x".into())).await);
    redis.cli(&["FLUSHALL"]);
    let after = position(within(log.append(2, "y".into())).await);
    assert_ne!(before.incarnation, after.incarnation);
    redis.cli(&["DEL", "{shop}:log:meta"]);
    let again = position(within(log.append(3, "z".into())).await);
    assert_ne!(after.incarnation, again.incarnation);
}
