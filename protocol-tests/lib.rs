//! How twinlog is shown to work: one checker for all levels of tests, the simulator of the pure core, and what the
//! tests share.

pub mod checker;
mod form;
pub mod members;
#[allow(clippy::panic, clippy::unwrap_used, reason = "test code")]
pub mod seeds;
pub mod sim;

pub use form::is_long;
