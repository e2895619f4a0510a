//! Log lines on stderr, one a change of state: key and value for people, or JSON for what collects them.

#[cfg(feature = "otlp")]
mod otlp;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Names what is logged, as in `twinlog_link=debug`. Without it warnings and errors are.
const VARIABLE: &str = "TWINLOG_LOG";
/// `text` or `json`.
const FORMAT_VARIABLE: &str = "TWINLOG_LOG_FORMAT";

/// Keeps what the log needs; when it is dropped, all is written that was said.
#[derive(Debug)]
pub(crate) struct Logging {
    #[cfg(feature = "otlp")]
    _export: Option<otlp::Export>,
}

/// Begins to log.
pub(crate) fn begin() -> Logging {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).with_env_var(VARIABLE).from_env_lossy();
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let format = std::env::var(FORMAT_VARIABLE).unwrap_or_default();
    let lines = if format == "json" { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    #[cfg(feature = "otlp")]
    let (export, problem) = match otlp::Export::from_environment() {
        Ok(export) => (export, None),
        Err(problem) => (None, Some(problem)),
    };
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(export.as_ref().map(otlp::Export::layer));
    subscriber.init();
    #[cfg(feature = "otlp")]
    if let Some(problem) = problem {
        tracing::warn!(problem, "What is logged is not exported by OTLP.");
    }
    if let Some(word) = unknown_level(&std::env::var(VARIABLE).unwrap_or_default()) {
        tracing::warn!(
            word,
            "{VARIABLE} names no level: write error, warn, info, debug or trace, or twinlog_link=debug."
        );
    }
    if !matches!(format.as_str(), "" | "text" | "json") {
        tracing::warn!(format, "{FORMAT_VARIABLE} is neither text nor json: these lines are text.");
    }
    Logging {
        #[cfg(feature = "otlp")]
        _export: export,
    }
}

/// A word that was probably meant to be a level: it would count as the name of a module that is not there.
fn unknown_level(filter: &str) -> Option<&str> {
    let is_known = |word: &&str| {
        word.is_empty() || word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok() || word.contains("::")
    };
    filter.split(',').map(str::trim).find(|word| !is_known(word) && !word.starts_with("twinlog"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_found() {
        for filter in ["", "debug", "twinlog_link=debug,warn", "twinlog_client", "a::b,INFO"] {
            assert_eq!(unknown_level(filter), None, "{filter}");
        }
        assert_eq!(unknown_level("warn, bogus"), Some("bogus"));
    }
}
