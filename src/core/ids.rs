//! The words of this crate as types: a source offset is never a target offset by accident.

use core::fmt;

use twinlog_wire::batch::BatchMeta;

macro_rules! offset {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl $name {
            /// The offset `records` further on.
            #[must_use]
            pub fn plus(self, records: u64) -> Self {
                Self(self.0.saturating_add(i64::try_from(records).unwrap_or(i64::MAX)))
            }

            /// How many offsets lie from `earlier` up to this one; 0 if it is not earlier.
            #[must_use]
            pub fn since(self, earlier: Self) -> u64 {
                u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

offset!(
    /// An offset or position in a source partition.
    SourceOffset
);
offset!(
    /// An offset or position in a target partition.
    TargetOffset
);

/// A producer id with its epoch, as a broker hands it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch; a higher one fences the lower ones of the same id.
    pub epoch: i16,
}

impl Producer {
    /// Who wrote a batch or marker.
    pub fn of(batch: &BatchMeta) -> Self {
        Self { id: batch.producer_id, epoch: batch.producer_epoch }
    }
}

/// A topic id (KIP-516) as its 16 bytes; all zero where the broker has none.
pub type TopicId = [u8; 16];

/// The time at which an input is handled. The shell reads both clocks; the core never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its start is arbitrary.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch, comparable with record timestamps.
    pub wall_ms: i64,
}
