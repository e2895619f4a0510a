//! Mirrors and the map topic on real clusters: what is made, what is left alone, what is reported.
#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is how it fails; clippy knows only functions marked as tests"
)]

mod earlier;
mod existing;
mod kit;
mod lost;
mod made;
mod map_topic;
mod state;
