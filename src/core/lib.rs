//! Every decision of twinlog, as pure state machines.
#![no_std]
extern crate alloc;

pub mod answer_size;
pub mod backoff;
pub mod batch;
pub mod claims;
pub mod codec;
pub mod config;
pub mod cut_back;
pub mod fetch_ahead;
pub mod fetch_session;
pub mod halt;
pub mod ids;
pub mod intake;
pub mod io;
pub mod lane;
pub mod link_state;
pub mod map_record;
pub mod map_state;
pub mod map_writer;
pub mod members;
pub mod mirror_settings;
pub mod moves;
pub mod offset_map;
pub mod outbox;
pub mod pace;
pub mod partition;
pub mod plans;
pub mod rebalance;
pub mod report;
pub mod resolution;
pub mod sequence;
pub mod state_record;
pub mod status;
pub mod tail;
pub mod topics;
