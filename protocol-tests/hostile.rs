//! Whatever takes bytes or events from outside, driven with arbitrary ones: nothing panics, nothing loops, nothing that
//! comes out is wrong in itself.
//!
//! `fuzz/` searches with libFuzzer for input that breaks one of these, and keeps what it learned in `fuzz/corpus`; the
//! test `hostile` tries all of that again, on stable Rust.

mod config;
mod lane;
mod map;
mod repack;
mod wire;

/// What is driven with the bytes.
pub type Target = fn(&[u8]);

/// Names and functions; a folder of `fuzz/corpus` and a program of `fuzz/` have the same name.
pub const TARGETS: [(&str, Target); 9] = [
    ("frame_split", wire::frame_split),
    ("fetch_view", wire::fetch_view),
    ("produce_view", wire::produce_view),
    ("batch_walk", wire::batch_walk),
    ("repack_batch", repack::batch),
    ("repack_messages", repack::messages),
    ("map_codec", map::codec),
    ("config_file", config::file),
    ("lane_events", lane::events),
];

/// Runs a target by its name.
///
/// # Panics
///
/// When there is none of that name, or the input breaks it.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name");
    target(data);
}
