//! Every decision of twinlog, as pure state machines.
#![no_std]
extern crate alloc;
