//! What a spool keeps, for whom, and what becomes of one that is damaged.

use tempfile::TempDir;

use super::*;
use crate::link::test_redis::within;

struct Fixture {
    folder: TempDir,
    counters: Arc<RedisCounters>,
}

fn fixture() -> Fixture {
    Fixture {
        folder: tempfile::tempdir().unwrap(),
        counters: Arc::default(),
    }
}

impl Fixture {
    fn path(&self) -> PathBuf {
        self.folder.path().join("state").join("bans")
    }

    fn open_as(&self, namespace: &str) -> Opened {
        let everything = Bytes::from_static(b"everything");
        Spool::open(&self.path(), namespace, everything, &self.counters)
    }

    fn open(&self) -> Opened {
        self.open_as("shop")
    }
}

async fn kept(opened: &Opened, payloads: &[&'static str]) {
    let spool = opened.spool.as_ref().unwrap();
    for payload in payloads {
        spool.keep(Bytes::from_static(payload.as_bytes()));
    }
    assert!(within(spool.synced()).await);
}

fn words(payloads: &[Bytes]) -> Vec<&str> {
    payloads
        .iter()
        .map(|payload| std::str::from_utf8(payload).unwrap())
        .collect()
}

/// The lock goes with the thread, which ends after its owner.
async fn reopened(fixture: &Fixture) -> Opened {
    within(async {
        loop {
            let opened = fixture.open();
            if opened.spool.as_ref().is_some_and(|spool| spool.own == 0) {
                return opened;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn what_was_kept_is_found_by_the_next_until_it_is_cleared() {
    let fixture = fixture();
    let first = fixture.open();
    assert!(first.payloads.is_empty());
    kept(&first, &["a", "b c"]).await;
    drop(first);
    let second = reopened(&fixture).await;
    assert_eq!(words(&second.payloads), ["a", "b c"]);
    kept(&second, &["d"]).await;
    drop(second);
    let third = reopened(&fixture).await;
    assert_eq!(words(&third.payloads), ["a", "b c", "d"]);
    let spool = third.spool.as_ref().unwrap();
    spool.clear();
    assert!(within(spool.synced()).await);
    kept(&third, &["e"]).await;
    drop(third);
    assert_eq!(words(&reopened(&fixture).await.payloads), ["e"]);
}

#[tokio::test]
async fn two_at_once_have_a_file_each_and_the_one_takes_over_what_the_other_left() {
    let fixture = fixture();
    let left = fixture.open();
    let right = fixture.open();
    kept(&right, &["r"]).await;
    let spool = left.spool.as_ref().unwrap();
    assert!(spool.orphans().is_empty(), "it is held");
    drop(right);
    let orphan = within(async {
        loop {
            if let Some(orphan) = spool.orphans().pop() {
                return orphan;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(words(&orphan.payloads), ["r"]);
    kept(&left, &["r"]).await;
    spool.release(orphan);
    assert!(within(spool.synced()).await);
    assert!(spool.orphans().is_empty(), "it was taken over");
}

#[tokio::test]
async fn the_files_of_another_namespace_are_left_alone() {
    let fixture = fixture();
    let theirs = fixture.open_as("blog");
    kept(&theirs, &["theirs"]).await;
    drop(theirs);
    let ours = fixture.open();
    assert!(ours.payloads.is_empty() && ours.orphans.is_empty());
    drop(ours);
    let text = std::fs::read_to_string(fixture.path()).unwrap();
    assert!(text.contains("theirs"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_read_counts_for_everything() {
    for damage in [
        "garbage",
        "pannier-bans 2 shop\n",
        "pannier-bans 1 shop\nabc",
        "\0",
    ] {
        let fixture = fixture();
        drop(fixture.open());
        std::fs::write(fixture.path(), damage).unwrap();
        let opened = reopened(&fixture).await;
        // A file of another version may be of this namespace as well.
        assert_eq!(words(&opened.payloads), ["everything"], "{damage:?}");
        kept(&opened, &["a"]).await;
        drop(opened);
        let again = reopened(&fixture).await;
        assert!(words(&again.payloads).contains(&"a"), "{damage:?}");
    }
}

#[tokio::test]
async fn a_line_that_was_torn_counts_for_everything_and_the_others_for_themselves() {
    let fixture = fixture();
    let first = fixture.open();
    kept(&first, &["a", "b"]).await;
    drop(first);
    let text = std::fs::read(fixture.path()).unwrap();
    std::fs::write(fixture.path(), &text[..text.len() - 2]).unwrap();
    let opened = reopened(&fixture).await;
    assert_eq!(words(&opened.payloads), ["a", "everything"]);
}

#[tokio::test]
async fn at_its_bound_one_ban_on_everything_stands_for_the_rest() {
    let fixture = fixture();
    let first = fixture.open();
    let large: &'static str = String::leak("x".repeat(10_000));
    kept(&first, &[large; 200]).await;
    let bytes = std::fs::metadata(fixture.path()).unwrap().len();
    assert!(bytes <= BYTES_MAX + 100, "{bytes}");
    drop(first);
    let opened = reopened(&fixture).await;
    assert_eq!(words(&opened.payloads).last(), Some(&"everything"));
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_said_to_fail() {
    let fixture = fixture();
    std::fs::create_dir_all(fixture.path()).unwrap();
    let opened = fixture.open();
    assert!(opened.spool.is_none());
    assert_eq!(words(&opened.payloads), ["everything"]);
    assert_eq!(fixture.counters.log.spool_failing.get(), 1);
}
