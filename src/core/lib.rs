//! Every decision of twinlog, as pure state machines.
#![no_std]
extern crate alloc;

pub mod config;
pub mod report;
pub mod status;
pub mod topics;
