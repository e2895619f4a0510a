//! Benches that are more than one file of a harness. Each is a module here, and a short `main` beside it.
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be run says why and stops")]

mod ask;
mod bare;
mod child;
pub mod comparison;
mod fields;
pub mod link;
mod machine;
pub mod marks;
mod net;
mod plot;
mod program;
mod progress;
mod quantiles;
mod spread;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where results are kept.
fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// What a bench ends with: its own code, or a line of words.
fn exit(done: Result<ExitCode, String>) -> ExitCode {
    done.unwrap_or_else(|words| {
        eprintln!("error: {words}");
        ExitCode::FAILURE
    })
}

/// Those of these names, in their order; all if there are none. An unknown name is given back, as one of a kind.
fn named<T>(
    kind: &str,
    all: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> &str,
    names: &[String],
) -> Result<Vec<T>, String> {
    let mut found: Vec<T> = all.into_iter().collect();
    if let Some(unknown) = names.iter().find(|wanted| found.iter().all(|one| name(one) != wanted.as_str())) {
        return Err(format!("there is no {kind} `{unknown}`: --list names them"));
    }
    found.retain(|one| names.is_empty() || names.iter().any(|wanted| wanted == name(one)));
    Ok(found)
}
