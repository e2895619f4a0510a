//! How twinlog is shown to work: one checker for all levels of tests, and the simulator of the pure core.

pub mod checker;
pub mod sim;
