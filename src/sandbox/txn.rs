//! The transaction coordinator: who owns a transactional id, what its transaction touches, when its markers are due.
//!
//! ```text
//! Empty ── add ──► Ongoing ── end ──► Ending (markers are written) ──► Complete ── add ──► Ongoing
//!   ▲                  └── init, time-out: abort under the next epoch ──┘          │
//!   └───────────────────────────────── init ───────────────────────────────────────┘
//! ```
//! It is the coordinator of transactions before KIP-890 (`transaction.version` 1), as clients up to EndTxn v4 see it.
//! EndTxn answers before the markers are written, and InitProducerId alone fences nothing: only a marker or data of the
//! new epoch in a partition does.
//!
//! Source: `TransactionCoordinator`, `TransactionMetadata`.

use std::collections::{BTreeMap, BTreeSet};

use twinlog_wire::error_code::ErrorCode;

/// A producer's id and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    Ending { commit: bool },
    Complete { commit: bool },
}

/// No epoch was given yet, or none can be asked for again.
const NO_EPOCH: i16 = -1;
/// From this epoch on the next owner gets another producer id.
const LAST_EPOCH: i16 = i16::MAX - 1;

#[derive(Clone, Debug)]
struct Transaction {
    producer: Producer,
    /// The epoch before a bump whose answer may have been lost: who still names it gets the present one again.
    last_epoch: i16,
    /// The producer id before the epochs ran out.
    former_id: Option<i64>,
    state: State,
    timeout_ms: u64,
    /// In ms of elapsed time.
    began_ms: u64,
    markers_due_ms: u64,
    partitions: BTreeSet<(String, i32)>,
    groups: BTreeSet<String>,
}

/// What ends with a transaction now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) transactional_id: String,
    pub(crate) producer: Producer,
    pub(crate) commit: bool,
    pub(crate) partitions: Vec<(String, i32)>,
    pub(crate) groups: Vec<String>,
}

/// All transactional ids.
#[derive(Clone, Debug)]
pub(crate) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    next_producer_id: i64,
    /// How long after EndTxn's answer the markers are written.
    marker_delay_ms: u64,
}

impl Transactions {
    pub(crate) fn new(marker_delay_ms: u64) -> Self {
        // Any start would do; one that is no offset and no epoch makes mix-ups visible.
        Self { by_id: BTreeMap::new(), next_producer_id: 4000, marker_delay_ms }
    }

    /// A producer id that nobody had before.
    pub(crate) fn new_producer(&mut self) -> Producer {
        let id = self.next_producer_id;
        self.next_producer_id += 1;
        Producer { id, epoch: 0 }
    }

    /// InitProducerId. With `expected` it succeeds only for the present owner, or for who repeats its last request.
    pub(crate) fn init(
        &mut self,
        transactional_id: &str,
        expected: Option<Producer>,
        timeout_ms: u64,
        now_ms: u64,
    ) -> Result<Producer, ErrorCode> {
        if !self.by_id.contains_key(transactional_id) {
            let id = self.new_producer().id;
            self.by_id.insert(transactional_id.to_owned(), Transaction::new(id));
        }
        let delay = self.marker_delay_ms;
        let next_id = self.next_producer_id;
        let Some(transaction) = self.by_id.get_mut(transactional_id) else {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        };
        if expected.is_some_and(|expected| !transaction.is_valid(expected)) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        match transaction.state {
            State::Ending { .. } => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            // The expected epoch is not looked at here (`prepareInitProducerIdTransit`): even a zombie aborts.
            State::Ongoing => {
                transaction.abort(now_ms + delay);
                return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
            }
            State::Empty | State::Complete { .. } => {}
        }
        let present = transaction.producer.epoch;
        if present >= LAST_EPOCH && expected.is_none_or(|expected| expected.epoch == present) {
            transaction.former_id = Some(transaction.producer.id);
            transaction.last_epoch = if expected.is_some() { present } else { NO_EPOCH };
            transaction.producer = Producer { id: next_id, epoch: 0 };
            self.next_producer_id += 1;
        } else {
            transaction.bump(expected.map(|expected| expected.epoch))?;
        }
        transaction.timeout_ms = timeout_ms;
        transaction.state = State::Empty;
        transaction.partitions.clear();
        transaction.groups.clear();
        Ok(transaction.producer)
    }

    /// AddPartitionsToTxn, once it is known that all of them are there.
    pub(crate) fn add(
        &mut self,
        transactional_id: &str,
        producer: Producer,
        partitions: impl IntoIterator<Item = (String, i32)>,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        let transaction = self.owned(transactional_id, producer)?;
        transaction.begin(now_ms)?;
        transaction.partitions.extend(partitions);
        Ok(())
    }

    /// AddOffsetsToTxn: a group whose offsets the transaction will commit.
    pub(crate) fn add_group(
        &mut self,
        transactional_id: &str,
        producer: Producer,
        group: &str,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        let transaction = self.owned(transactional_id, producer)?;
        transaction.begin(now_ms)?;
        transaction.groups.insert(group.to_owned());
        Ok(())
    }

    /// Whether an open transaction of this producer covers a partition.
    pub(crate) fn covers(&self, transactional_id: &str, producer: Producer, topic: &str, partition: i32) -> bool {
        self.by_id.get(transactional_id).is_some_and(|transaction| {
            transaction.producer == producer
                && transaction.state == State::Ongoing
                && transaction.partitions.contains(&(topic.to_owned(), partition))
        })
    }

    /// Whether an open transaction of this producer covers a group.
    pub(crate) fn covers_group(&self, transactional_id: &str, producer: Producer, group: &str) -> bool {
        self.by_id.get(transactional_id).is_some_and(|transaction| {
            transaction.producer == producer
                && transaction.state == State::Ongoing
                && transaction.groups.contains(group)
        })
    }

    /// EndTxn. The markers follow later.
    pub(crate) fn end(
        &mut self,
        transactional_id: &str,
        producer: Producer,
        commit: bool,
        now_ms: u64,
    ) -> Result<(), ErrorCode> {
        let due_ms = now_ms + self.marker_delay_ms;
        let transaction = self.owned(transactional_id, producer)?;
        match transaction.state {
            State::Ongoing => {
                transaction.state = State::Ending { commit };
                transaction.markers_due_ms = due_ms;
                Ok(())
            }
            State::Complete { commit: before } if before == commit => Ok(()),
            State::Ending { commit: before } if before == commit => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            _ => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Transactions that took too long are aborted; what is due now comes back, to be written as far as it can.
    pub(crate) fn due(&mut self, now_ms: u64) -> Vec<Ending> {
        let delay = self.marker_delay_ms;
        let mut due = Vec::new();
        for (transactional_id, transaction) in &mut self.by_id {
            if transaction.state == State::Ongoing && transaction.began_ms + transaction.timeout_ms <= now_ms {
                transaction.abort(now_ms + delay);
            }
            let State::Ending { commit } = transaction.state else { continue };
            if transaction.markers_due_ms <= now_ms {
                due.push(Ending {
                    transactional_id: transactional_id.clone(),
                    producer: transaction.producer,
                    commit,
                    partitions: transaction.partitions.iter().cloned().collect(),
                    groups: transaction.groups.iter().cloned().collect(),
                });
            }
        }
        due
    }

    /// All of an ending but these partitions is done. With none left the transaction is complete.
    pub(crate) fn written(&mut self, ending: &Ending, left: BTreeSet<(String, i32)>) {
        let Some(transaction) = self.by_id.get_mut(&ending.transactional_id) else { return };
        transaction.groups.clear();
        transaction.partitions = left;
        if transaction.partitions.is_empty() {
            transaction.state = State::Complete { commit: ending.commit };
        }
    }

    /// When [`due`](Self::due) has something to do next, in ms of elapsed time. What waits for a leader waits for
    /// something else to happen.
    pub(crate) fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let due = self.by_id.values().filter_map(|transaction| match transaction.state {
            State::Ongoing => Some(transaction.began_ms + transaction.timeout_ms),
            State::Ending { .. } => Some(transaction.markers_due_ms),
            State::Empty | State::Complete { .. } => None,
        });
        due.filter(|due| *due > now_ms).min()
    }

    fn owned(&mut self, transactional_id: &str, producer: Producer) -> Result<&mut Transaction, ErrorCode> {
        let transaction = self.by_id.get_mut(transactional_id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        if transaction.producer.id != producer.id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if transaction.producer.epoch != producer.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        Ok(transaction)
    }
}

impl Transaction {
    fn new(producer_id: i64) -> Self {
        Self {
            producer: Producer { id: producer_id, epoch: NO_EPOCH },
            last_epoch: NO_EPOCH,
            former_id: None,
            state: State::Empty,
            timeout_ms: 0,
            began_ms: 0,
            markers_due_ms: 0,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    fn is_valid(&self, expected: Producer) -> bool {
        let rotated = self.former_id == Some(expected.id) && expected.epoch >= LAST_EPOCH;
        self.producer.epoch == NO_EPOCH || self.producer.id == expected.id || rotated
    }

    /// `prepareIncrementProducerEpoch`.
    fn bump(&mut self, expected: Option<i16>) -> Result<(), ErrorCode> {
        let present = self.producer.epoch;
        if present >= LAST_EPOCH {
            // An IllegalStateException there.
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        match expected {
            None => self.last_epoch = NO_EPOCH,
            Some(expected) if present == NO_EPOCH || expected == present => self.last_epoch = present,
            Some(expected) if expected == self.last_epoch => return Ok(()),
            Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
        }
        self.producer.epoch = present.saturating_add(1);
        Ok(())
    }

    /// Ends the open transaction under the next epoch, which nobody gets: whoever had it is fenced.
    fn abort(&mut self, due_ms: u64) {
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.last_epoch = NO_EPOCH;
        self.state = State::Ending { commit: false };
        self.markers_due_ms = due_ms;
    }

    fn begin(&mut self, now_ms: u64) -> Result<(), ErrorCode> {
        match self.state {
            State::Ending { .. } => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing => {}
            State::Empty | State::Complete { .. } => {
                self.began_ms = now_ms;
                self.partitions.clear();
                self.groups.clear();
                self.state = State::Ongoing;
            }
        }
        Ok(())
    }
}
