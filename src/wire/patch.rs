//! Makes a fetched batch one that the target takes from us: a new head for the same body.

use crate::batch::{HEAD_LEN, field, get, put};
use crate::crc;

/// The attribute bits that go on: the codec.
const ATTRIBUTES_KEPT: u8 = 0x07;

/// Under which producer a batch is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Producer id, or -1 for none.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the batch's first record, or -1.
    pub base_sequence: i32,
}

impl Stamp {
    /// No producer: the batch is not idempotent.
    pub const NONE: Self = Self { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
}

/// The head for the target: base offset 0, leader epoch -1, of the attributes only the codec, and the stamp.
///
/// The new CRC comes from the old one, so that a body that did not fit the old one does not fit the new one: damage
/// is passed on, never blessed. `body_len` is the length of the body in bytes; that it is the length that the head
/// names is the caller's part (both from one [`BatchMeta`](crate::batch::BatchMeta)).
pub fn patch_head(head: &[u8; HEAD_LEN], body_len: u32, stamp: Stamp) -> [u8; HEAD_LEN] {
    let mut new = *head;
    put(&mut new, field::BASE_OFFSET, 0i64.to_be_bytes());
    put(&mut new, field::LEADER_EPOCH, (-1i32).to_be_bytes());
    put(&mut new, field::ATTRIBUTES, [0, head[field::ATTRIBUTES + 1] & ATTRIBUTES_KEPT]);
    put(&mut new, field::PRODUCER_ID, stamp.producer_id.to_be_bytes());
    put(&mut new, field::PRODUCER_EPOCH, stamp.producer_epoch.to_be_bytes());
    put(&mut new, field::BASE_SEQUENCE, stamp.base_sequence.to_be_bytes());

    let old_crc = u32::from_be_bytes(get(head, field::CRC));
    let covered = field::ATTRIBUTES..;
    let difference = crc32c::crc32c(&head[covered.clone()]) ^ crc32c::crc32c(&new[covered]);
    let crc = old_crc ^ crc::shift(difference, body_len);
    put(&mut new, field::CRC, crc.to_be_bytes());
    new
}
