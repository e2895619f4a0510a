//! The pure core under a seeded simulator: both clusters are modelled, the true lanes run against them, everything
//! goes wrong, and the checker compares what came of it.
//!
//! A seed is a world, on every machine. [`run`] runs one; `TWINLOG_SIM_SEED` makes the test print its trace.

#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod broker;
mod causes;
mod coordinator;
mod ending;
mod faults;
mod judge;
mod leaderless;
mod mistakes;
mod operator;
mod produce;
mod profile;
mod rng;
mod shell;
mod source;
mod tables;
mod target;
mod world;

pub use mistakes::Mistake;
pub(crate) use rng::Rng;
use world::World;

use crate::seeds::{Outcome, failure_of};

/// Runs the world of a seed.
pub fn run(seed: u64, mistake: Option<Mistake>, tracing: bool) -> Outcome {
    let mut world = World::new(seed, mistake, tracing);
    let failure = failure_of(|| world.run());
    Outcome { failure, coverage: world.coverage, trace: world.trace.unwrap_or_default() }
}
