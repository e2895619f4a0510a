//! Compare-and-swap: a marker of a new epoch, the state read up to it, and one write under that epoch. A marker that
//! somebody else wrote in between makes the write fail, and all is done again.

use tokio::time::sleep;
use twinlog_client::{Backoff, Error, ErrorCode, Retry};
use twinlog_core::io::MapBatch;
use twinlog_core::link_state::{LinkState, Refusal};
use twinlog_core::outbox::Answer;
use twinlog_core::state_record::StateRecord;

use super::{StateError, StateTopic};
use crate::lane::produce;

/// How often it is begun again before others are left to it.
const ATTEMPTS: u32 = 12;

/// So long after it began a write is still kept apart from others', in ms by the wall clock.
const OWN_MS: i64 = 60_000;
/// A batch of records grows up to about this many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// What came of one attempt.
enum Attempt {
    Done(LinkState),
    Again,
}

impl StateTopic {
    /// Writes what `decide` makes of the state as it is; nothing if that is nothing. It may be asked more than once,
    /// also after what it said was written.
    pub async fn update(
        &self,
        decide: impl Fn(&LinkState) -> Result<Vec<StateRecord>, Refusal> + Send + Sync,
    ) -> Result<LinkState, StateError> {
        for attempt in 0..ATTEMPTS {
            match self.attempt(&decide).await {
                Ok(Attempt::Done(state)) => return Ok(state),
                Ok(Attempt::Again) => {}
                Err(StateError::Client(error)) if may_pass(&error) => {
                    tracing::debug!(%error, "The link's state cannot be written; trying again.");
                }
                Err(error) => return Err(error),
            }
            sleep(Backoff::default().pause(attempt, fastrand::u64(..))).await;
            // A new leader is not found otherwise. If this fails, the next attempt says so.
            drop(self.log.cluster.refresh().await);
        }
        Err(StateError::Busy(self.log.at.topic.clone()))
    }

    async fn attempt(
        &self,
        decide: &(impl Fn(&LinkState) -> Result<Vec<StateRecord>, Refusal> + Send + Sync),
    ) -> Result<Attempt, StateError> {
        let target = &self.log.cluster;
        let begun_ms = self.clock.now_ms();
        let producer = self.fence().await?;
        let Some(mut state) = self.read_to_marker(producer).await? else { return Ok(Attempt::Again) };
        let records = decide(&state).map_err(StateError::Refused)?;
        if records.is_empty() {
            return Ok(Attempt::Done(state));
        }
        // Who slept for long may find the next writer forgotten by the brokers, and would not be refused.
        if self.clock.now_ms() - begun_ms > OWN_MS {
            return Ok(Attempt::Again);
        }
        let mut sequence = 0;
        for part in parts(&records) {
            let encoded = part.iter().map(StateRecord::encode).map(|(key, value)| (key, Some(value)));
            let batch = MapBatch { producer, sequence, timestamp_ms: self.clock.now_ms(), records: encoded.collect() };
            sequence += i32::try_from(part.len()).unwrap_or(i32::MAX);
            match produce(target, self.log.lane, &self.log.at, &batch, None).await? {
                Answer::Stored { .. } => part.iter().cloned().for_each(|record| state.apply(record)),
                Answer::Refused(code, message) if !passes(code) => {
                    return Err(StateError::NotWritten { topic: self.log.at.topic.clone(), code, message });
                }
                Answer::Refused(..) | Answer::Lost | Answer::NotSent => return Ok(Attempt::Again),
            }
        }
        Ok(Attempt::Done(state))
    }
}

/// The records in batches. Each decides by itself: where only the first ones are written, the rest is decided again.
fn parts(records: &[StateRecord]) -> impl Iterator<Item = &[StateRecord]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |record: &&StateRecord| {
            let (key, value) = record.encode();
            let is_first = bytes == 0;
            bytes += key.len() + value.len();
            is_first || bytes <= BATCH_BYTES
        };
        let count = rest.iter().take_while(fits).count();
        let (part, behind) = rest.split_at(count);
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

fn may_pass(error: &Error) -> bool {
    error.code().map_or_else(|| error.retry() != Retry::Never, passes)
}

/// Whether the write can be begun anew after this code, whether or not it was carried out: the next one has a new epoch
/// and reads what is there.
fn passes(code: ErrorCode) -> bool {
    // Somebody else began to write.
    let is_overtaken = matches!(
        code,
        ErrorCode::INVALID_PRODUCER_EPOCH
            | ErrorCode::PRODUCER_FENCED
            | ErrorCode::INVALID_TXN_STATE
            | ErrorCode::CONCURRENT_TRANSACTIONS
            | ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    // The coordinator answers this to EndTxn where a new epoch is given meanwhile.
    is_overtaken || code == ErrorCode::UNKNOWN_SERVER_ERROR || code.retry() != Retry::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_begun_anew_unless_a_right_is_missing() {
        let passing = [
            ErrorCode::UNKNOWN_SERVER_ERROR,
            ErrorCode::PRODUCER_FENCED,
            ErrorCode::CONCURRENT_TRANSACTIONS,
            ErrorCode::NOT_COORDINATOR,
        ];
        assert!(passing.into_iter().all(passes));
        let lasting = [
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::UNSUPPORTED_VERSION,
        ];
        assert!(!lasting.into_iter().any(passes));
    }
}
