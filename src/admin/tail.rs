//! `GET /tail`: requests as they are answered, one JSON object a line.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use tokio::time::timeout;

use super::control::Control;
use super::parameters::Parameters;
use super::problem::Problem;
use crate::semantics::outcome::CacheResult;
use crate::telemetry::tail::{Line, Seen, WATCHERS_MAX, Watcher};

/// What a client reads while there is nothing to tell, so that a connection that
/// is gone is noticed; and how soon the drain is.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailQuery {
    route: Option<String>,
    cache: Option<String>,
    status: Option<String>,
}

/// The same, read.
struct Filter {
    route: Option<String>,
    cache: Option<CacheResult>,
    /// The lowest and the highest status.
    status: Option<(u16, u16)>,
}

impl TailQuery {
    fn filter(self) -> Result<Filter, Problem> {
        let cache = self.cache.as_deref().map(cache).transpose()?;
        let status = self.status.as_deref().map(status).transpose()?;
        Ok(Filter {
            route: self.route,
            cache,
            status,
        })
    }
}

fn cache(written: &str) -> Result<CacheResult, Problem> {
    let named = |result: &CacheResult| result.as_str().eq_ignore_ascii_case(written);
    CacheResult::ALL.into_iter().find(named).ok_or_else(|| {
        Problem::bad(format!(
            "cache is `{written}`; expected hit, stale, revalidated, miss or bypass"
        ))
    })
}

fn status(written: &str) -> Result<(u16, u16), Problem> {
    let class = written
        .strip_suffix("xx")
        .and_then(|class| class.parse::<u16>().ok());
    let class = class.filter(|class| (1..=5).contains(class));
    let code = written.parse::<u16>().ok();
    let code = code.filter(|code| (100..=999).contains(code));
    match (class, code) {
        (Some(class), _) => Ok((class * 100, class * 100 + 99)),
        (None, Some(code)) => Ok((code, code)),
        (None, None) => Err(Problem::bad(format!(
            "status is `{written}`; expected a code like 404 or a class like 5xx"
        ))),
    }
}

impl Filter {
    fn admits(&self, line: &Line) -> bool {
        let is_route = self.route.as_ref().is_none_or(|name| **name == *line.route);
        let is_cache = self.cache.is_none_or(|cache| cache == line.cache);
        let is_status = self
            .status
            .is_none_or(|(low, high)| (low..=high).contains(&line.status));
        is_route && is_cache && is_status
    }
}

/// `GET /tail`
pub(super) async fn tail(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<TailQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter()?;
    let watcher = control.telemetry.tail().watch().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{WATCHERS_MAX} are watching already"),
        )
    })?;
    let lines = stream::unfold(
        (watcher, filter, control),
        |(mut watcher, filter, control)| async {
            let bytes = next(&mut watcher, &filter, &control).await?;
            Some((
                Ok::<_, std::convert::Infallible>(bytes),
                (watcher, filter, control),
            ))
        },
    );
    let body = Body::from_stream(lines);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// What is written next; `None` where the proxy ends.
async fn next(watcher: &mut Watcher, filter: &Filter, control: &Control) -> Option<Bytes> {
    let until = tokio::time::Instant::now() + SILENCE_MAX;
    loop {
        if control.operations.is_draining() {
            return None;
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match timeout(left, watcher.next()).await {
            // An empty line is none.
            Err(_) => return Some(Bytes::from_static(b"\n")),
            Ok(None) => return None,
            Ok(Some(Seen::Missed(missed))) => {
                return Some(format!("{{\"missed\":{missed}}}\n").into());
            }
            Ok(Some(Seen::Line(line))) if filter.admits(&line) => {
                return Some(Bytes::copy_from_slice(line.json.as_bytes()));
            }
            Ok(Some(Seen::Line(_))) => {}
        }
    }
}
