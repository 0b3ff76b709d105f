//! Asks for many targets once: `fill ADDRESS FROM TO PREFIX…`. Target number
//! n is the prefix number n (of as many as are given, in turn) followed by n.
//!
//! Prints how many were answered by 200.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use floor::{Asker, address};

const CONNECTIONS: u64 = 32;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let address = address();
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let (from, to) = (number(0), number(1));
    let prefixes = Arc::new(arguments[2..].to_vec());
    let next = Arc::new(AtomicU64::new(from));
    let good = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (next, good, prefixes) = (Arc::clone(&next), Arc::clone(&good), Arc::clone(&prefixes));
        let asker = Asker::connect(address).await?;
        tasks.push(tokio::spawn(ask(asker, to, next, good, prefixes)));
    }
    for task in tasks {
        task.await.expect("a task that ends")?;
    }
    println!("{}", good.load(Ordering::Relaxed));
    Ok(())
}

async fn ask(
    mut asker: Asker,
    to: u64,
    next: Arc<AtomicU64>,
    good: Arc<AtomicU64>,
    prefixes: Arc<Vec<String>>,
) -> std::io::Result<()> {
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= to {
            return Ok(());
        }
        let prefix = &prefixes[usize::try_from(n).unwrap_or(0) % prefixes.len()];
        if asker.ask(&format!("{prefix}{n}")).await? {
            good.fetch_add(1, Ordering::Relaxed);
        }
    }
}
