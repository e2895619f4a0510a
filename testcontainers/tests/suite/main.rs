//! Real brokers, tools and clients; nothing is skipped when they are missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests, too")]

mod clusters;
mod gone;
mod mirror_maker;
mod missing;
mod oracle;

use std::time::Duration;

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(90);
