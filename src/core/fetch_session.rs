//! A fetch session with one broker (KIP-227), as the client keeps it: what the broker knows of our positions, so that a
//! request names only what has changed.

use alloc::vec::Vec;

use crate::ids::SourceOffset;
use crate::io::LanePartition;

/// The epoch of a request that begins a session.
const FIRST_EPOCH: i32 = 0;
/// The epoch of a request that wants none.
const NO_EPOCH: i32 = -1;
/// The session of who has none.
const NO_ID: i32 = 0;

/// A partition that is read: from which position, and the leader epoch before it.
pub type Want = (LanePartition, SourceOffset, i32);

/// What the broker was told last.
#[derive(Clone, Debug, Default)]
pub struct FetchSession {
    /// Of the session, or of one that the broker may still have and that the next request ends.
    id: i32,
    /// Of the next request; of none while there is no session.
    epoch: Option<i32>,
    /// By partition.
    members: Vec<Option<Member>>,
    count: usize,
    /// The number of the last request.
    round: u64,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    position: SourceOffset,
    last_epoch: i32,
    /// The last request that wanted it.
    round: u64,
}

/// What a request says of sessions, and which partitions it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchScope {
    /// The session, or 0.
    pub session_id: i32,
    /// The session's epoch: -1 for none, 0 for a new one.
    pub session_epoch: i32,
    /// What is named.
    pub named: Vec<Want>,
    /// What the broker is to leave out from now on.
    pub forgotten: Vec<LanePartition>,
}

impl FetchScope {
    /// Whether the answer has each partition that is named; if not, it has those of the session with news.
    pub fn is_full(&self) -> bool {
        self.session_epoch <= FIRST_EPOCH
    }
}

impl FetchSession {
    /// A request without a session; ours ends.
    pub fn leave(&mut self, wants: Vec<Want>) -> FetchScope {
        let session_id = core::mem::replace(&mut self.id, NO_ID);
        self.epoch = None;
        FetchScope { session_id, session_epoch: NO_EPOCH, named: wants, forgotten: Vec::new() }
    }

    /// The next request in the session, or the first one.
    pub fn next(&mut self, wants: Vec<Want>) -> FetchScope {
        self.round += 1;
        let Some(session_epoch) = self.epoch else {
            self.members.clear();
            self.count = 0;
            for want in &wants {
                self.is_new(*want);
            }
            return FetchScope { session_id: self.id, session_epoch: FIRST_EPOCH, named: wants, forgotten: Vec::new() };
        };
        let wanted = wants.len();
        let named = wants.into_iter().filter(|want| self.is_new(*want)).collect();
        let forgotten = if self.count > wanted { self.forget() } else { Vec::new() };
        FetchScope { session_id: self.id, session_epoch, named, forgotten }
    }

    /// The answer to [`FetchSession::next`] came, with this session.
    pub fn answered(&mut self, session_id: i32) {
        let before = core::mem::replace(&mut self.id, session_id);
        self.epoch = match self.epoch {
            None if session_id != NO_ID => Some(FIRST_EPOCH + 1),
            Some(epoch) if session_id == before => Some(epoch.checked_add(1).unwrap_or(FIRST_EPOCH + 1)),
            _ => None,
        };
    }

    /// The answer did not come, or the broker does not know the session: the next request begins a new one.
    pub fn lost(&mut self) {
        self.epoch = None;
    }

    /// Whether the broker does not know of this.
    fn is_new(&mut self, (id, position, last_epoch): Want) -> bool {
        let place = id.0 as usize;
        if self.members.len() <= place {
            self.members.resize(place + 1, None);
        }
        let member = Member { position, last_epoch, round: self.round };
        let before = self.members[place].replace(member);
        self.count += usize::from(before.is_none());
        before.is_none_or(|before| (before.position, before.last_epoch) != (position, last_epoch))
    }

    /// Takes out what the last request did not want.
    fn forget(&mut self) -> Vec<LanePartition> {
        let mut forgotten = Vec::new();
        for (id, member) in (0..).map(LanePartition).zip(&mut self.members) {
            if member.take_if(|member| member.round != self.round).is_some() {
                forgotten.push(id);
            }
        }
        self.count -= forgotten.len();
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn want(id: u32, position: i64) -> Want {
        (LanePartition(id), SourceOffset(position), -1)
    }

    fn scope(session_id: i32, session_epoch: i32, named: &[Want], forgotten: &[u32]) -> FetchScope {
        let forgotten = forgotten.iter().copied().map(LanePartition).collect();
        FetchScope { session_id, session_epoch, named: named.to_vec(), forgotten }
    }

    #[test]
    fn what_has_changed_is_named_and_what_is_not_wanted_any_more_forgotten() {
        let mut session = FetchSession::default();
        let all = vec![want(5, 0), want(2, 0), want(3, 7)];
        let first = session.next(all.clone());
        assert!(first.is_full());
        assert_eq!(first, scope(0, 0, &all, &[]));
        session.answered(9);
        let second = session.next(all);
        assert!(!second.is_full());
        assert_eq!(second, scope(9, 1, &[], &[]));
        session.answered(9);
        let moved = vec![want(2, 4), want(3, 7), want(4, 0)];
        assert_eq!(session.next(moved.clone()), scope(9, 2, &[want(2, 4), want(4, 0)], &[5]));
        session.answered(9);
        let (other_epoch, again) = ((LanePartition(3), SourceOffset(7), 1), want(5, 0));
        let back = vec![want(2, 4), other_epoch, again];
        assert_eq!(session.next(back), scope(9, 3, &[other_epoch, again], &[4]));
    }

    #[test]
    fn a_session_that_is_lost_or_left_or_not_given_begins_anew() {
        let mut session = FetchSession::default();
        let wants = || vec![want(0, 1)];
        session.next(wants());
        session.answered(0);
        assert_eq!(session.next(wants()), scope(0, 0, &wants(), &[]), "no room at the broker");
        session.answered(4);
        assert_eq!(session.next(wants()).session_epoch, 1);
        session.lost();
        assert_eq!(session.next(wants()), scope(4, 0, &wants(), &[]), "the broker may still have it");
        session.answered(5);
        session.next(wants());
        session.answered(6);
        assert_eq!(session.next(wants()), scope(6, 0, &wants(), &[]), "the broker speaks of another one");
        session.answered(5);
        let left = session.leave(wants());
        assert!(left.is_full());
        assert_eq!(left, scope(5, -1, &wants(), &[]));
        assert_eq!(session.leave(wants()), scope(0, -1, &wants(), &[]));
        assert_eq!(session.next(wants()), scope(0, 0, &wants(), &[]));
    }

    #[test]
    fn after_the_last_epoch_comes_the_first() {
        let mut session = FetchSession { id: 3, epoch: Some(i32::MAX), ..FetchSession::default() };
        assert_eq!(session.next(vec![want(0, 0)]).session_epoch, i32::MAX);
        session.answered(3);
        assert_eq!(session.next(vec![want(0, 0)]).session_epoch, 1);
    }
}
