//! Logs: to standard error, as text or JSON, filtered by `PANNIER_LOG`.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged, in the syntax of
/// `tracing-subscriber`: `debug`, `info,pannier::store=trace`.
pub const FILTER_VARIABLE: &str = "PANNIER_LOG";

/// What is logged where it does not say. The HTTP/2 library warns of what a
/// client does wrong, and any client could fill the log so; that a connection
/// ended early is told at `debug`.
const DEFAULT_FILTER: &str = "info,h2=error";

/// What is never logged: the watcher of the configuration tells at `trace` of
/// each change in the folder of `proxy.toml`. A log in that folder would grow by
/// a line about each of its lines.
const NEVER: &str = "notify=off";

/// How a line is written: `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

/// Why logging cannot start. Displays as one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `--log-format` is neither.
    #[error("`{0}` is no log format; there are `text` and `json`")]
    Format(String),
    /// `PANNIER_LOG` cannot be read.
    #[error("{FILTER_VARIABLE} is not a filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::FromEnvError),
    /// Something in this process logs already.
    #[error("logging was started before")]
    Started(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging for the whole process; [`DEFAULT_FILTER`] unless
/// [`FILTER_VARIABLE`] says otherwise.
///
/// # Errors
/// Says what is wrong with the filter, or that logging was started before.
pub fn start(format: LogFormat) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .try_from_env()
        .or_else(|error| {
            // An unset variable means the default, not a mistake.
            match std::env::var_os(FILTER_VARIABLE) {
                Some(_) => Err(error),
                None => Ok(EnvFilter::new(DEFAULT_FILTER)),
            }
        })?;
    let filter = match NEVER.parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => filter,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    }
    .map_err(LoggingError::Started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_text_or_json() {
        assert_eq!("text".parse::<LogFormat>().unwrap(), LogFormat::Text);
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert!(error.to_string().contains("`text` and `json`"));
    }
}
