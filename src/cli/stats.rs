//! `pannier stats`: the figures of a running Pannier, as tables.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{AdminArgs, AdminError, AdminTarget};
use super::columns::{Columns, FiguresFrom};

/// What `pannier stats` takes.
#[derive(Args, Clone, Debug)]
pub struct StatsArgs {
    /// Prints the whole document as JSON
    #[arg(long)]
    pub json: bool,
    /// Shows so many endpoints
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Shows this route alone
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<String>,
    /// By what endpoints are sorted
    #[arg(long, value_enum, default_value_t = Sort::Name, value_name = "KEY")]
    pub sort: Sort,
    /// Shows it again and again, every 2 s or so often
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "2s", value_parser = super::top::interval)]
    pub watch: Option<Duration>,
    /// Where to ask
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Asks for `/stats` and prints it.
///
/// # Errors
/// Where the admin listener does not answer or refuses.
pub async fn stats(
    args: &StatsArgs,
    target: &AdminTarget,
    is_terminal: bool,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    loop {
        let document = args.narrowed(target.ask(Method::GET, "/stats").await?)?;
        match (args.json, args.watch) {
            (true, None) => writeln!(out, "{document:#}")?,
            // One a line, for those who read them as they come.
            (true, Some(_)) => writeln!(out, "{document}")?,
            (false, Some(_)) if is_terminal => write!(out, "{CLEAR}{}", tables(&document))?,
            (false, _) => write!(out, "{}", tables(&document))?,
        }
        out.flush()?;
        match args.watch {
            Some(interval) => tokio::time::sleep(interval).await,
            None => return Ok(()),
        }
    }
}

/// Clears a terminal and goes to its first line.
pub(super) const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

impl StatsArgs {
    /// What of the document is asked for, in the order asked for.
    fn narrowed(&self, mut document: Value) -> Result<Value, AdminError> {
        let endpoints = document["performance"]["endpoints"].take();
        let mut endpoints = match endpoints {
            Value::Array(endpoints) => endpoints,
            _ => Vec::new(),
        };
        if let Some(route) = &self.route {
            let caches = document["cache"]["caches"].take();
            let Some(cache) = caches.get(route) else {
                return Err(AdminError::NoRoute(route.clone()));
            };
            let template = cache["path"].as_str().unwrap_or(route).to_owned();
            document["cache"]["caches"] = serde_json::json!({ route: cache });
            endpoints.retain(|endpoint| endpoint["endpoint"] == template.as_str());
        }
        let most = self.top.unwrap_or(usize::MAX);
        document["performance"]["endpoints"] = self.sort.first(endpoints, most).into();
        Ok(document)
    }
}

/// By what endpoints are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// By path and method
    Name,
    /// The most requests first
    Count,
    /// The most 5xx first
    Errors,
    /// The most misses first
    Misses,
    /// The lowest hit rate first
    HitRate,
    /// The slowest average first
    Avg,
    /// The slowest 95th percentile first
    P95,
    /// The slowest 99th percentile first
    P99,
}

impl Sort {
    /// The first `most` of these, sorted; by name they are already.
    pub(super) fn first(self, mut endpoints: Vec<Value>, most: usize) -> Vec<Value> {
        endpoints.sort_by(|one, other| self.weight(other).total_cmp(&self.weight(one)));
        endpoints.truncate(most);
        endpoints
    }

    /// What is more of comes first.
    fn weight(self, endpoint: &Value) -> f64 {
        let figure = |pointer: &str| endpoint.pointer(pointer).and_then(Value::as_f64);
        let found = match self {
            Self::Name => None,
            Self::Count => figure("/count"),
            Self::Errors => figure("/errors"),
            Self::Misses => figure("/cache/misses").or_else(|| figure("/misses")),
            Self::HitRate => figure("/cache/hit_rate_percent").map(|rate| 100.0 - rate),
            Self::Avg => figure("/avg_ms"),
            Self::P95 => figure("/p95_ms"),
            Self::P99 => figure("/p99_ms"),
        };
        found.unwrap_or(-1.0)
    }
}

fn tables(document: &Value) -> String {
    let cache = &document["cache"];
    let performance = &document["performance"];
    let mut text = system(&performance["system"], &cache["summary"]);
    text.push('\n');
    text.push_str(&caches(&cache["caches"]));
    text.push('\n');
    text.push_str(&redis(&cache["redis"]));
    text.push('\n');
    text.push_str(&endpoints(&performance["endpoints"]));
    text
}

fn system(system: &Value, summary: &Value) -> String {
    let lines = [
        ("up", seconds(&system["uptime_seconds"])),
        (
            "requests",
            format!(
                "{}, {} a second, {} in flight",
                figure(&system["total_requests"]),
                figure(&system["requests_per_second"]),
                figure(&system["in_flight"])
            ),
        ),
        ("success", percent(&system["success_rate_percent"])),
        ("hit rate", percent(&summary["overall_hit_rate_percent"])),
        (
            "stored",
            format!(
                "{} responses, {} of {}",
                figure(&summary["size"]),
                bytes(&summary["bytes"]),
                bytes(&summary["max_bytes"])
            ),
        ),
        ("memory", bytes(&system["process"]["memory_bytes"])),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<9} {value}\n"));
    lines.concat()
}

fn caches(caches: &Value) -> String {
    let mut table = Columns::new(&[
        "ROUTE",
        "STORED",
        "MAX",
        "BYTES",
        "HITS",
        "MISSES",
        "HIT RATE",
        "SETS",
        "EVICTED",
        "EXPIRED",
        "INVALIDATED",
    ]);
    for (route, cache) in caches.as_object().into_iter().flatten() {
        let max_size = match cache["max_size"].as_u64() {
            Some(0) | None => "-".to_owned(),
            Some(max_size) => max_size.to_string(),
        };
        table.row(vec![
            route.clone(),
            figure(&cache["size"]),
            max_size,
            bytes(&cache["bytes"]),
            figure(&cache["hits"]),
            figure(&cache["misses"]),
            percent(&cache["hit_rate_percent"]),
            figure(&cache["sets"]),
            figure(&cache["evictions"]),
            figure(&cache["expirations"]),
            figure(&cache["invalidations"]),
        ]);
    }
    if table.is_empty() {
        return "no route is configured: nothing is cached\n".to_owned();
    }
    table.text(FiguresFrom(1))
}

fn redis(redis: &Value) -> String {
    if redis["configured"] != Value::Bool(true) {
        return "redis     not configured\n".to_owned();
    }
    let connected = if redis["connected"] == Value::Bool(true) {
        "connected"
    } else {
        "NOT CONNECTED"
    };
    let named = [
        ("hits", "hits"),
        ("misses", "misses"),
        ("time-outs", "timeouts"),
        ("skipped", "skipped"),
        ("errors", "errors"),
        ("waiting", "queue_length"),
        ("dropped", "stores_dropped"),
    ];
    let figures = named.map(|(name, key)| format!(", {} {name}", figure(&redis[key])));
    format!("redis     {connected}{}\n", figures.concat())
}

fn endpoints(endpoints: &Value) -> String {
    let mut table = Columns::new(&[
        "METHOD", "ENDPOINT", "COUNT", "5XX", "HIT RATE", "AVG MS", "P50 MS", "P95 MS", "P99 MS",
    ]);
    for endpoint in endpoints.as_array().into_iter().flatten() {
        let word = |key: &str| endpoint[key].as_str().unwrap_or_default().to_owned();
        table.row(vec![
            word("method"),
            word("endpoint"),
            figure(&endpoint["count"]),
            figure(&endpoint["errors"]),
            percent(&endpoint["cache"]["hit_rate_percent"]),
            figure(&endpoint["avg_ms"]),
            figure(&endpoint["p50_ms"]),
            figure(&endpoint["p95_ms"]),
            figure(&endpoint["p99_ms"]),
        ]);
    }
    if table.is_empty() {
        return "no request was counted yet\n".to_owned();
    }
    table.text(FiguresFrom(2))
}

/// A whole number as it is, another with two decimals; `-` for none.
fn figure(value: &Value) -> String {
    match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => whole.to_string(),
        (None, Some(other)) => format!("{other:.2}"),
        (None, None) => "-".to_owned(),
    }
}

fn percent(value: &Value) -> String {
    value
        .as_f64()
        .map_or("-".to_owned(), |percent| format!("{percent:.1} %"))
}

fn bytes(value: &Value) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let Some(mut size) = value.as_f64() else {
        return "-".to_owned();
    };
    let mut unit = 0;
    while size >= 1_024.0 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{size:.0} B")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

fn seconds(value: &Value) -> String {
    let Some(seconds) = value.as_f64() else {
        return "-".to_owned();
    };
    let whole = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", whole % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_laid_out_for_people() {
        let document = serde_json::json!({
            "cache": {
                "caches": {"users": {
                    "size": 50, "max_size": 0, "bytes": 3_145_728, "hits": 3, "misses": 1,
                    "hit_rate_percent": 75.0, "sets": 60, "evictions": 0, "expirations": 2,
                    "invalidations": 10,
                }},
                "summary": {
                    "overall_hit_rate_percent": 75.0, "size": 50,
                    "bytes": 3_145_728, "max_bytes": 268_435_456,
                },
                "redis": {
                    "configured": true, "connected": false, "hits": 1, "misses": 2,
                    "timeouts": 3, "skipped": 4, "errors": 5, "queue_length": 6,
                    "stores_dropped": 7,
                },
            },
            "performance": {
                "system": {
                    "uptime_seconds": 3_725.5, "total_requests": 4,
                    "requests_per_second": 0.5, "in_flight": 1, "success_rate_percent": 100.0,
                    "process": {"memory_bytes": 12_582_912},
                },
                "endpoints": [{
                    "method": "GET", "endpoint": "/users/{id}", "count": 4, "errors": 0,
                    "cache": {"hit_rate_percent": 75.0}, "avg_ms": 2.0, "p50_ms": 1.0,
                    "p95_ms": 5.0, "p99_ms": 5.0,
                }],
            },
        });
        assert_eq!(
            tables(&document),
            "\
up        1 h 2 min
requests  4, 0.50 a second, 1 in flight
success   100.0 %
hit rate  75.0 %
stored    50 responses, 3.0 MiB of 256.0 MiB
memory    12.0 MiB

ROUTE  STORED  MAX    BYTES  HITS  MISSES  HIT RATE  SETS  EVICTED  EXPIRED  INVALIDATED
users      50    -  3.0 MiB     3       1    75.0 %    60        0        2           10

redis     NOT CONNECTED, 1 hits, 2 misses, 3 time-outs, 4 skipped, 5 errors, 6 waiting, 7 dropped

METHOD  ENDPOINT     COUNT  5XX  HIT RATE  AVG MS  P50 MS  P95 MS  P99 MS
GET     /users/{id}      4    0    75.0 %    2.00    1.00    5.00    5.00
"
        );
    }

    #[test]
    fn endpoints_are_sorted_and_cut() {
        let endpoint = |name: &str, count: u64, rate: f64| {
            serde_json::json!({
                "endpoint": name, "count": count, "cache": {"hit_rate_percent": rate},
            })
        };
        let all = vec![
            endpoint("/a", 1, 50.0),
            endpoint("/b", 9, 10.0),
            endpoint("/c", 5, 90.0),
        ];
        let names = |sort: Sort, most| {
            let sorted = sort.first(all.clone(), most).into_iter();
            let names = sorted.map(|one| one["endpoint"].as_str().unwrap_or_default().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(Sort::Name, 3), ["/a", "/b", "/c"]);
        assert_eq!(names(Sort::Count, 2), ["/b", "/c"]);
        assert_eq!(names(Sort::HitRate, 3), ["/b", "/a", "/c"]);
    }

    #[test]
    fn a_proxy_that_did_nothing_yet_is_shown_too() {
        let text = tables(&Value::Null);
        assert!(text.contains("no route is configured"));
        assert!(text.contains("no request was counted"));
    }
}
