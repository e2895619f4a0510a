//! Seeded mistakes: what a wrong copying program would do, made around a right one. Each must be found, or the
//! simulator proves nothing.

use twinlog_core::io::Output;

use super::world::{Origin, World};

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Mirrors are written to without a marker.
    SkipFence,
}

impl World {
    /// Does the wrong thing instead of the output, if this world has a mistake for it.
    pub(crate) fn twist(&mut self, _origin: Origin, _output: &Output) -> bool {
        false
    }
}
