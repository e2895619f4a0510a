//! Where the next Fetch of a partition begins while the last one is not answered: a guess, so that a long way to the
//! broker is not idle.
//!
//! A guess is a little short of what the answers before it let expect, so that the two answers overlap. Where they do,
//! in a batch of the same leader epoch, the logs up to there are the same (KIP-101), and the answer is as good as one
//! to the true position. Where they do not, it is thrown away.

use crate::batch::FetchedBatch;
use crate::ids::SourceOffset;

/// A first guess is short by this part of an answer: 1 / 2^5.
const SHORT: u32 = 5;
/// After so many in a row that held, guesses are less short again.
const GOOD: u32 = 16;

/// What the answers of one partition bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brings {
    /// Offsets and bytes of the last answer, if it was full.
    full: Option<(u64, u64)>,
    /// In bytes.
    largest_batch: u64,
    /// A guess is short by 1 / 2^this of an answer; with 0 there is none.
    short: u32,
    /// How many held in a row.
    good: u32,
}

impl Default for Brings {
    fn default() -> Self {
        Self { full: None, largest_batch: 0, short: SHORT, good: 0 }
    }
}

impl Brings {
    /// An answer of `bytes` came that might have had `limit`.
    pub fn answered(&mut self, bytes: u64, limit: u64, batches: &[FetchedBatch]) {
        self.full = None;
        let mut metas = batches.iter().filter_map(|batch| batch.kind.meta());
        let Some(first) = metas.next() else { return };
        let last = metas.next_back().unwrap_or(first);
        self.largest_batch = self.largest_batch.max(first.len.max(last.len).into());
        if bytes + self.largest_batch > limit {
            let offsets = SourceOffset(last.next_offset()).since(SourceOffset(first.base_offset));
            self.full = Some((offsets, bytes.max(1)));
            if self.short == 0 {
                self.went_well();
            }
        }
    }

    /// Where the fetch begins that follows one from `from` with so many bytes; none if nobody knows.
    pub fn guess(&self, from: SourceOffset, bytes: u64) -> Option<SourceOffset> {
        let (offsets, in_bytes) = self.full.filter(|_| self.short > 0)?;
        // Its answer begins with the batch that `from` is in, and the next one must have the last batch of it.
        let sure = bytes.checked_sub((bytes >> self.short).max(2 * self.largest_batch))?;
        let guessed = u128::from(offsets) * u128::from(sure) / u128::from(in_bytes);
        u64::try_from(guessed).ok().filter(|guessed| *guessed > 0).map(|guessed| from.plus(guessed))
    }

    /// The answer to a guess led on from what was fetched before it, or did not.
    pub fn judged(&mut self, held: bool) {
        match held {
            true => self.went_well(),
            false => (self.short, self.good) = (self.short.saturating_sub(1), 0),
        }
    }

    fn went_well(&mut self) {
        self.good += 1;
        if self.good == GOOD {
            (self.short, self.good) = (SHORT.min(self.short + 1), 0);
        }
    }
}

/// Whether an answer leads on from a position, whose last batch was of that leader epoch: it has that batch.
pub fn leads_on(position: SourceOffset, last_epoch: i32, batches: &[FetchedBatch]) -> bool {
    let metas = batches.iter().filter_map(|batch| batch.kind.meta());
    let mut before = metas.take_while(|meta| meta.base_offset < position.0);
    before.any(|meta| meta.next_offset() == position.0 && meta.leader_epoch == last_epoch)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::batch::testing::batch;
    use crate::batch::{BatchKind, Slot};
    use crate::ids::Producer;

    /// Batches of ten records in 100 bytes, from an offset on.
    fn batches(from: i64, count: i64) -> Vec<FetchedBatch> {
        let at = |place| batch(Producer { id: 1, epoch: 0 }, 3, 0, from + place * 10, 10);
        (0..count).map(|place| FetchedBatch { slot: Slot(0), kind: BatchKind::Records(at(place)) }).collect()
    }

    fn brings(bytes: u64, limit: u64, count: i64) -> Brings {
        let mut brings = Brings::default();
        brings.answered(bytes, limit, &batches(1_000, count));
        brings
    }

    #[test]
    fn a_guess_is_short_of_what_a_full_answer_brings() {
        let full = brings(9_950, 10_000, 99);
        let guess = full.guess(SourceOffset(5_000), 10_000).unwrap().0;
        assert_eq!(guess, 5_000 + 990 * (10_000 - 10_000 / 32) / 9_950, "a thirty-second");
        assert_eq!(full.guess(SourceOffset(0), 400), Some(SourceOffset(990 * 200 / 9_950)), "two batches");
        assert_eq!(full.guess(SourceOffset(0), 200), None, "there are only two");
    }

    #[test]
    fn nothing_is_guessed_from_an_answer_that_left_room_for_more() {
        assert_eq!(brings(9_900, 10_000, 99).guess(SourceOffset(0), 10_000), None);
        assert_eq!(brings(0, 0, 0).guess(SourceOffset(0), 10_000), None);
        assert_eq!(Brings::default().guess(SourceOffset(0), 10_000), None);
    }

    #[test]
    fn guesses_that_fail_get_shorter_until_there_is_none_and_grow_again_with_those_that_hold() {
        let mut brings = brings(9_950, 10_000, 99);
        let first = brings.guess(SourceOffset(0), 10_000);
        brings.judged(false);
        assert!(brings.guess(SourceOffset(0), 10_000) < first);
        (1..GOOD).for_each(|_| brings.judged(true));
        assert!(brings.guess(SourceOffset(0), 10_000) < first, "one more has to hold");
        brings.judged(true);
        assert_eq!(brings.guess(SourceOffset(0), 10_000), first);
        (0..GOOD).for_each(|_| brings.judged(true));
        assert_eq!(brings.guess(SourceOffset(0), 10_000), first, "never less short than at first");
        (0..SHORT).for_each(|_| brings.judged(false));
        assert_eq!(brings.guess(SourceOffset(0), 10_000), None);
        (0..GOOD).for_each(|_| brings.answered(9_950, 10_000, &batches(1_000, 99)));
        assert!(brings.guess(SourceOffset(0), 10_000).is_some(), "after a while it is tried again");
    }

    #[test]
    fn an_answer_leads_on_where_it_has_the_batch_before() {
        let answer = batches(1_000, 3);
        assert!(leads_on(SourceOffset(1_010), 3, &answer));
        assert!(leads_on(SourceOffset(1_030), 3, &answer));
        assert!(!leads_on(SourceOffset(1_010), 2, &answer), "another leader's");
        assert!(!leads_on(SourceOffset(1_000), 3, &answer), "what is before it is not shown");
        assert!(!leads_on(SourceOffset(1_015), 3, &answer), "inside of a batch");
        assert!(!leads_on(SourceOffset(1_040), 3, &answer), "behind it");
    }
}
