//! A mirror's log from the map's last mark up to an end: what it says about how far the copy is.

use std::collections::BTreeSet;

use tokio::time::{Instant, sleep};
use twinlog_client::Error;
use twinlog_core::ids::TargetOffset;
use twinlog_core::offset_map::{Extent, OffsetMap};
use twinlog_core::plans::Plans;
use twinlog_core::tail::{Found, Tail};
use twinlog_wire::batch::Entry;

use super::PAUSE;
use super::snapshot::MirrorEnd;
use crate::log::{LogPart, LogRead, LogReader};
use crate::reach::deadline;

/// Where the reading of a mirror's log is.
pub(super) struct Walk {
    tail: Tail,
    plans: Plans,
    producer_ids: BTreeSet<i64>,
    end: TargetOffset,
    stopped: Option<MirrorEnd>,
}

impl Walk {
    /// From the end of `extent` up to `end`. The lane had these producer ids.
    pub(super) fn new(
        map: OffsetMap,
        extent: Extent,
        plans: Plans,
        producer_ids: BTreeSet<i64>,
        end: TargetOffset,
    ) -> Self {
        let tail = Tail::new(map, extent, -1, plans.cursor());
        Self { tail, plans, producer_ids, end, stopped: None }
    }

    /// The map and the extent as far as it came, and what stopped it.
    pub(super) fn finish(self) -> (OffsetMap, Extent, MirrorEnd) {
        (self.tail.map, self.tail.extent, self.stopped.unwrap_or(MirrorEnd::Ours))
    }

    pub(super) async fn run(&mut self, log: &LogReader) -> Result<(), Error> {
        // A head may be newer than the end; then one look says whether the log reaches it.
        let ahead = self.tail.next_read > self.end;
        let deadline = deadline();
        while self.stopped.is_none() && (ahead || self.tail.next_read < self.end) {
            let from = self.tail.next_read;
            match log.cluster.retry(deadline, || log.read(from.0)).await? {
                LogRead::Part(_) if ahead => return Ok(()),
                LogRead::Part(part) => {
                    let is_behind = part.entries.is_empty() && part.high_watermark < self.end.0;
                    if is_behind && Instant::now() < deadline {
                        sleep(PAUSE).await;
                    } else {
                        self.take(&part);
                    }
                }
                LogRead::OutOfRange { start, .. } if TargetOffset(start) > from => {
                    self.tail.skip_to(TargetOffset(start));
                }
                LogRead::OutOfRange { end, .. } => {
                    self.stopped = Some(MirrorEnd::Truncated { acknowledged: from, found: TargetOffset(end) });
                }
            }
        }
        Ok(())
    }

    /// Takes a part of the log. What begins at the end or behind it is not looked at: the map may not know it yet.
    pub(super) fn take(&mut self, part: &LogPart) {
        let from = self.tail.next_read;
        for entry in &part.entries {
            let expected = self.tail.next_read;
            let meta = match entry {
                Entry::V2(meta, _) => meta,
                Entry::Legacy { offset, .. } => {
                    self.stopped = Some(MirrorEnd::Foreign { expected, found: TargetOffset(*offset) });
                    return;
                }
            };
            if TargetOffset(meta.base_offset) >= self.end {
                break;
            }
            self.stopped = match self.tail.take(&self.plans, &self.producer_ids, meta) {
                Found::Foreign(found) => Some(MirrorEnd::Foreign { expected, found }),
                Found::Behind { acknowledged, found } => Some(MirrorEnd::Truncated { acknowledged, found }),
                Found::Before | Found::Own | Found::Marker(_) => None,
            };
            if self.stopped.is_some() {
                return;
            }
        }
        if self.tail.next_read == from {
            // The cleaner took the rest.
            self.tail.next_read = self.end;
        }
    }
}
