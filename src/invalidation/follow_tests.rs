//! Following the log of a real Redis.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::*;
use crate::config::RedisConfig;
use crate::invalidation::log::{Appended, Log, Wait};
use crate::link::test_redis::{TestCluster, TestRedis, within};

const ENTRIES_MAX: usize = 1_000;

struct Reader {
    events: mpsc::UnboundedReceiver<Event>,
    counters: Arc<RedisCounters>,
    _task: Task,
}

fn name(entries_max: usize) -> LogName {
    LogName::new("shop", "right", entries_max)
}

fn read(redis: &TestRedis) -> Reader {
    read_by(&redis.config())
}

fn read_by(config: &RedisConfig) -> Reader {
    read_leased(config, Duration::ZERO)
}

fn read_leased(config: &RedisConfig, lease: Duration) -> Reader {
    let (sink, events) = mpsc::unbounded_channel();
    let counters = Arc::<RedisCounters>::default();
    let task = follow(
        Endpoint::of(config).unwrap(),
        name(ENTRIES_MAX),
        lease,
        Arc::clone(&counters),
        Arc::default(),
        Bytes::from_static(b"everything"),
        move |event| {
            drop(sink.send(event));
            None
        },
    );
    Reader {
        events,
        counters,
        _task: task,
    }
}

fn writer(redis: &TestRedis, entries_max: usize) -> Log {
    writer_by(&redis.config(), entries_max)
}

fn writer_by(config: &RedisConfig, entries_max: usize) -> Log {
    Log::start(
        Endpoint::of(config).unwrap(),
        name(entries_max),
        Wait::EveryTime(Duration::from_secs(20)),
        Arc::default(),
        None,
        None,
        Bytes::new,
    )
}

async fn append(log: &Log, payload: &'static str) -> LogPosition {
    match within(log.append(7, payload.into())).await {
        Appended::At(position) => position,
        Appended::Pending => panic!("not appended"),
    }
}

fn payloads(entries: &[LogEntry]) -> Vec<String> {
    let text = |entry: &LogEntry| String::from_utf8(entry.payload.to_vec()).unwrap();
    entries.iter().map(text).collect()
}

impl Reader {
    /// The next event that is more than "still in sync".
    async fn next(&mut self) -> Event {
        loop {
            match within(self.events.recv()).await.unwrap() {
                Event::InSync { .. } => {}
                other => return other,
            }
        }
    }

    async fn gap(&mut self) -> (LogPosition, LogPosition, Vec<String>) {
        match self.next().await {
            Event::Gap {
                horizon,
                position,
                entries,
                ..
            } => (horizon, position, payloads(&entries)),
            other => panic!("{other:?}"),
        }
    }

    async fn applied(&mut self) -> (LogPosition, Vec<String>) {
        match self.next().await {
            Event::Applied { position, entries } => (position, payloads(&entries)),
            other => panic!("{other:?}"),
        }
    }

    async fn in_sync(&mut self) -> Instant {
        loop {
            if let Event::InSync { at, .. } = within(self.events.recv()).await.unwrap() {
                return at;
            }
        }
    }
}

#[tokio::test]
async fn the_whole_log_is_told_first_and_then_what_comes_in_order() {
    let redis = TestRedis::started();
    let log = writer(&redis, ENTRIES_MAX);
    append(&log, "a").await;
    let at = append(&log, "b").await;
    let mut reader = read(&redis);
    let (horizon, position, told) = reader.gap().await;
    assert_eq!(told, ["a", "b"]);
    assert_eq!(position, at);
    assert_eq!((horizon.incarnation, horizon.millis), (at.incarnation, 0));
    for payload in ["c", "d", "e"] {
        let at = append(&log, payload).await;
        assert_eq!(reader.applied().await, (at, vec![payload.to_owned()]));
    }
    assert_eq!(reader.counters.log.entries_read.get(), 5);
}

#[tokio::test]
async fn a_log_that_does_not_last_is_not_read_without_a_pause() {
    let redis = TestRedis::started();
    let mut reader = read(&redis);
    let began = Instant::now();
    reader.gap().await;
    for _ in 0..4 {
        redis.cli(&["FLUSHALL"]);
        reader.gap().await;
    }
    assert!(began.elapsed() >= REPLAY_PAUSE_MIN * 4);
}

#[tokio::test]
async fn being_in_sync_is_told_again_and_again() {
    let redis = TestRedis::started();
    let mut reader = read(&redis);
    reader.gap().await;
    let first = reader.in_sync().await;
    assert!(reader.in_sync().await >= first);
    assert_eq!(reader.counters.log.in_touch.get(), 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_resumes_where_it_was() {
    let redis = TestRedis::started();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    append(&log, "a").await;
    assert_eq!(reader.applied().await.1, ["a"]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    append(&log, "b").await;
    assert_eq!(reader.next().await, Event::OutOfTouch);
    let mut told = Vec::new();
    while told.last().map(String::as_str) != Some("b") {
        told.extend(reader.applied().await.1);
    }
    assert_eq!(reader.counters.log.gaps.get(), 1);
}

#[tokio::test]
async fn a_redis_that_is_missing_at_start_is_out_of_touch_until_it_comes() {
    let mut redis = TestRedis::reserve();
    let mut reader = read(&redis);
    assert_eq!(reader.next().await, Event::OutOfTouch);
    redis.start();
    assert!(reader.gap().await.2.is_empty());
    reader.in_sync().await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_out_of_touch_and_nothing_is_missed_after() {
    let redis = TestRedis::on_tcp();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    reader.in_sync().await;
    redis.stop();
    let stopped = Instant::now();
    assert_eq!(reader.next().await, Event::OutOfTouch);
    assert!(stopped.elapsed() < Duration::from_secs(4));
    redis.cont();
    append(&log, "a").await;
    assert_eq!(reader.applied().await.1, ["a"]);
    assert_eq!(reader.counters.log.gaps.get(), 1);
}

#[tokio::test]
async fn without_word_for_a_lease_nothing_from_before_is_relied_on() {
    let redis = TestRedis::on_tcp();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read_leased(&redis.config(), Duration::from_millis(200));
    reader.gap().await;
    let before = append(&log, "a").await;
    reader.applied().await;
    redis.stop();
    assert_eq!(reader.next().await, Event::OutOfTouch);
    redis.cont();
    let (horizon, position, told) = reader.gap().await;
    assert_eq!(
        (horizon, horizon.incarnation),
        (position, before.incarnation)
    );
    assert!(horizon > before && told.is_empty());
}

#[tokio::test]
async fn a_log_that_was_rolled_back_is_begun_anew() {
    let redis = TestRedis::on_tcp();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    let kept = append(&log, "kept").await;
    reader.applied().await;
    let lost = append(&log, "lost").await;
    reader.applied().await;
    // As if it had been restored from before the last entry, and gone on.
    let script = "redis.call('XDEL', KEYS[1], ARGV[2]) \
        local id = redis.call('XADD', KEYS[1], '*', \
          'i', redis.call('HGET', KEYS[2], 'incarnation'), \
          'p', ARGV[1], 'o', 'left', 'n', 1, 'b', 'other') \
        redis.call('HSET', KEYS[2], 'last', id)";
    let before = kept.incarnation;
    let (kept, lost) = (id(&kept), id(&lost));
    let keys = ["{shop}:log", "{shop}:log:meta", &kept, &lost];
    redis.cli(&[&["EVAL", script, "2"], &keys[..]].concat());
    let (_, position, told) = reader.gap().await;
    assert_ne!(position.incarnation, before);
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(reader.counters.log.gaps.get(), 2);
}

#[tokio::test]
async fn a_flushed_log_is_a_gap_even_when_nothing_is_appended() {
    let redis = TestRedis::started();
    let mut reader = read(&redis);
    let (_, before, _) = reader.gap().await;
    redis.cli(&["FLUSHALL"]);
    let (horizon, after, told) = reader.gap().await;
    assert_ne!(before.incarnation, after.incarnation);
    assert_eq!(horizon.incarnation, after.incarnation);
    assert!(told.is_empty());
}

#[tokio::test]
async fn a_restarted_redis_is_a_gap_whatever_it_had_saved() {
    let mut redis = TestRedis::started();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    let before = append(&log, "a").await;
    reader.applied().await;
    redis.cli(&["SAVE"]);
    redis.kill();
    redis.start();
    assert_eq!(reader.next().await, Event::OutOfTouch);
    let (_, after, _) = reader.gap().await;
    assert_ne!(before.incarnation, after.incarnation);
}

#[tokio::test]
async fn entries_trimmed_before_they_were_read_are_a_gap_with_a_later_horizon() {
    let redis = TestRedis::on_tcp();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    let read_before = append(&log, "a").await;
    reader.applied().await;

    // In one transaction, so that the reader sees none of the trimmed ones.
    let script = "for n = 1, 5 do \
        local last = redis.call('HGET', KEYS[2], 'last'); \
        local id = redis.call('XADD', KEYS[1], '*', \
          'i', redis.call('HGET', KEYS[2], 'incarnation'), \
          'p', last, 'o', 'left', 'n', n, 'b', 'lost'); \
        redis.call('HSET', KEYS[2], 'last', id) end \
        redis.call('XTRIM', KEYS[1], 'MAXLEN', 2)";
    redis.cli(&["EVAL", script, "2", "{shop}:log", "{shop}:log:meta"]);
    let (horizon, position, told) = reader.gap().await;
    assert_eq!(told, ["lost", "lost"]);
    assert!(read_before < horizon && horizon < position);
    assert_eq!(read_before.incarnation, position.incarnation);
}

#[tokio::test]
async fn a_deleted_end_is_a_gap_and_what_comes_after_is_read() {
    let redis = TestRedis::started();
    let log = writer(&redis, ENTRIES_MAX);
    let at = append(&log, "a").await;
    redis.cli(&["XDEL", "{shop}:log", &id(&at)]);
    let mut reader = read(&redis);
    let (horizon, position, told) = reader.gap().await;
    assert_eq!((horizon, position), (at, at));
    assert!(told.is_empty());
    append(&log, "b").await;
    assert_eq!(reader.applied().await.1, ["b"]);
}

#[tokio::test]
async fn what_others_put_into_the_stream_is_passed_over() {
    let redis = TestRedis::started();
    let log = writer(&redis, ENTRIES_MAX);
    let mut reader = read(&redis);
    reader.gap().await;
    redis.cli(&["XADD", "{shop}:log", "*", "hello", "world"]);
    append(&log, "a").await;
    assert_eq!(reader.applied().await.1, ["a"]);
    assert_eq!(reader.counters.log.entries_foreign.get(), 1);
    assert_eq!(reader.counters.log.gaps.get(), 1);
}

#[tokio::test]
async fn the_log_is_kept_to_about_its_bound_and_read_in_pages() {
    let redis = TestRedis::started();
    let log = writer(&redis, 1_500);
    for nonce in 0..4_000 {
        let wait = log.append(nonce, "a".into());
        if nonce % 500 == 0 {
            within(wait).await;
        }
    }
    within(log.flushed()).await;
    let length: usize = redis.cli(&["XLEN", "{shop}:log"]).parse().unwrap();
    assert!((1_500..1_800).contains(&length), "{length}");
    let mut reader = read(&redis);
    let (horizon, position, told) = reader.gap().await;
    assert_eq!(told.len(), ENTRIES_MAX);
    assert!(horizon.millis > 0 && horizon < position);
}

#[tokio::test]
async fn in_a_cluster_the_log_is_on_one_node_and_read_alike() {
    let cluster = TestCluster::started().await;
    let log = writer_by(&cluster.config(), ENTRIES_MAX);
    let mut reader = read_by(&cluster.config());
    reader.gap().await;
    let at = append(&log, "a").await;
    assert_eq!(reader.applied().await, (at, vec!["a".to_owned()]));
    reader.in_sync().await;
    let keys: usize = cluster
        .nodes
        .iter()
        .map(|node| node.cli(&["DBSIZE"]).parse::<usize>().unwrap())
        .sum();
    assert_eq!(keys, 3);
}

#[tokio::test]
async fn a_user_with_the_rights_named_is_enough() {
    let redis = TestRedis::started();
    let rights = "+eval +info +hmget +hget +hgetall +hset +hdel +exists +del +xadd +xtrim \
                  +xrange +xread";
    let user = ["ACL", "SETUSER", "app", "on", ">s3cret", "~{shop}:*"];
    let rights: Vec<&str> = rights.split(' ').collect();
    redis.cli(&[&user[..], &rights].concat());
    let config = redis.config_as("app", "s3cret");
    let log = writer_by(&config, ENTRIES_MAX);
    append(&log, "a").await;
    let mut reader = read_by(&config);
    assert_eq!(reader.gap().await.2, ["a"]);
    append(&log, "b").await;
    assert_eq!(reader.applied().await.1, ["b"]);
}
