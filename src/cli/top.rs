//! `pannier top`: what is asked for, missed and slow, as it goes.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::{AdminArgs, AdminError, AdminTarget};
use super::columns::{Columns, FiguresFrom};
use super::stats::{CLEAR, Sort};
use crate::config::units::parse_duration;

/// What `pannier top` takes.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Endpoints shown
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub top: usize,
    /// By what they are sorted
    #[arg(long, value_enum, default_value_t = Sort::Count, value_name = "KEY")]
    pub sort: Sort,
    /// Between two looks
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = interval)]
    pub interval: Duration,
    /// Ends after so many looks
    #[arg(long, short = 'n', value_name = "LOOKS")]
    pub looks: Option<u64>,
    /// Prints one JSON document for each look
    #[arg(long)]
    pub json: bool,
    /// Where to ask
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// A duration of 100 ms to an hour.
pub(super) fn interval(written: &str) -> Result<Duration, String> {
    let interval = parse_duration(written).map_err(|error| error.to_string())?;
    let is_sensible = (Duration::from_millis(100)..=Duration::from_secs(3_600)).contains(&interval);
    is_sensible
        .then_some(interval)
        .ok_or_else(|| "expected 100ms to 1h".to_owned())
}

/// Looks every so often and shows what happened since the look before.
///
/// # Errors
/// Where the admin listener does not answer or refuses.
pub async fn top(
    args: &TopArgs,
    target: &AdminTarget,
    is_terminal: bool,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    let mut left = args.looks.unwrap_or(u64::MAX);
    let mut before = target.ask(Method::GET, "/performance").await?;
    let mut looked = Instant::now();
    while left > 0 {
        sleep(args.interval).await;
        let now = target.ask(Method::GET, "/performance").await?;
        let seconds = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        let rows = rates(&before, &now, seconds);
        let rows = args.sort.first(rows, args.top);
        if args.json {
            writeln!(
                out,
                "{}",
                json!({ "seconds": rounded(seconds), "endpoints": rows })
            )?;
        } else {
            let clear = if is_terminal { CLEAR } else { "" };
            writeln!(out, "{clear}{}", table(&rows))?;
        }
        out.flush()?;
        before = now;
        left -= 1;
    }
    Ok(())
}

/// What each endpoint did between two looks.
fn rates(before: &Value, now: &Value, seconds: f64) -> Vec<Value> {
    let key = |endpoint: &Value| {
        let word = |key: &str| endpoint[key].as_str().unwrap_or_default().to_owned();
        (word("method"), word("endpoint"))
    };
    let list = |document: &Value| document.as_array().cloned().unwrap_or_default();
    let before: HashMap<_, _> = list(before)
        .into_iter()
        .map(|one| (key(&one), one))
        .collect();
    let rows = list(now).into_iter().filter_map(|endpoint| {
        let earlier = before.get(&key(&endpoint));
        let since = |pointer: &str| {
            let figure = |of: &Value| of.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
            // After a reset they begin at zero.
            let (now, then) = (figure(&endpoint), earlier.map_or(0, figure));
            if now < then { now } else { now - then }
        };
        let per_second = |count: u64| rounded(count as f64 / seconds.max(0.001));
        let count = since("/count");
        let hits = since("/cache/hits") + since("/cache/stale") + since("/cache/revalidated");
        let misses = since("/cache/misses");
        (count > 0).then(|| {
            json!({
                "method": endpoint["method"],
                "endpoint": endpoint["endpoint"],
                "count": per_second(count),
                "errors": per_second(since("/errors")),
                "misses": per_second(misses),
                "cache": { "hit_rate_percent": rate(hits, hits + misses) },
                "avg_ms": endpoint["avg_ms"],
                "p95_ms": endpoint["p95_ms"],
                "p99_ms": endpoint["p99_ms"],
                "upstream": { "count": per_second(since("/upstream/count")) },
            })
        })
    });
    rows.collect()
}

#[expect(clippy::cast_precision_loss, reason = "a percentage, shown to people")]
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 * 100.0 / whole as f64))
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

fn table(rows: &[Value]) -> String {
    let mut table = Columns::new(&[
        "METHOD", "ENDPOINT", "REQ/S", "MISS/S", "ORIGIN/S", "5XX/S", "HIT RATE", "AVG MS",
        "P95 MS", "P99 MS",
    ]);
    for row in rows {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let figure = |value: &Value| value.as_f64().map_or("-".to_owned(), |f| format!("{f:.2}"));
        table.row(vec![
            word("method"),
            word("endpoint"),
            figure(&row["count"]),
            figure(&row["misses"]),
            figure(&row["upstream"]["count"]),
            figure(&row["errors"]),
            figure(&row["cache"]["hit_rate_percent"]),
            figure(&row["avg_ms"]),
            figure(&row["p95_ms"]),
            figure(&row["p99_ms"]),
        ]);
    }
    if table.is_empty() {
        return "no request was answered since the last look".to_owned();
    }
    table.text(FiguresFrom(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_between_two_looks_is_shown_by_the_second() {
        let look = |count: u64, hits: u64, misses: u64| {
            json!([{
                "method": "GET", "endpoint": "/a", "count": count, "errors": 0,
                "cache": { "hits": hits, "stale": 0, "revalidated": 0, "misses": misses },
                "avg_ms": 1.0, "p95_ms": 2.0, "p99_ms": 3.0, "upstream": { "count": misses },
            }])
        };
        let rows = rates(&look(10, 5, 5), &look(30, 20, 10), 2.0);
        assert_eq!(rows[0]["count"], 10.0);
        assert_eq!(rows[0]["misses"], 2.5);
        assert_eq!(rows[0]["cache"]["hit_rate_percent"], 75.0);
        assert!(table(&rows).contains("/a"));
        let reset = rates(&look(30, 20, 10), &look(4, 4, 0), 2.0);
        assert_eq!(reset[0]["count"], 2.0);
        assert!(rates(&look(4, 4, 0), &look(4, 4, 0), 2.0).is_empty());
        assert!(table(&[]).contains("no request"));
    }
}
