//! Lanes whose every question is answered by hand or by a world in which all goes well.

mod fencing;
mod holding_still;
mod losing;
mod map_topic;
mod marks;
mod moving;
mod new_id;
mod resolving;
mod script;
mod sending;
mod taking;
mod watching;

use script::{KEEP_ALIVE_MS, Script};
