use bytes::Bytes;
use twinlog_core::config::Timestamps;
use twinlog_core::ids::{SourceOffset, TargetOffset};
use twinlog_core::offset_map::{Extent, OffsetMap, Range};
use twinlog_core::report::{Difference, Side};
use twinlog_wire::batch::{BatchMeta, Batches, Codec, ControlType, Entry};
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::fetch_response::AbortedTransaction;
use twinlog_wire::patch::Stamp;

use super::compare::{Comparison, Step, Subject, Tally};
use crate::log::LogPart;

const PRODUCER: Stamp = Stamp { producer_id: 7, producer_epoch: 0, base_sequence: 0 };

fn options(base_offset: i64) -> BatchOptions {
    BatchOptions { base_offset, leader_epoch: 0, stamp: PRODUCER, ..Default::default() }
}

fn entry(bytes: Bytes) -> Entry {
    Entry::V2(BatchMeta::parse(&bytes).unwrap(), bytes)
}

/// A batch of the records with these numbers; `None` leaves an offset out.
fn batch(options: BatchOptions, numbers: &[Option<u32>]) -> Entry {
    let mut builder = BatchBuilder::new(options);
    for number in numbers {
        let Some(number) = number else {
            builder.skip(1);
            continue;
        };
        let value = format!("value {number}");
        let record = NewRecord {
            timestamp: i64::from(*number) * 10,
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: &[("h", None)],
        };
        builder.push(&record);
    }
    entry(builder.finish().unwrap())
}

/// Records numbered from `first` on.
fn dense(base_offset: i64, first: u32, count: u32) -> Entry {
    batch(options(base_offset), &(first..first + count).map(Some).collect::<Vec<_>>())
}

fn marker(base_offset: i64, control_type: ControlType) -> Entry {
    entry(BatchBuilder::marker(options(base_offset), control_type, 0, 0).unwrap())
}

fn part(entries: Vec<Entry>) -> LogPart {
    LogPart { entries, aborted: Vec::new(), high_watermark: 0, last_stable: 0 }
}

/// Ranges as (source, target, length).
fn subject(ranges: &[(i64, i64, u64)], synced: i64, next_target: i64) -> Subject {
    let mut map = OffsetMap::new();
    for &(source, target, len) in ranges {
        let range = Range { source_start: SourceOffset(source), target_start: TargetOffset(target), len };
        map.append(range).unwrap();
    }
    let extent = Extent { synced: SourceOffset(synced), next_target: TargetOffset(next_target) };
    Subject { map, extent, timestamps: Timestamps::Append, source_compacts: false, target_compacts: false }
}

fn compare_from(
    subject: Subject,
    starts: (i64, i64),
    source: Vec<LogPart>,
    target: Vec<LogPart>,
) -> (Tally, Option<Difference>) {
    let mut comparison = Comparison::new(subject, SourceOffset(starts.0), TargetOffset(starts.1));
    let (mut source, mut target) = (source.into_iter(), target.into_iter());
    loop {
        match comparison.step() {
            Step::Done => return (comparison.tally(), None),
            Step::Differs(difference) => return (comparison.tally(), Some(difference)),
            Step::Need(side) => {
                let (parts, from) = match side {
                    Side::Source => (&mut source, starts.0),
                    Side::Target => (&mut target, starts.1),
                };
                match parts.next() {
                    Some(part) => comparison.feed(side, from, part),
                    None => comparison.finish(side),
                }
            }
        }
    }
}

fn compare(subject: Subject, source: Vec<Entry>, target: Vec<Entry>) -> (Tally, Option<Difference>) {
    // One batch a part: what is compared does not depend on how the logs were cut.
    let parts = |entries: Vec<Entry>| entries.into_iter().map(|entry| part(vec![entry])).collect();
    let cut = compare_from(clone(&subject), (0, 0), parts(source.clone()), parts(target.clone()));
    let whole = compare_from(subject, (0, 0), vec![part(source)], vec![part(target)]);
    assert_eq!(cut, whole);
    whole
}

fn clone(subject: &Subject) -> Subject {
    Subject { map: subject.map.clone(), ..*subject }
}

fn differs(at: (i64, i64), what: &str) -> Option<Difference> {
    Some(Difference { source_offset: at.0, target_offset: at.1, what: what.into() })
}

#[test]
fn equal_batches_are_compared_as_they_are_and_markers_passed_over() {
    let source = vec![dense(0, 0, 5), marker(5, ControlType::Commit), dense(6, 5, 3)];
    let target = vec![marker(0, ControlType::Commit), dense(1, 0, 5), dense(6, 5, 3)];
    let found = compare(subject(&[(0, 1, 5), (6, 6, 3)], 9, 9), source, target);
    assert_eq!(found, (Tally { batches_by_checksum: 2, batches_by_record: 0, records: 8 }, None));
}

#[test]
fn what_was_packed_anew_is_compared_record_by_record() {
    // Offsets 1 and 4 were compacted away before they were copied.
    let holes = [Some(0), None, Some(2), Some(3), None];
    let source = vec![batch(options(0), &holes), dense(5, 5, 2)];
    let target = vec![batch(options(1), &[Some(0), Some(2), Some(3)]), dense(4, 5, 2)];
    let ranges = [(0, 1, 1), (2, 2, 2), (5, 4, 2)];
    let found = compare(subject(&ranges, 7, 6), source.clone(), target);
    assert_eq!(found, (Tally { batches_by_checksum: 1, batches_by_record: 1, records: 5 }, None));

    let target = vec![batch(options(1), &[Some(0), Some(2), Some(4)]), dense(4, 5, 2)];
    let (_, difference) = compare(subject(&ranges, 7, 6), source, target);
    assert_eq!(difference, differs((3, 3), "timestamp 30 is 40 on the target"));
}

#[test]
fn aborted_records_are_expected_to_be_absent() {
    let aborted = |base, first, count| {
        let options = BatchOptions { transactional: true, ..options(base) };
        batch(options, &(first..first + count).map(Some).collect::<Vec<_>>())
    };
    let mut source = part(vec![aborted(0, 90, 4), marker(4, ControlType::Abort), dense(5, 0, 3)]);
    let target = || part(vec![dense(1, 0, 3)]);
    let subject = || subject(&[(5, 1, 3)], 8, 4);
    let (_, difference) = compare_from(subject(), (0, 0), vec![source.clone()], vec![target()]);
    assert_eq!(difference, differs((0, 1), "the source has a record that was not copied"));
    source.aborted.push(AbortedTransaction { producer_id: 7, first_offset: 0 });
    let (tally, difference) = compare_from(subject(), (0, 0), vec![source], vec![target()]);
    assert_eq!((tally.records, difference), (3, None));
}

#[test]
fn the_record_that_differs_is_named_by_both_offsets() {
    let one = |numbers: &[u32]| {
        let numbers: Vec<_> = numbers.iter().copied().map(Some).collect();
        vec![batch(options(3), &numbers)]
    };
    let mut changed = BatchBuilder::new(options(11));
    for value in [&b"value 0"[..], b"value X"] {
        let timestamp = if value == b"value 0" { 0 } else { 10 };
        changed.push(&NewRecord { timestamp, key: Some(b"k"), value: Some(value), headers: &[("h", None)] });
    }
    let found = compare(subject(&[(3, 11, 2)], 5, 13), one(&[0, 1]), vec![entry(changed.finish().unwrap())]);
    let difference = found.1.unwrap();
    assert_eq!((difference.source_offset, difference.target_offset), (4, 12));
    assert!(difference.what.starts_with("value: 7 bytes with hash "), "{}", difference.what);
}

#[test]
fn other_bytes_of_the_same_records_are_a_difference_unless_a_cleaner_wrote_them() {
    let source = vec![dense(0, 0, 40)];
    let packed = BatchOptions { codec: Codec::Lz4, ..options(1) };
    let target = vec![batch(packed, &(0..40).map(Some).collect::<Vec<_>>())];
    let strict = subject(&[(0, 1, 40)], 40, 41);
    let lenient = Subject { target_compacts: true, ..clone(&strict) };
    let (_, difference) = compare(strict, source.clone(), target.clone());
    assert_eq!(difference, differs((0, 1), "codec bits 0 is 3 on the target"));
    let (tally, difference) = compare(lenient, source, target);
    assert_eq!((tally.records, tally.batches_by_record, difference), (40, 1, None));
}

#[test]
fn a_damaged_batch_is_named_by_its_side() {
    let damage = |entry: Entry| {
        let Entry::V2(_, bytes) = entry else { unreachable!("the builder makes v2") };
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        self::entry(bytes.into())
    };
    let subject = || subject(&[(0, 1, 3)], 3, 4);
    let (_, difference) = compare(subject(), vec![dense(0, 0, 3)], vec![damage(dense(1, 0, 3))]);
    assert_eq!(difference, differs((0, 1), "on the target: the batch is damaged: its CRC does not fit"));
    let (_, difference) = compare(subject(), vec![damage(dense(0, 0, 3))], vec![dense(1, 0, 3)]);
    assert_eq!(difference, differs((0, 1), "on the source: the batch is damaged: its CRC does not fit"));
    // The same where the batches do not line up.
    let (_, difference) = compare(subject(), vec![damage(dense(0, 0, 3))], vec![dense(1, 0, 2), dense(3, 2, 1)]);
    assert_eq!(difference, differs((0, 1), "on the source: the batch is damaged: its CRC does not fit"));
}

#[test]
fn missing_and_foreign_records_are_differences() {
    let ranges = [(0, 1, 4)];
    let source = || vec![dense(0, 0, 4)];
    let (_, difference) = compare(subject(&ranges, 4, 5), source(), vec![dense(1, 0, 2)]);
    assert_eq!(difference, differs((2, 3), "the record of the source is not on the target"));
    let (_, difference) = compare(subject(&ranges, 4, 5), vec![dense(0, 0, 2)], vec![dense(1, 0, 4)]);
    assert_eq!(difference, differs((2, 3), "the record of the target is not on the source"));
    // Between two ranges the target has an offset that the map does not know.
    let foreign = vec![dense(1, 0, 2), dense(3, 77, 1), dense(4, 2, 2)];
    let (_, difference) = compare(subject(&[(0, 1, 2), (2, 4, 2)], 4, 6), source(), foreign);
    assert_eq!(difference, differs((2, 3), "the target has a record that this link did not write"));
}

#[test]
fn a_cleaner_may_take_records_out_of_its_own_side_only() {
    let ranges = [(0, 1, 6)];
    let subject =
        |source_compacts, target_compacts| Subject { source_compacts, target_compacts, ..subject(&ranges, 6, 7) };
    let whole = |base| vec![dense(base, 0, 6)];
    let cleaned = |base| vec![batch(options(base), &[None, Some(1), None, Some(3), Some(4), None])];
    let missing = differs((0, 1), "the record of the source is not on the target");
    let invented = differs((0, 1), "the record of the target is not on the source");
    assert_eq!(compare(subject(false, true), whole(0), cleaned(1)).1, None);
    assert_eq!(compare(subject(true, false), whole(0), cleaned(1)).1, missing);
    assert_eq!(compare(subject(true, false), cleaned(0), whole(1)).1, None);
    assert_eq!(compare(subject(false, true), cleaned(0), whole(1)).1, invented);
}

#[test]
fn what_lies_before_a_logs_start_is_not_compared() {
    // The source's log starts at 2, inside of its first batch; the target's still has all.
    let subject = || subject(&[(0, 1, 8)], 8, 9);
    let source = || vec![part(vec![dense(0, 0, 4), dense(4, 4, 4)])];
    let target = || vec![part(vec![dense(1, 0, 4), dense(5, 4, 4)])];
    let (tally, difference) = compare_from(subject(), (2, 3), source(), target());
    assert_eq!((tally.records, tally.batches_by_checksum, difference), (6, 1, None));

    // Retention takes the target's first batch away while it is compared.
    let mut comparison = Comparison::new(subject(), SourceOffset(0), TargetOffset(1));
    let mut source = source().into_iter();
    let mut starts = [None, Some(5)].into_iter();
    loop {
        match comparison.step() {
            Step::Need(Side::Source) => match source.next() {
                Some(part) => comparison.feed(Side::Source, 0, part),
                None => comparison.finish(Side::Source),
            },
            Step::Need(Side::Target) => match starts.next() {
                Some(None) => comparison.starts_at(Side::Target, 5),
                Some(Some(from)) => comparison.feed(Side::Target, from, part(vec![dense(5, 4, 4)])),
                None => comparison.finish(Side::Target),
            },
            Step::Done => break,
            Step::Differs(difference) => unreachable!("{difference:?}"),
        }
    }
    assert_eq!(comparison.tally().records, 4);
}

#[test]
fn nothing_behind_the_extent_is_compared() {
    let source = vec![dense(0, 0, 4), dense(4, 4, 4)];
    let target = vec![dense(1, 0, 4), dense(5, 99, 4)];
    let (tally, difference) = compare(subject(&[(0, 1, 4)], 4, 5), source, target);
    assert_eq!((tally.records, difference), (4, None));
}

#[test]
fn append_times_count_as_consumers_see_them_or_create_times_where_the_link_copies_those() {
    let source = vec![batch(BatchOptions { append_time: Some(500), ..options(0) }, &[Some(0), Some(1)])];
    let stamped = |timestamps: [i64; 2]| {
        let mut builder = BatchBuilder::new(options(1));
        for (timestamp, value) in timestamps.into_iter().zip([&b"value 0"[..], b"value 1"]) {
            builder.push(&NewRecord { timestamp, key: Some(b"k"), value: Some(value), headers: &[("h", None)] });
        }
        vec![entry(builder.finish().unwrap())]
    };
    let subject = || subject(&[(0, 1, 2)], 2, 3);
    assert_eq!(compare(subject(), source.clone(), stamped([500, 500])).1, None);
    let (_, difference) = compare(subject(), source.clone(), stamped([500, 10]));
    assert_eq!(difference, differs((1, 2), "timestamp 500 is 10 on the target"));
    let subject = || Subject { timestamps: Timestamps::Create, ..subject() };
    assert_eq!(compare(subject(), source.clone(), stamped([0, 10])).1, None);
    let (_, difference) = compare(subject(), source, stamped([0, 500]));
    assert_eq!(difference, differs((1, 2), "timestamp 10 is 500 on the target"));
}

#[test]
fn an_old_format_is_compared_record_by_record() {
    let message = |offset: i64, timestamp: i64, value: &[u8]| {
        let lengths = [1i32, i32::try_from(value.len()).unwrap()].map(i32::to_be_bytes);
        // Magic and attributes.
        let covered = [&[1, 0][..], &timestamp.to_be_bytes(), &lengths[0], b"k", &lengths[1], value].concat();
        let size = i32::try_from(covered.len() + 4).unwrap();
        [&offset.to_be_bytes()[..], &size.to_be_bytes(), &crc32fast::hash(&covered).to_be_bytes(), &covered].concat()
    };
    let source = |value: &[u8]| {
        let set = [message(2, 20, b"value 2"), message(5, 30, value)].concat();
        vec![part(vec![dense(0, 0, 2)]), part(Batches::new(set.into()).map(Result::unwrap).collect())]
    };
    let plain = |base_offset: i64, timestamp: i64, value: &[u8]| {
        let mut builder = BatchBuilder::new(options(base_offset));
        builder.push(&NewRecord { timestamp, key: Some(b"k"), value: Some(value), headers: &[] });
        entry(builder.finish().unwrap())
    };
    let target = || vec![part(vec![dense(1, 0, 2), plain(3, 20, b"value 2"), plain(4, 30, b"value 3")])];
    let subject = || subject(&[(0, 1, 3), (5, 4, 1)], 6, 5);
    let (tally, difference) = compare_from(subject(), (0, 0), source(b"value 3"), target());
    assert_eq!((tally.records, difference), (4, None));
    let (tally, difference) = compare_from(subject(), (0, 0), source(b"other"), target());
    assert_eq!(tally.records, 4);
    let difference = difference.unwrap();
    assert_eq!((difference.source_offset, difference.target_offset), (5, 4));
    assert!(difference.what.starts_with("value: 5 bytes"), "{}", difference.what);
}
