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
mod spread;

use std::path::{Path, PathBuf};

/// Where results are kept.
fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}
