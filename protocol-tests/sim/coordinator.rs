//! A modelled transaction coordinator for one transactional id (`TransactionCoordinator`, `TransactionMetadata`). Its
//! epochs run out sooner than real ones, or no world would live to see it.

use twinlog_core::ids::Producer;
use twinlog_wire::error_code::ErrorCode;

/// The producer id of the first lane.
const FIRST_ID: i64 = 4_000;

/// More producer ids than a lane uses up or loses in a world.
const IDS_OF_A_LANE: i64 = 1_000;

/// The lane that a producer id belongs to.
pub(crate) fn lane_of(id: i64) -> usize {
    ((id - FIRST_ID) / IDS_OF_A_LANE) as usize
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Ongoing,
    /// Markers are being written.
    Ending {
        commit: bool,
    },
    Complete {
        commit: bool,
    },
}

/// Markers that the world must write now.
#[derive(Clone, Debug)]
pub(crate) struct Markers {
    pub(crate) transaction: u64,
    pub(crate) producer: Producer,
    pub(crate) partitions: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    last_epoch: i16,
    last_id: i64,
    /// The last epoch that is handed out.
    epoch_max: i16,
    pub(crate) state: State,
    partitions: Vec<usize>,
    began: u64,
    transaction: u64,
    /// Who got the present epoch, if anybody did.
    pub(crate) owner: Option<usize>,
}

impl Coordinator {
    pub(crate) fn new(lane: usize, epoch_max: i16) -> Self {
        Self {
            id: FIRST_ID + lane as i64 * IDS_OF_A_LANE,
            epoch: -1,
            last_epoch: -1,
            last_id: -1,
            epoch_max,
            state: State::Empty,
            partitions: Vec::new(),
            began: 0,
            transaction: 0,
            owner: None,
        }
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer { id: self.id, epoch: self.epoch }
    }

    /// InitProducerId of an instance. An open transaction is aborted first, under an epoch that nobody gets.
    pub(crate) fn init(
        &mut self,
        who: usize,
        current: Option<Producer>,
    ) -> (Result<Producer, ErrorCode>, Option<Markers>) {
        // One that never heard that its id was used up may ask again.
        let used_up = |current: Producer| current.id == self.last_id && current.epoch >= self.epoch_max;
        if current.is_some_and(|current| self.epoch >= 0 && current.id != self.id && !used_up(current)) {
            return (Err(ErrorCode::PRODUCER_FENCED), None);
        }
        match self.state {
            State::Ending { .. } => (Err(ErrorCode::CONCURRENT_TRANSACTIONS), None),
            // The expected epoch is not looked at here (`prepareInitProducerIdTransit`): even a zombie aborts.
            State::Ongoing => {
                let owner = self.owner.filter(|owner| *owner == who);
                let markers = self.abort();
                // Who aborts its own transaction has nobody else to blame for the fence.
                self.owner = owner;
                (Err(ErrorCode::CONCURRENT_TRANSACTIONS), Some(markers))
            }
            State::Empty | State::Complete { .. } => {
                let expected = current.map(|current| current.epoch);
                match expected {
                    _ if self.epoch >= self.epoch_max => {
                        if expected.is_some_and(|expected| expected != self.epoch) {
                            // `prepareIncrementProducerEpoch` throws an IllegalStateException.
                            return (Err(ErrorCode::UNKNOWN_SERVER_ERROR), None);
                        }
                        (self.last_id, self.last_epoch) = (self.id, expected.unwrap_or(-1));
                        (self.id, self.epoch) = (self.id + 1, 0);
                    }
                    None => {
                        self.last_epoch = -1;
                        self.epoch += 1;
                    }
                    Some(expected) if self.epoch < 0 || expected == self.epoch => {
                        self.last_epoch = self.epoch;
                        self.epoch += 1;
                    }
                    Some(expected) if expected == self.last_epoch => {}
                    Some(_) => return (Err(ErrorCode::PRODUCER_FENCED), None),
                }
                self.state = State::Empty;
                self.owner = Some(who);
                (Ok(self.producer()), None)
            }
        }
    }

    /// It was not used for long (`transactional.id.expiration.ms`).
    pub(crate) fn forget(&mut self) {
        (self.id, self.epoch) = (self.id + 1, -1);
        (self.last_id, self.last_epoch) = (-1, -1);
        self.state = State::Empty;
        self.owner = None;
    }

    /// Aborts the open transaction and fences its owner.
    pub(crate) fn abort(&mut self) -> Markers {
        self.epoch += 1;
        self.last_epoch = -1;
        self.owner = None;
        self.end_now(false)
    }

    fn check(&self, producer: Producer) -> Result<(), ErrorCode> {
        if producer.id != self.id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if producer.epoch != self.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, producer: Producer, partitions: &[usize], now: u64) -> Result<(), ErrorCode> {
        self.check(producer)?;
        match self.state {
            State::Ending { .. } => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing => {}
            State::Empty | State::Complete { .. } => {
                self.began = now;
                self.partitions.clear();
                self.transaction += 1;
            }
        }
        self.state = State::Ongoing;
        for partition in partitions {
            if !self.partitions.contains(partition) {
                self.partitions.push(*partition);
            }
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, producer: Producer) -> (Result<(), ErrorCode>, Option<Markers>) {
        if let Err(code) = self.check(producer) {
            return (Err(code), None);
        }
        match self.state {
            State::Ongoing => (Ok(()), Some(self.end_now(true))),
            State::Complete { commit: true } => (Ok(()), None),
            State::Ending { commit: true } => (Err(ErrorCode::CONCURRENT_TRANSACTIONS), None),
            _ => (Err(ErrorCode::INVALID_TXN_STATE), None),
        }
    }

    fn end_now(&mut self, commit: bool) -> Markers {
        self.state = State::Ending { commit };
        Markers { transaction: self.transaction, producer: self.producer(), partitions: self.partitions.clone() }
    }

    /// A marker is on its log; the transaction is complete with the last one.
    pub(crate) fn written(&mut self, transaction: u64, partition: usize) {
        if self.transaction != transaction {
            return;
        }
        if let State::Ending { commit } = self.state {
            self.partitions.retain(|other| *other != partition);
            if self.partitions.is_empty() {
                self.state = State::Complete { commit };
            }
        }
    }

    /// Whether a transaction cannot end, or will not be able to, for want of a marker in this partition.
    pub(crate) fn is_held_up_by(&self, partition: usize) -> bool {
        matches!(self.state, State::Ongoing | State::Ending { .. }) && self.partitions.contains(&partition)
    }

    pub(crate) fn is_open_since(&self, time: u64) -> bool {
        self.state == State::Ongoing && self.began <= time
    }
}
