//! Logs: to standard error, as text or JSON, filtered by `[log] level` or, before
//! that, by `PANNIER_LOG`.

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;

use crate::config::LogLevel;

/// The environment variable that says what is logged, in the syntax of
/// `tracing-subscriber`: `debug`, `info,pannier::store=trace`.
pub const FILTER_VARIABLE: &str = "PANNIER_LOG";

/// What is logged where it does not say. The HTTP/2 library warns of what a
/// client does wrong, and any client could fill the log so; that a connection
/// ended early is told at `debug`. More than `info` is said by this program, not
/// by its libraries.
const fn filter_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn,h2=error",
        LogLevel::Info => "info,h2=error",
        LogLevel::Debug => "info,h2=error,pannier=debug",
        LogLevel::Trace => "info,h2=error,pannier=trace",
    }
}

/// Puts another filter in force; not there where [`FILTER_VARIABLE`] decides, or
/// nothing was started.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

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

/// Starts logging for the whole process, at `info` until [`set_level`] says
/// otherwise, or always by [`FILTER_VARIABLE`] where that is set.
///
/// # Errors
/// Says what is wrong with the filter, or that logging was started before.
pub fn start(format: LogFormat) -> Result<(), LoggingError> {
    // An unset variable means the default, not a mistake.
    let is_given = std::env::var_os(FILTER_VARIABLE).is_some();
    let filter = match is_given {
        true => EnvFilter::builder()
            .with_default_directive(LevelFilter::INFO.into())
            .with_env_var(FILTER_VARIABLE)
            .try_from_env()?,
        false => EnvFilter::new(filter_of(LogLevel::Info)),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(with_never(filter))
        .with_writer(std::io::stderr);
    let set: SetFilter = match format {
        LogFormat::Text => {
            let subscriber = subscriber
                .with_ansi(std::io::stderr().is_terminal())
                .with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.try_init().map_err(LoggingError::Started)?;
            Box::new(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let subscriber = subscriber
                .json()
                .flatten_event(true)
                .with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.try_init().map_err(LoggingError::Started)?;
            Box::new(move |filter| handle.reload(filter))
        }
    };
    if !is_given {
        // Set at most once: `try_init` fails the second time.
        let _ = SET_FILTER.set(set);
    }
    Ok(())
}

/// Logs from now on what is of this level or graver, unless
/// [`FILTER_VARIABLE`] decides.
pub fn set_level(level: LogLevel) {
    let Some(set) = SET_FILTER.get() else {
        return;
    };
    if let Err(error) = set(with_never(EnvFilter::new(filter_of(level)))) {
        tracing::error!(%error, "the level of the log could not be changed");
    }
}

fn with_never(filter: EnvFilter) -> EnvFilter {
    match NEVER.parse() {
        Ok(never) => filter.add_directive(never),
        Err(_) => filter,
    }
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
