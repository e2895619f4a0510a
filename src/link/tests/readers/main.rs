//! The verbs that look, against logs on a real broker that were written by hand as a link writes them: source, mirror
//! and map are topics of one cluster, so every offset in here is known.
#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is how it fails; clippy knows only functions marked as tests"
)]

mod checked;
mod gone;
mod kit;
mod looked;
mod written;
