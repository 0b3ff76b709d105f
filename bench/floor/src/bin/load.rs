//! Three kinds of load that wrk has not.
//!
//! `load ADDRESS any SECONDS 0 COUNT PREFIX` asks for the targets 0 to COUNT in
//! no order, every one as often, as fast as 64 connections can; `zipf` asks for
//! the n-th of them n^0.9 times less often than for the first, as the users of
//! a site do. `load ADDRESS paced SECONDS RATE 1 TARGET` asks RATE times a
//! second, however long answers take: a request's time counts from when it was
//! due. Prints the requests answered, and the 99th percentile in microseconds.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use floor::{Asker, address};
use tokio::task::LocalSet;

const CONNECTIONS: u64 = 64;
/// Spreads numbers over all targets, in no order.
const LARGE_PRIME: u64 = 2_654_435_761;

struct Plan {
    is_paced: bool,
    /// What part of all is asked for the targets up to each; empty where every
    /// one is asked for as often.
    parts: Vec<f64>,
    until: Instant,
    began: Instant,
    rate: u64,
    count: u64,
    prefix: String,
    next: RefCell<u64>,
    took: RefCell<Vec<u64>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let parts = if arguments[0] == "zipf" {
        parts_by_popularity(number(3))
    } else {
        Vec::new()
    };
    let began = Instant::now();
    let plan = Rc::new(Plan {
        is_paced: arguments[0] == "paced",
        parts,
        began,
        until: began + Duration::from_secs(number(1)),
        rate: number(2),
        count: number(3),
        prefix: arguments[4].clone(),
        next: RefCell::new(0),
        took: RefCell::new(Vec::new()),
    });
    let all = LocalSet::new();
    for _ in 0..CONNECTIONS {
        let asker = Asker::connect(address()).await?;
        all.spawn_local(ask(asker, Rc::clone(&plan)));
    }
    if !plan.is_paced {
        all.spawn_local(stay_awake(plan.until));
    }
    all.await;
    let mut took = plan.took.borrow_mut();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(0);
    println!("{} {p99}", took.len());
    Ok(())
}

fn parts_by_popularity(count: u64) -> Vec<f64> {
    let weights = (1..=count).map(|rank| (rank as f64).powf(-0.9));
    let mut sum = 0.0;
    let mut parts: Vec<f64> = weights
        .map(|weight| {
            sum += weight;
            sum
        })
        .collect();
    parts.iter_mut().for_each(|part| *part /= sum);
    parts
}

/// A client that sleeps has to be woken, and the server is charged for it:
/// the more, the longer the client waits for it. This one never sleeps.
async fn stay_awake(until: Instant) {
    while Instant::now() < until {
        tokio::task::yield_now().await;
    }
}

impl Plan {
    fn target(&self, n: u64) -> String {
        if self.is_paced {
            return self.prefix.clone();
        }
        let which = if self.parts.is_empty() {
            n
        } else {
            // Multiplied by the golden ratio, numbers fill the whole range evenly.
            let chance = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) as f64 / u64::MAX as f64;
            self.parts.partition_point(|part| *part < chance) as u64
        };
        format!("{}{}", self.prefix, which.wrapping_mul(LARGE_PRIME) % self.count)
    }
}

async fn ask(mut asker: Asker, plan: Rc<Plan>) {
    loop {
        let n = plan.next.replace_with(|n| *n + 1);
        let due = if plan.is_paced {
            plan.began + Duration::from_nanos(n * 1_000_000_000 / plan.rate.max(1))
        } else {
            Instant::now()
        };
        if due >= plan.until {
            return;
        }
        // The timer counts milliseconds: the last of them is waited out.
        while plan.is_paced && Instant::now() < due {
            let left = due - Instant::now();
            if left > Duration::from_millis(2) {
                tokio::time::sleep(left - Duration::from_millis(1)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        let target = plan.target(n);
        match asker.ask(&target).await {
            Ok(true) => plan
                .took
                .borrow_mut()
                .push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX)),
            answered => panic!("{target}: {answered:?}"),
        }
    }
}
