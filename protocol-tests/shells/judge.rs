//! What both logs hold, read without the code that is tested, and what the checker says to it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use twinlog_core::report::Side;
use twinlog_link::supervisor::LinkSetup;
use twinlog_link::translate::{Question, Translator};
use twinlog_link::verify::verify;
use twinlog_protocol_tests::checker::{
    Expect, MapTruth, SourceRecord, TargetRecord, Translated, check_copy, check_map,
};
use twinlog_sandbox::Sandbox;
use twinlog_wire::batch::{BatchMeta, ControlType, control_type, split_head, verify_crc};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::Records;

use crate::instance::mirror;
use crate::peer::{Reader, read};

/// More than any batch here.
const UNPACKED_BYTES_MAX: usize = 1 << 20;

/// All that one source partition ever held, also what is deleted by now.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    next: i64,
    records: Vec<SourceRecord>,
    /// Records of transactions that are open, by producer: places in `records`.
    open: BTreeMap<i64, Vec<usize>>,
}

impl Audit {
    /// Reads on to the end of the log.
    pub(crate) async fn read_on(&mut self, source: &Sandbox, at: (&str, i32)) {
        for (meta, batch) in read(source, at, self.next, Reader::Uncommitted).await {
            self.next = meta.next_offset();
            if meta.is_control() {
                let expect = match control_type(&batch).unwrap() {
                    ControlType::Commit => Expect::Required,
                    _ => Expect::Forbidden,
                };
                for place in self.open.remove(&meta.producer_id).unwrap_or_default() {
                    self.records[place].expect = expect;
                }
                continue;
            }
            for (offset, identity) in identities(&meta, &batch) {
                if meta.is_transactional() {
                    self.open.entry(meta.producer_id).or_default().push(self.records.len());
                }
                let expect = if meta.is_transactional() { Expect::Forbidden } else { Expect::Required };
                self.records.push(SourceRecord { offset, identity, expect });
            }
        }
    }

    /// The position behind the last record that is copied when this one is synced. Named rule `skipped tail`: of what
    /// is skipped behind it (markers, aborted records) the map hears only with the next progress mark, so a link that
    /// is killed before that asks for it again, and calls it a gap if it is gone.
    pub(crate) fn copied_before(&self, synced: i64) -> i64 {
        let copied = |record: &&SourceRecord| record.offset < synced && record.expect == Expect::Required;
        self.records.iter().rfind(copied).map_or(0, |record| record.offset + 1)
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }
}

/// Offset and content of each record. The bytes of the batch's body count as content of each of its records, so that
/// equal identities are equal bytes.
fn identities(meta: &BatchMeta, batch: &Bytes) -> Vec<(i64, u64)> {
    assert!(verify_crc(batch), "the checksum of the batch at {} is wrong", meta.base_offset);
    let (_, body) = split_head(batch).unwrap();
    let plain = decompress(meta.codec().unwrap(), &body, UNPACKED_BYTES_MAX).unwrap();
    let identity = |record: twinlog_wire::records::Record<'_>| {
        let mut hasher = DefaultHasher::new();
        (&body, meta.base_timestamp + record.timestamp_delta, record.key, record.value).hash(&mut hasher);
        (record.header_count, record.headers, record.offset_delta).hash(&mut hasher);
        (meta.base_offset + i64::from(record.offset_delta), hasher.finish())
    };
    Records::new(&plain, meta.record_count).map(|record| identity(record.unwrap())).collect()
}

async fn target_records(target: &Sandbox, at: (&str, i32), reader: Reader) -> Vec<TargetRecord> {
    let batches = read(target, at, 0, reader).await;
    let data = batches.iter().filter(|(meta, _)| !meta.is_control());
    let records = data.flat_map(|(meta, batch)| identities(meta, batch));
    records.map(|(offset, identity)| TargetRecord { offset, identity }).collect()
}

/// Judges a partition of which everything must be on the target; how many records there are.
pub(crate) async fn judge(
    (source, target): (&Sandbox, &Sandbox),
    audit: &Audit,
    (topic, partition): (&str, i32),
    setup: &LinkSetup,
) -> Result<usize, String> {
    let at = |wrong: String| format!("{topic}:{partition}: {wrong}");
    let mirror = mirror(topic);
    let found = target_records(target, (&mirror, partition), Reader::Committed).await;
    let pairs = check_copy(&audit.records, &found, true).map_err(at)?;
    let uncommitted = target_records(target, (&mirror, partition), Reader::Uncommitted).await;
    if found != uncommitted {
        return Err(at("the two kinds of readers of the mirror see different records".to_owned()));
    }
    let ask = async |side: Side, topic: &str| {
        let question = Question { side, topic: topic.to_owned(), partition, offset: 0 };
        Translator::open(setup, &question).await.map_err(|failure| at(format!("the map: {failure:?}")))
    };
    let answer = |translator: &Translator, position| match translator.translate(position) {
        Ok(answer) => Translated::from(answer.answer),
        Err(failure) => panic!("{topic}:{partition}: {position}: {failure:?}"),
    };
    let (source_start, synced) = source.offsets(topic, partition).unwrap();
    // A link that runs may write a marker between two looks at its map.
    let (forward, backward) = loop {
        let (forward, backward) = (ask(Side::Source, topic).await?, ask(Side::Target, &mirror).await?);
        if answer(&forward, synced) == answer(&ask(Side::Source, topic).await?, synced) {
            break (forward, backward);
        }
    };
    let Translated::End(next_target) = answer(&forward, synced) else {
        return Err(at(format!("the end {synced} translates to {:?}", answer(&forward, synced))));
    };
    let kept = pairs.iter().find(|pair| pair.source >= source_start);
    let truth = MapTruth {
        pairs: &pairs,
        source_start: 0,
        synced,
        // What is before is clamped to the source's start.
        target_start: kept.map_or(next_target, |pair| pair.target),
        next_target,
    };
    check_map(truth, |position| answer(&forward, position), |position| answer(&backward, position)).map_err(at)?;
    Ok(pairs.len())
}

/// `verify` must find no difference.
pub(crate) async fn verify_all(setup: &LinkSetup, partitions: usize) -> Result<(), String> {
    let report = verify(setup, &[], &|_| {}).await.map_err(|failure| format!("verify: {failure:?}"))?;
    match report.partitions.iter().find(|verdict| verdict.difference.is_some()) {
        Some(verdict) => Err(format!("verify: {verdict:?}")),
        None if report.partitions.len() != partitions => {
            Err(format!("verify has compared {} partitions of {partitions}", report.partitions.len()))
        }
        None => Ok(()),
    }
}
