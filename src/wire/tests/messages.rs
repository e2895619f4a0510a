//! What Fetch and Produce answers share, drawn at random and given to kafka-protocol.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;
use twinlog_wire::topic::{Leader, NodeEndpoint, Topic};
use uuid::Uuid;

pub(crate) fn text() -> impl Strategy<Value = StrBytes> {
    "[a-z.ü]{0,12}".prop_map(StrBytes::from_string)
}

pub(crate) fn maybe_text() -> impl Strategy<Value = Option<StrBytes>> {
    proptest::option::of(text())
}

pub(crate) fn topic(by_id: bool) -> BoxedStrategy<Topic> {
    if by_id {
        any::<u128>().prop_map(|id| Topic::Id(Uuid::from_u128(id))).boxed()
    } else {
        text().prop_map(Topic::Name).boxed()
    }
}

pub(crate) fn leader() -> impl Strategy<Value = Leader> {
    // -1, -1 is the default, which encoders leave out.
    (0..i32::MAX, any::<i32>()).prop_map(|(id, epoch)| Leader { id, epoch })
}

pub(crate) fn endpoints() -> impl Strategy<Value = Vec<NodeEndpoint>> {
    let endpoint = (any::<i32>(), text(), any::<i32>(), maybe_text()).prop_map(|(id, host, port, rack)| NodeEndpoint {
        id,
        host,
        port,
        rack,
    });
    proptest::collection::vec(endpoint, 0..3)
}

pub(crate) fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.freeze()
}

/// Gives `decode` the body cut at each place and with a byte changed: it must come back, and find the cut.
pub(crate) fn torment<T, E>(body: &Bytes, at: usize, bits: u8, decode: impl Fn(Bytes) -> Result<T, E>) {
    for cut in 0..body.len() {
        assert!(decode(body.slice(..cut)).is_err(), "cut at {cut} of {}", body.len());
    }
    let mut garbled = body.to_vec();
    garbled[at % body.len()] ^= bits;
    drop(decode(garbled.into()));
}
