//! Benches that are more than one file of a harness. Each is a module here, and a short `main` beside it.
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot be run says why and stops")]

pub mod link;
pub mod marks;
