//! What `[log]` means.

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `level` (`"info"`).
    pub level: LogLevel,
    /// `access` (`"off"`).
    pub access: AccessFormat,
    /// `otlp`: the collector that gets a span for each request; `None`: none,
    /// and always so in a build without the feature `otlp`.
    pub otlp: Option<http::Uri>,
}

/// Which of the program's own events are logged: those of this level and
/// graver ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something needs attention.
    Warn,
    /// What operators want to know of a healthy proxy.
    #[default]
    Info,
    /// For those who look for a cause.
    Debug,
    /// Everything.
    Trace,
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// Not at all.
    #[default]
    Off = 0,
    /// For people.
    Text = 1,
    /// One JSON object a line.
    Json = 2,
}
