//! Signals that end or reload the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT.
pub(super) async fn asked_to_stop() {
    let (Some(mut terminate), Some(mut interrupt)) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// SIGHUP; `None` where it cannot be heard.
pub(super) fn asked_to_reload() -> Option<Signal> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Option<Signal> {
    match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::error!(%error, ?kind, "a signal cannot be heard");
            None
        }
    }
}
