//! Reading any log part by part: the map's topic, a mirror's tail, both sides of `verify`.

use std::time::Duration;

use bytes::Bytes;
use twinlog_client::admin::{IsolationLevel, OffsetAt, TopicPartition};
use twinlog_client::{Cause, Cluster, Error, ErrorCode, Outcome, Peer, Purpose, Result, Step};
use twinlog_core::ids::TopicId;
use twinlog_wire::batch::{Batches, Entry};
use twinlog_wire::fetch_response::AbortedTransaction;

use crate::fetch::{Limits, Want, fetch};

/// Which log is read, and how.
#[derive(Clone, Debug)]
pub struct LogReader {
    /// The cluster.
    pub cluster: Cluster,
    /// The lane whose connections are used.
    pub lane: u32,
    /// Topic and partition.
    pub at: TopicPartition,
    /// The topic's id, all zero where the broker has none.
    pub topic_id: TopicId,
    /// Which records are seen.
    pub isolation: IsolationLevel,
    /// How long the broker may wait for something to come.
    pub max_wait: Duration,
}

/// A part of a log.
#[derive(Clone, Debug)]
pub struct LogPart {
    /// What is there from the asked offset on; the first batch may begin before it.
    pub entries: Vec<Entry>,
    /// Aborted transactions that overlap it, for read-committed reads.
    pub aborted: Vec<AbortedTransaction>,
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable: i64,
}

/// What one read gave.
#[derive(Debug)]
pub enum LogRead {
    /// A part, possibly empty.
    Part(LogPart),
    /// The asked offset is outside of the log.
    OutOfRange {
        /// Log start.
        start: i64,
        /// High watermark.
        end: i64,
    },
}

/// Bytes that one read asks for.
const READ_BYTES: i32 = 1 << 20;

impl LogReader {
    /// Reads from `from` on.
    pub async fn read(&self, from: i64) -> Result<LogRead> {
        let metadata = self.cluster.metadata().await?;
        let leader = metadata.leader(&self.at.topic, self.at.partition);
        let Some(leader) = leader else { return Err(self.error(ErrorCode::LEADER_NOT_AVAILABLE)) };
        let connection = self.cluster.connection(leader, Purpose::Fetch, self.lane).await?;
        let want = Want {
            topic: self.at.topic.clone(),
            topic_id: self.topic_id,
            partition: self.at.partition,
            from,
            last_epoch: -1,
        };
        let limits = Limits {
            max_bytes: READ_BYTES,
            partition_max_bytes: READ_BYTES,
            max_wait: self.max_wait,
            isolation: self.isolation,
        };
        let mut found = fetch(&connection, &[want], limits).await?;
        let Some((_, partition)) = found.pop() else {
            return Err(self.error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        match partition.error {
            ErrorCode::NONE => Ok(LogRead::Part(LogPart {
                entries: self.entries(partition.records)?,
                aborted: partition.aborted,
                high_watermark: partition.high_watermark,
                last_stable: partition.last_stable_offset,
            })),
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                let (start, end) = (self.offset(OffsetAt::Earliest).await?, self.offset(OffsetAt::Latest).await?);
                Ok(LogRead::OutOfRange { start, end })
            }
            code => Err(self.error(code)),
        }
    }

    /// The log's start, or its high watermark.
    pub async fn offset(&self, at: OffsetAt) -> Result<i64> {
        let asked = [(self.at.clone(), at)].into();
        let mut answer = self.cluster.list_offsets(&asked, IsolationLevel::ReadUncommitted).await?;
        match answer.remove(&self.at) {
            Some(listed) => Ok(listed?.offset.unwrap_or_default()),
            None => Err(self.error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
        }
    }

    fn entries(&self, records: Bytes) -> Result<Vec<Entry>> {
        let entries: Result<Vec<_>, _> = Batches::new(records).collect();
        entries.map_err(|e| self.failure(Cause::Decode(e.to_string())))
    }

    fn error(&self, code: ErrorCode) -> Error {
        self.failure(Cause::Code { code, item: Some(self.at.to_string()), message: None })
    }

    fn failure(&self, cause: Cause) -> Error {
        let peer = Peer { side: self.cluster.side(), node: None, address: "".into() };
        Error::new(peer, Step::Api(1), Outcome::Answered, cause)
    }
}
