//! The link: one direction between two clusters. Lanes move batches, mirrors are kept in step, the map is stored.
//!
//! This crate does what `twinlog_core` decides: it moves bytes, keeps the time and talks to both clusters.

mod fetch;
pub mod log;
pub mod names;
