//! A link's logs, written by hand.

use bytes::Bytes;
use twinlog_client::admin::{ProducerId, TopicPartition};
use twinlog_core::ids::{Producer, SourceOffset, TargetOffset};
use twinlog_core::map_record::{Came, Chunk, Head, LinkRecord, MapRecord, PartitionKey, Plan, PlanList, Released};
use twinlog_core::offset_map::{Extent, Range};
use twinlog_core::resolution::Lost;
use twinlog_link::names;
use twinlog_link::supervisor::LinkSetup;
use twinlog_wire::batch::Codec;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
use twinlog_wire::patch::Stamp;

use crate::kit::{begin, create, finish, init, produce, setup};

/// A link with one source partition, its mirror and its map:
///
/// | source | 0 to 4 | 5 to 7 aborted | 8 marker | 9 to 11 |
/// |---|---|---|---|---|
/// | mirror | 1 to 5 (0 is a marker) | | | 6 to 8 |
pub(crate) struct Written {
    pub(crate) setup: LinkSetup,
    pub(crate) topic: String,
    pub(crate) mirror: String,
    source_id: [u8; 16],
    mirror_id: [u8; 16],
    owner: ProducerId,
}

/// The lane that the partition is in at first; the other one is 0.
pub(crate) const LANE: i32 = 1;
pub(crate) const SYNCED: i64 = 12;
pub(crate) const NEXT_TARGET: i64 = 9;

/// What of the copy the map's newest head knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head0 {
    /// Nothing: the mirror's own log says it, as after kill -9.
    Fresh,
    /// Everything; its first range is in a chunk.
    Complete,
}

fn range(source: i64, target: i64, len: u64) -> Range {
    Range { source_start: SourceOffset(source), target_start: TargetOffset(target), len }
}

fn chunk(key: PartitionKey) -> MapRecord {
    MapRecord::Chunk(key, 0, Chunk { ranges: vec![range(0, 1, 5)] })
}

pub(crate) fn batch(options: BatchOptions, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        let record =
            NewRecord { timestamp: 1_000, key: Some(b"k"), value: Some(value.as_bytes()), ..Default::default() };
        builder.push(&record);
    }
    builder.finish().unwrap()
}

fn stamp(producer: ProducerId, base_sequence: i32) -> Stamp {
    Stamp { producer_id: producer.id, producer_epoch: producer.epoch, base_sequence }
}

impl Written {
    /// The records on the mirror are `copies`, which is what the source has where the copy is good.
    pub(crate) async fn new(link: &str, head: Head0, copies: [&[&str]; 2]) -> Self {
        let topic = format!("{link}.orders");
        let mirror = format!("{topic}.twin");
        let setup = setup(link, &topic);
        let (source, target) = (&setup.source, setup.target.clone());
        let target = &target;
        let source_id = create(source, &topic, 1).await;
        let mirror_id = create(target, &mirror, 1).await;
        create(target, &names::map_topic(link), 2).await;
        let at = TopicPartition::new(topic.as_str(), 0);
        produce(source, &topic, 0, batch(BatchOptions::default(), &["a", "b", "c", "d", "e"]), None).await;
        let (id, rest) = (format!("{link}-app"), BatchOptions { codec: Codec::Zstd, ..Default::default() });
        let application = init(source, &id).await;
        begin(source, &id, application, &at).await;
        let options = BatchOptions { transactional: true, stamp: stamp(application, 0), ..Default::default() };
        produce(source, &topic, 0, batch(options, &["x", "y", "z"]), Some(&id)).await;
        finish(source, &id, application, false, (&at, 9)).await;
        produce(source, &topic, 0, batch(rest, &["f", "g", "h"]), None).await;

        let owner = init(target, &format!("owner-{link}")).await;
        let written = Self { setup, topic, mirror, source_id, mirror_id, owner };
        written.fence(0).await;
        written
            .write(&[MapRecord::Link(LinkRecord {
                link: link.to_owned(),
                source_cluster: "a".into(),
                target_cluster: "b".into(),
            })])
            .await;
        written.write(&[written.head((0, 0), None, 0, vec![])]).await;
        let plans = [(0, 0), (5, 9)].map(|(sequence, source)| (written.key(), written.plan(sequence, source)));
        written.write(&[MapRecord::Plans(0, PlanList { entries: plans.into() })]).await;
        for (sequence, (values, codec)) in [0, 5].into_iter().zip(copies.into_iter().zip([Codec::None, Codec::Zstd])) {
            let options = BatchOptions { codec, stamp: stamp(owner, sequence), ..Default::default() };
            produce(target, &written.mirror, 0, batch(options, values), None).await;
        }
        if head == Head0::Complete {
            written.write(&[chunk(written.key()), written.complete()]).await;
        }
        written
    }

    /// A copy as it should be.
    pub(crate) async fn good(link: &str, head: Head0) -> Self {
        Self::new(link, head, [&["a", "b", "c", "d", "e"], &["f", "g", "h"]]).await
    }

    pub(crate) fn key(&self) -> PartitionKey {
        PartitionKey { topic: self.topic.clone(), partition: 0 }
    }

    /// A marker of the owner in the mirror, at this offset.
    pub(crate) async fn fence(&self, offset: i64) {
        let (target, id) = (&self.setup.target, format!("owner-{}", self.setup.name));
        let at = TopicPartition::new(self.mirror.as_str(), 0);
        begin(target, &id, self.owner, &at).await;
        finish(target, &id, self.owner, true, (&at, offset + 1)).await;
    }

    fn plan(&self, sequence: i32, source: i64) -> Plan {
        let producer = Producer { id: self.owner.id, epoch: self.owner.epoch };
        let (source_start, target_start) = (SourceOffset(source), TargetOffset(1 + i64::from(sequence)));
        Plan { producer, sequence, source_start, target_start, leader_epoch: 0 }
    }

    fn head(&self, extent: (i64, i64), cursor: Option<Plan>, chunks: u64, ranges: Vec<Range>) -> MapRecord {
        let head = Head {
            source_topic_id: self.source_id,
            target_topic: self.mirror.clone(),
            target_topic_id: self.mirror_id,
            extent: Extent { synced: SourceOffset(extent.0), next_target: TargetOffset(extent.1) },
            leader_epoch: 0,
            verified_epoch: 0,
            cursor,
            first_chunk: 0,
            chunks,
            pruned: None,
            ranges,
            resolved: 0,
            lost: Lost::default(),
        };
        MapRecord::Head(self.key(), head)
    }

    /// The lane lets go of the partition, with all of the copy in its head.
    pub(crate) async fn release(&self) {
        let released = MapRecord::Released(self.key(), Some(Released { to: 0, number: 1 }));
        self.write(&[self.complete(), released]).await;
    }

    /// The other lane takes the partition over.
    pub(crate) async fn adopt(&self) {
        let came = MapRecord::Came(self.key(), Some(Came { number: 1, earlier: vec![self.owner.id] }));
        self.write_to(0, &[chunk(self.key())]).await;
        self.write_to(0, &[came, self.complete()]).await;
    }

    /// The lane that let go of the partition says nothing of it any more.
    pub(crate) async fn forget(&self) {
        let key = || self.key();
        self.write(&[MapRecord::HeadGone(key()), MapRecord::Halt(key(), None), MapRecord::Released(key(), None)]).await;
        self.write(&[MapRecord::ChunkGone(key(), 0)]).await;
    }

    /// A head that knows of all of the copy; its first range is in a chunk.
    fn complete(&self) -> MapRecord {
        self.head((SYNCED, NEXT_TARGET), Some(self.plan(8, SYNCED)), 1, vec![range(9, 6, 3)])
    }

    /// Appends records to the link's map, as one compressed batch.
    pub(crate) async fn write(&self, records: &[MapRecord]) {
        self.write_to(LANE, records).await;
    }

    async fn write_to(&self, lane: i32, records: &[MapRecord]) {
        let encoded: Vec<_> = records.iter().map(MapRecord::encode).collect();
        let records: Vec<_> = encoded.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
        self.write_raw(lane, &records).await;
    }

    pub(crate) async fn write_raw(&self, lane: i32, records: &[(&[u8], Option<&[u8]>)]) {
        // Without sequences: only the id in it counts.
        let mut builder = BatchBuilder::new(BatchOptions { codec: Codec::Lz4, ..Default::default() });
        for (key, value) in records {
            builder.push(&NewRecord { key: Some(key), value: *value, ..Default::default() });
        }
        let topic = names::map_topic(&self.setup.name);
        produce(&self.setup.target, &topic, lane, builder.finish().unwrap(), None).await;
    }

    /// A record in the mirror that the link did not write; its offset.
    pub(crate) async fn foreign(&self) -> i64 {
        produce(&self.setup.target, &self.mirror, 0, batch(BatchOptions::default(), &["foreign"]), None).await
    }
}
