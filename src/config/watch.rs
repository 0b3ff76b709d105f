//! The options of what operators watch, and of warming: `[health]`, `[log]`,
//! `[[warm]]`.

use std::path::PathBuf;
use std::time::Duration;

use super::kinds::{Choice, Durations, Flag, List, Parsed, Whole, Wrong};
use super::options::{count, seconds};
use super::reader::Table;
use super::{AccessFormat, HealthConfig, LogConfig, LogLevel, WarmConfig};

/// The paths of which it is counted how often they are asked for.
const POPULAR_MAX: u64 = 128;
/// The longest a start may be held up.
const BLOCK_MAX: Duration = Duration::from_secs(3_600);

pub(super) fn health(mut table: Table<'_>) -> HealthConfig {
    let percent = || Whole { min: 1, max: 101 };
    let number = || Whole {
        min: 1,
        max: 1_000_000_000,
    };
    let lag = || Durations {
        min: Duration::from_millis(1),
        max: seconds(86_400),
    };
    let config = HealthConfig {
        error_rate_warning_percent: table.option("error_rate_warning_percent", 1, percent(), "Answers of 5xx, of all requests in five minutes."),
        error_rate_critical_percent: table.option("error_rate_critical_percent", 5, percent(), "The same, critical; 101: never."),
        upstream_error_rate_warning_percent: table.option("upstream_error_rate_warning_percent", 1, percent(), "Exchanges with the origin that failed, in five minutes."),
        upstream_error_rate_critical_percent: table.option("upstream_error_rate_critical_percent", 10, percent(), "The same, critical; 101: never."),
        upstream_failures_critical: table.option("upstream_failures_critical", 3, number(), "Exchanges with the origin that failed one after the other; from the first on a warning."),
        p95_factor_warning: table.option("p95_factor_warning", 2, number(), "The 95th percentile of five minutes, as a multiple of the hour before."),
        p95_factor_critical: table.option("p95_factor_critical", 10, number(), "The same, critical."),
        queue_warning: table.option("queue_warning", 101, number(), "Requests waiting for a place."),
        queue_critical: table.option("queue_critical", 1_000, number(), "The same, critical."),
        hit_rate_warning_percent: table.option("hit_rate_warning_percent", 30, Whole { min: 0, max: 100 }, "A hit rate below it is a warning; 0: never."),
        evictions_warning_per_hour: table.option("evictions_warning_per_hour", 11, number(), "Responses evicted before 70 % of their lifetime was over."),
        memory_warning_percent: table.option("memory_warning_percent", 95, percent(), "How full the store in memory is, where it also evicts early; 101: never."),
        lag_warning: table.option("lag_warning", seconds(2), lag(), "How far the instance is behind the invalidation log."),
        lag_critical: table.option("lag_critical", seconds(30), lag(), "The same, critical."),
    };
    table.finish();
    config
}

pub(super) fn log(mut table: Table<'_>) -> LogConfig {
    let level = table.option(
        "level",
        LogLevel::Info,
        Choice(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ]),
        "Which of the program's own events go to standard error: those of this level and graver ones. PANNIER_LOG goes before it.",
    );
    let access = table.option(
        "access",
        AccessFormat::Off,
        Choice(&[
            ("off", AccessFormat::Off),
            ("text", AccessFormat::Text),
            ("json", AccessFormat::Json),
        ]),
        "One line for each request, to standard output: outcome and timing, the path without its query.",
    );
    let otlp = table.optional(
        "otlp",
        "\"http://127.0.0.1:4318\"",
        Parsed {
            expects: "the URL of an OpenTelemetry collector that speaks OTLP over HTTP",
            parse: parse_collector,
            write: |url: &http::Uri| url.to_string(),
        },
        "A span for each request goes to this OpenTelemetry collector, by OTLP over HTTP; only in a build with the feature `otlp`.",
    );
    table.finish();
    LogConfig {
        level,
        access,
        otlp,
    }
}

fn parse_collector(text: &str) -> Result<http::Uri, Wrong> {
    if !cfg!(feature = "otlp") {
        return Err(Wrong::new("this build does not export spans")
            .hint("build it with `cargo build --release --features otlp`, or take the key out"));
    }
    let url: Option<http::Uri> = text.parse().ok();
    let is_collector = |url: &http::Uri| {
        let is_plain = url
            .authority()
            .is_some_and(|host| !host.as_str().contains('@'));
        matches!(url.scheme_str(), Some("http" | "https")) && is_plain && url.query().is_none()
    };
    url.filter(is_collector).ok_or_else(|| {
        Wrong::new("this is no URL of a collector")
            .hint("`http://` or `https://`, a host and its port; `/v1/traces` is added")
    })
}

/// `is_shared`: there is a Redis.
pub(super) fn warm(mut table: Table<'_>, is_shared: bool) -> Option<WarmConfig> {
    let paths = table.option(
        "paths",
        Vec::new(),
        List(Parsed {
            expects: "a path with its query, starting with `/`",
            parse: parse_target,
            write: String::clone,
        }),
        "What to fetch at the start, each a path with its query.",
    );
    let file = table.optional(
        "file",
        "\"/etc/pannier/warm.txt\"",
        Parsed {
            expects: "the path of a file",
            parse: |text| match text {
                "" => Err(Wrong::new("this is no path")),
                text if text.contains('\0') => Err(Wrong::new("this is no path")),
                path => Ok(PathBuf::from(path)),
            },
            write: |path| path.display().to_string(),
        },
        "A file of such paths or of whole URLs, one a line; empty lines and those that begin with # are passed over.",
    );
    let popular_max = count(table.option(
        "popular_max",
        0,
        Whole { min: 0, max: POPULAR_MAX },
        "So many of the paths that were most asked for in the last run, which Redis remembers, without their queries.",
    ));
    let host = table.option(
        "host",
        String::new(),
        Parsed {
            expects: "a host as clients name it, with its port where they do",
            parse: |text| {
                let is_host = text.is_empty() || text.parse::<http::uri::Authority>().is_ok();
                if is_host && !text.contains('@') {
                    Ok(text.to_owned())
                } else {
                    Err(Wrong::new("this is no host"))
                }
            },
            write: String::clone,
        },
        "The host that clients will name: it is part of a cache key. \"\": that of `upstream`. A URL of the file has its own.",
    );
    let concurrency_max = count(table.option(
        "concurrency_max",
        4,
        Whole { min: 1, max: 256 },
        "Fetches under way at once.",
    ));
    let block = table.option(
        "block",
        false,
        Flag,
        "Whether /readyz waits until all is fetched, or could not be.",
    );
    let block_timeout = table.option(
        "block_timeout",
        seconds(60),
        Durations {
            min: Duration::from_millis(1),
            max: BLOCK_MAX,
        },
        "It waits no longer; warming goes on.",
    );
    if popular_max > 0 && !is_shared {
        table.problem(
            "popular_max",
            "`popular_max` needs a Redis to remember what was asked for",
            Some("add a table `[redis]`, or take the key out".to_owned()),
        );
    }
    if paths.is_empty() && file.is_none() && popular_max == 0 {
        table.problem(
            "paths",
            "`warm` has neither `paths` nor `file` nor `popular_max`",
            Some("add `paths = [\"/\"]`, or take the table out".to_owned()),
        );
    }
    table.finish();
    Some(WarmConfig {
        paths,
        file,
        popular_max,
        host,
        concurrency_max,
        block,
        block_timeout,
    })
}

pub(super) fn parse_target(text: &str) -> Result<String, Wrong> {
    let is_target = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
    if is_target {
        Ok(text.to_owned())
    } else {
        Err(
            Wrong::new("a path starts with `/` and is written as in a URL")
                .hint("escape spaces and other letters: `%20`"),
        )
    }
}
