//! Two kinds of load that wrk has not.
//!
//! `load ADDRESS any SECONDS 0 COUNT PREFIX` asks for the targets 0 to COUNT in
//! no order, as fast as 64 connections can. `load ADDRESS paced SECONDS RATE 1
//! TARGET` asks RATE times a second, however long answers take: a request's
//! time counts from when it was due. Prints the requests answered, and the 99th
//! percentile in microseconds.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use floor::{Asker, address};
use tokio::task::LocalSet;

const CONNECTIONS: u64 = 64;

struct Plan {
    is_paced: bool,
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
    let began = Instant::now();
    let plan = Rc::new(Plan {
        is_paced: arguments[0] == "paced",
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
    all.await;
    let mut took = plan.took.borrow_mut();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(0);
    println!("{} {p99}", took.len());
    Ok(())
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
        let target = if plan.is_paced {
            plan.prefix.clone()
        } else {
            // A multiplication by a large prime visits all in no order.
            format!(
                "{}{}",
                plan.prefix,
                n.wrapping_mul(2_654_435_761) % plan.count
            )
        };
        match asker.ask(&target).await {
            Ok(true) => plan
                .took
                .borrow_mut()
                .push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX)),
            answered => panic!("{target}: {answered:?}"),
        }
    }
}
