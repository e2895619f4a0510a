//! How twinlog is shown to work: one checker for all levels of tests, the simulator of the pure core, and what the
//! tests share.

pub mod checker;
mod form;
#[allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "test code")]
pub mod hostile;
pub mod members;
#[allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
pub mod seeds;
pub mod sim;

pub use form::is_long;
