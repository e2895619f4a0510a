//! The link: one direction between two clusters. Lanes move batches, mirrors are kept in step, the map is stored.
//!
//! This crate does what `twinlog_core` decides: it moves bytes, keeps the time and talks to both clusters.

pub mod check;
pub mod claims;
pub mod environment;
mod failpoint;
mod fetch;
pub mod groups;
mod in_order;
mod lane;
pub mod lanes;
mod lease;
pub mod log;
mod log_dirs;
mod map_log;
mod map_reader;
pub mod map_topic;
mod members;
pub mod meter;
pub mod mirrors;
pub mod names;
mod objectives;
mod own_lanes;
mod own_topic;
mod placing;
pub mod reach;
pub mod resolve;
pub mod same_cluster;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod translate;
pub mod verify;
