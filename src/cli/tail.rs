//! `pannier tail`: requests of a running Pannier as they are answered.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use super::client::{AdminArgs, AdminError, AdminTarget, query};

/// What `pannier tail` takes.
#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    /// Requests of this route alone
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<String>,
    /// Requests that the cache answered so: hit, stale, revalidated, miss, bypass
    #[arg(long, value_name = "RESULT")]
    pub cache: Option<String>,
    /// Requests with this status: 404, or 5xx
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Ends after so many lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub lines: Option<u64>,
    /// Prints each as JSON
    #[arg(long)]
    pub json: bool,
    /// Where to ask
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Prints requests until the listener ends, or enough were printed.
///
/// # Errors
/// Where the admin listener does not answer or refuses.
pub async fn tail(
    args: &TailArgs,
    target: &AdminTarget,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    let filters = [
        ("route", &args.route),
        ("cache", &args.cache),
        ("status", &args.status),
    ];
    let pairs: Vec<(&str, &str)> = filters
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    let path = format!("/tail{}", query(&pairs));
    let mut left = args.lines.unwrap_or(u64::MAX);
    // The listener ends a connection after some minutes.
    while left > 0 {
        target
            .follow(&path, |line| {
                let printed = if args.json {
                    line.to_owned()
                } else {
                    told(line)
                };
                writeln!(out, "{printed}")?;
                out.flush()?;
                left = left.saturating_sub(1);
                Ok(left > 0)
            })
            .await?;
    }
    Ok(())
}

/// `12:34:56.789 GET 200 HIT 0.042 ms users /users/7`
fn told(line: &str) -> String {
    let Ok(document) = serde_json::from_str::<Value>(line) else {
        return line.replace(char::is_control, "?");
    };
    if let Some(missed) = document["missed"].as_u64() {
        return format!("… {missed} more were answered than can be shown");
    }
    let word = |key: &str| document[key].as_str().unwrap_or("-").to_owned();
    let time = word("time");
    let time = time.get(11..23).unwrap_or(&time).to_owned();
    let elapsed = document["elapsed_ms"].as_f64().unwrap_or_default();
    let upstream = document["upstream_ms"]
        .as_f64()
        .map_or_else(|| "-".to_owned(), |took| format!("{took:.1}"));
    let text = format!(
        "{time} {:<6} {} {:<11} {elapsed:>9.3} ms  origin {upstream:>7}  {:<16} {}",
        word("method"),
        document["status"],
        word("cache"),
        word("route"),
        word("path")
    );
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_for_people() {
        let line = serde_json::json!({
            "time": "2026-01-02T03:04:05.678Z", "method": "GET", "path": "/a\u{1b}[2J",
            "status": 200, "cache": "HIT", "route": null, "elapsed_ms": 0.042,
            "upstream_ms": null,
        });
        let told_line = told(&line.to_string());
        assert!(told_line.starts_with("03:04:05.678 GET"), "{told_line}");
        assert!(told_line.ends_with("/a?[2J"), "{told_line}");
        assert!(told("{\"missed\":7}").contains("7 more"));
    }
}
