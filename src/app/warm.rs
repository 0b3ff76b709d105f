//! Fetches at the start what `[[warm]]` names, so that clients find it stored.
//!
//! With `popular_max`, what is asked for most is kept in Redis every minute
//! and at the end, and is fetched at the next start.
//!
//! The requests go through the proxy like those of a client: routes, keys and
//! bounds are the same, and so are the figures. What cannot be fetched is
//! said, counted and passed over.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use http_body_util::BodyExt;

use crate::config::{TlsConfig, Upstream, WarmConfig};
use crate::message::Body;
use crate::message::scheme::Scheme;
use crate::proxy::{Peer, Proxy, Shared};
use crate::telemetry::top_keys::PATH_BYTES_MAX;
use crate::telemetry::warmth::Warmth;

/// URLs of one file; further ones are not read.
const URLS_MAX: usize = 100_000;
/// Bytes of a file; a longer one is not read.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Lines of the log about progress, where there is enough to tell of.
const TELLS: u64 = 10;
const MANY: u64 = 100;
/// Between two looks at what is asked for most.
const KEEP_PAUSE: Duration = Duration::from_secs(60);

/// What is fetched before the invalidation log was read for the first time is
/// dropped with it: that is waited for so long, and no longer.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// One URL to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    host: String,
    target: Uri,
    /// That of a URL.
    scheme: Option<Scheme>,
}

/// Starts to warm. What readiness is to wait for is marked before this returns.
pub(super) fn start(shared: &Arc<Shared>) {
    let site = shared.site();
    let mut awaited = Vec::new();
    for config in &site.config.warm {
        let wanted = wanted(config, &site.config.upstream);
        shared.telemetry.warmth().plan(wanted.len() as u64);
        let done = tokio::spawn(warm(Arc::clone(shared), wanted, config.clone()));
        if config.block {
            awaited.push((done, config.block_timeout));
        }
    }
    if awaited.is_empty() {
        return;
    }
    shared.telemetry.warmth().set_awaited(true);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let begun = tokio::time::Instant::now();
        for (done, within) in awaited {
            if tokio::time::timeout_at(begun + within, done).await.is_err() {
                tracing::warn!(
                    "warming takes longer than `block_timeout`; readiness waits no more"
                );
            }
        }
        shared.telemetry.warmth().set_awaited(false);
    });
}

async fn warm(shared: Arc<Shared>, named: Vec<Wanted>, config: WarmConfig) {
    let started = Instant::now();
    let warmth = shared.telemetry.warmth();
    let at_once = config.concurrency_max;
    let in_touch = tokio::time::timeout(LOG_PATIENCE, shared.invalidation.in_touch()).await;
    if in_touch.is_err() {
        tracing::debug!("warming does not wait for the invalidation log any longer");
    }
    // Redis may take its time: what has a name does not wait for it.
    let (popular, ()) = futures_util::future::join(
        popular(&shared, &config),
        fetch_all(&shared, named.clone(), at_once),
    )
    .await;
    let more: Vec<Wanted> = popular
        .into_iter()
        .filter(|popular| !named.contains(popular))
        .collect();
    warmth.plan(more.len() as u64);
    fetch_all(&shared, more, at_once).await;
    tell(warmth, started);
}

async fn fetch_all(shared: &Arc<Shared>, wanted: Vec<Wanted>, at_once: usize) {
    let total = wanted.len() as u64;
    if total == 0 {
        return;
    }
    let (proxy, telemetry) = (Proxy::new(Arc::clone(shared), 0), &shared.telemetry);
    tracing::info!(urls = total, "warming");
    let site = shared.site();
    let mut done = 0;
    let mut fetched = futures_util::stream::iter(wanted)
        .map(|wanted| {
            let scheme = scheme(site.config.tls.as_ref(), wanted.scheme);
            fetch(proxy.clone(), wanted, scheme)
        })
        .buffer_unordered(at_once);
    while let Some(is_success) = fetched.next().await {
        telemetry.warmth().count(is_success);
        done += 1;
        if total >= MANY && done % (total / TELLS) == 0 && done < total {
            tracing::info!(done, urls = total, "warming goes on");
        }
        if shared.drain.is_draining() {
            return;
        }
    }
}

/// What was asked for most in the last run.
async fn popular(shared: &Shared, config: &WarmConfig) -> Vec<Wanted> {
    let Some(redis) = shared
        .store
        .redis
        .as_ref()
        .filter(|_| config.popular_max > 0)
    else {
        return Vec::new();
    };
    let paths = redis.popular().kept().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "what was asked for most is not known");
        Vec::new()
    });
    let host = host(config, &shared.site().config.upstream);
    let wanted = paths.iter().filter_map(|path| parse(path, &host));
    wanted.take(config.popular_max).collect()
}

/// Keeps what is asked for most, for ever.
pub(super) async fn keep_for_ever(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(KEEP_PAUSE).await;
        keep(&shared).await;
    }
}

/// Keeps what is asked for most, where that is wanted. Where nothing was yet,
/// what was kept before stays.
pub(super) async fn keep(shared: &Shared) {
    let site = shared.site();
    let warm = site.config.warm.iter();
    let most = warm.map(|warm| warm.popular_max).max().unwrap_or(0);
    let top = shared.telemetry.top_keys().by_hits(most);
    // One that was cut is not the path that was asked for.
    let whole = top.iter().filter(|key| key.path.len() < PATH_BYTES_MAX);
    let mut paths: Vec<&str> = whole.map(|key| &*key.path).collect();
    paths.dedup();
    let Some(redis) = shared.store.redis.as_ref().filter(|_| !paths.is_empty()) else {
        return;
    };
    if let Err(error) = redis.popular().keep(paths.into_iter()).await {
        tracing::debug!(%error, "what is asked for most was not kept");
    }
}

fn tell(warmth: &Warmth, started: Instant) {
    let figures = warmth.figures();
    let took_s = started.elapsed().as_secs_f64();
    let (warmed, failed) = (figures.warmed, figures.failed);
    tracing::info!(warmed, failed, took_s, "warmed");
}

/// Whether it was answered with success, and whole.
async fn fetch(proxy: Proxy, wanted: Wanted, scheme: Scheme) -> bool {
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() = wanted.target.clone();
    let fields = request.headers_mut();
    let Ok(host) = HeaderValue::try_from(&wanted.host) else {
        return false;
    };
    fields.insert(HOST, host);
    let agent = concat!("pannier/", env!("CARGO_PKG_VERSION"), " (warming)");
    fields.insert(USER_AGENT, HeaderValue::from_static(agent));
    request.extensions_mut().insert(Peer {
        address: Ipv4Addr::LOCALHOST.into(),
        scheme,
    });
    let path = wanted.target.path();
    let response = match proxy.serve(request).await {
        Ok(response) => response,
        Err(failure) => {
            tracing::warn!(path, error = %failure.error, "not warmed");
            return false;
        }
    };
    let status = response.status();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Err(error) = frame {
            tracing::warn!(path, %error, "not warmed");
            return false;
        }
    }
    if !status.is_success() {
        tracing::warn!(path, status = status.as_u16(), "not warmed");
    }
    status.is_success()
}

/// All that one table names, in its order; what cannot be read is said.
fn wanted(config: &WarmConfig, upstream: &Upstream) -> Vec<Wanted> {
    let host = host(config, upstream);
    let mut all: Vec<Wanted> = config
        .paths
        .iter()
        .filter_map(|path| parse(path, &host))
        .collect();
    if let Some(file) = &config.file {
        match read(file) {
            Ok(text) => all.extend(of_text(&text, &host)),
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "what to warm cannot be read");
            }
        }
    }
    all
}

/// The scheme that clients speak: it is part of a cache key.
fn scheme(tls: Option<&TlsConfig>, named: Option<Scheme>) -> Scheme {
    match tls {
        // Whatever a URL says, it is asked for in the one way there is.
        None => Scheme::Http,
        Some(TlsConfig { listen: None, .. }) => Scheme::Https,
        Some(_) => named.unwrap_or_default(),
    }
}

/// The host of what names none.
fn host(config: &WarmConfig, upstream: &Upstream) -> String {
    match upstream {
        _ if !config.host.is_empty() => config.host.clone(),
        Upstream::Http { authority }
        | Upstream::H2c { authority }
        | Upstream::Https { authority } => authority.to_string(),
        Upstream::Unix { .. } => "localhost".to_owned(),
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let bytes = std::fs::metadata(file)?.len();
    if bytes > FILE_BYTES_MAX {
        let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
        return Err(std::io::Error::other(message));
    }
    std::fs::read_to_string(file)
}

fn of_text(text: &str, host: &str) -> Vec<Wanted> {
    let lines = text.lines().map(str::trim);
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Vec::new();
    for line in lines.by_ref().take(URLS_MAX) {
        match parse(line, host) {
            Some(wanted) => all.push(wanted),
            None => tracing::warn!("a line of what to warm is neither a path nor a URL"),
        }
    }
    if lines.next().is_some() {
        tracing::warn!(URLS_MAX, "what to warm has more lines than are read");
    }
    all
}

/// A path, or a URL with the host in it.
fn parse(written: &str, host: &str) -> Option<Wanted> {
    let uri: Uri = written.parse().ok()?;
    let target = Uri::from(uri.path_and_query()?.clone());
    if !target.path().starts_with('/') {
        return None;
    }
    let host = match uri.authority() {
        Some(authority) if !authority.as_str().contains('@') => authority.to_string(),
        Some(_) => return None,
        None => host.to_owned(),
    };
    let scheme = match uri.scheme_str() {
        Some("https") => Some(Scheme::Https),
        Some(_) => Some(Scheme::Http),
        None => None,
    };
    Some(Wanted {
        host,
        target,
        scheme,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_paths_or_urls() {
        let text = "# the front page\n/\n\n /a?b=1 \nhttps://shop.example/x\nhttp://u:p@h/\nnot a url\nshop\n";
        let wanted = of_text(text, "here:80");
        let read: Vec<(String, String)> = wanted
            .into_iter()
            .map(|one| (one.host, one.target.to_string()))
            .collect();
        let expected = [
            ("here:80", "/"),
            ("here:80", "/a?b=1"),
            ("shop.example", "/x"),
        ];
        assert_eq!(
            read,
            expected.map(|(host, target)| (host.into(), target.into()))
        );
    }
}
