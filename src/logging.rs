//! Log lines: key and value, on stderr, one a change of state.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Names what is logged, as in `twinlog_link=debug`. Without it warnings and errors are.
const VARIABLE: &str = "TWINLOG_LOG";

/// Begins to log.
pub(crate) fn begin() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).with_env_var(VARIABLE).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
