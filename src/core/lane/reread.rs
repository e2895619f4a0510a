//! Older ranges, which leave memory once they are in the map, read back from it: a mirror that lost more than its
//! newest ranges needs them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Lane, Timer};
use crate::ids::{Now, TargetOffset};
use crate::io::{LanePartition, MapEntry, ReadResult};
use crate::map_record::MapRecord;
use crate::offset_map::Range;

/// A pass over the map's log that gathers chunks.
#[derive(Debug)]
pub(super) struct Reread {
    pub(super) next: TargetOffset,
    /// Who waits, and behind which offset its ranges are wanted.
    wanted: BTreeMap<LanePartition, TargetOffset>,
    found: BTreeMap<(LanePartition, u64), Vec<Range>>,
}

impl Lane {
    /// Begins a pass, or begins the present one anew: it may have gone past what is wanted.
    pub(super) fn want_chunks(&mut self, id: LanePartition, behind: TargetOffset) {
        let mut wanted = self.reread.take().map(|reread| reread.wanted).unwrap_or_default();
        wanted.insert(id, behind);
        self.reread = Some(Reread { next: TargetOffset(0), wanted, found: BTreeMap::new() });
        self.read_map();
    }

    pub(super) fn chunks_reread(&mut self, now: Now, from: TargetOffset, result: ReadResult<MapEntry>) {
        let Some(reread) = self.reread.as_mut().filter(|reread| reread.next == from) else { return };
        match result {
            ReadResult::Entries { entries, next } => {
                for entry in entries {
                    let MapEntry::Record { key, value, .. } = entry else { continue };
                    // What cannot be read was refused when the lane was taken.
                    let Ok(Some(MapRecord::Chunk(key, number, chunk))) = MapRecord::decode(&key, value.as_deref())
                    else {
                        continue;
                    };
                    let id = self.by_key.get(&key).filter(|id| reread.wanted.contains_key(id));
                    if let Some((id, behind)) = id.and_then(|id| Some((*id, *reread.wanted.get(id)?)))
                        && chunk.ranges.last().is_some_and(|last| last.target_end() > behind)
                    {
                        reread.found.insert((id, number), chunk.ranges);
                    }
                }
                if next > reread.next {
                    reread.next = next;
                    self.attempt = 0;
                    return self.read_map();
                }
                self.give_chunks(now);
            }
            ReadResult::OutOfRange { start, .. } if start > reread.next => {
                reread.next = start;
                self.read_map();
            }
            ReadResult::OutOfRange { .. } => self.set_backoff(now, Timer::ReadMap),
            ReadResult::Failed(failure) => self.retry(now, failure, "reading the map", Timer::ReadMap),
        }
    }

    /// The log is read to its end: everybody gets what it waits for. A chunk that is still on its way is waited for.
    fn give_chunks(&mut self, now: Now) {
        let Some(mut reread) = self.reread.take() else { return };
        for (id, behind) in core::mem::take(&mut reread.wanted) {
            // One that stopped meanwhile may be in another lane by now, and its chunks out of this map.
            let Some(partition) = self.partition(id).filter(|partition| partition.is_cut()) else { continue };
            let numbers = partition.chunk_numbers_behind(behind);
            let chunks = numbers.map(|number| reread.found.remove(&(id, number)));
            match chunks.collect::<Option<Vec<_>>>() {
                Some(chunks) => self.with(now, id, |partition, context| partition.chunks_read(context, chunks)),
                None => drop(reread.wanted.insert(id, behind)),
            }
        }
        if let Some(begun) = &mut self.reread {
            // Somebody wants more: that pass is for all.
            begun.wanted.extend(reread.wanted);
        } else if !reread.wanted.is_empty() {
            self.reread = Some(Reread { next: TargetOffset(0), found: BTreeMap::new(), ..reread });
            self.set_backoff(now, Timer::ReadMap);
        }
    }
}
