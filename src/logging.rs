//! Log lines on stderr, one a change of state: key and value for people, or JSON for what collects them.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Names what is logged, as in `twinlog_link=debug`. Without it warnings and errors are.
const VARIABLE: &str = "TWINLOG_LOG";
/// `text` or `json`.
const FORMAT_VARIABLE: &str = "TWINLOG_LOG_FORMAT";

/// Begins to log.
pub(crate) fn begin() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).with_env_var(VARIABLE).from_env_lossy();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let format = std::env::var(FORMAT_VARIABLE).unwrap_or_default();
    match format.as_str() {
        "json" => lines.json().flatten_event(true).init(),
        "" | "text" => lines.init(),
        _ => {
            lines.init();
            tracing::warn!(format, "{FORMAT_VARIABLE} is neither text nor json: these lines are text.");
        }
    }
}
