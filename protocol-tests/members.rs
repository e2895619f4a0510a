//! Memberships under a seeded simulator: one to eight instances against a modelled group coordinator, with crashes,
//! sleeps longer than the session, cuts, and requests and answers that are lost, late or carried out twice.
//!
//! What must hold: no two instances own one lane within their leases; nobody within its lease loses a lane that was
//! not asked back; once the faults stop, all lanes are owned soon, shared fairly, and then nothing moves any more.

#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod coordinator;
mod instance;
mod world;

pub use self::world::{Mistake, World, run};
