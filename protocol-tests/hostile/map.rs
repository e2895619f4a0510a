//! Records of the map and of the link's state, which anybody with the right to write could have written.

use twinlog_core::map_record::MapRecord;
use twinlog_core::state_record::StateRecord;

/// A byte for the key's length, the key, and the value; what can be read is written as it was read.
pub(super) fn codec(data: &[u8]) {
    let Some((key_len, rest)) = data.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*key_len).min(rest.len()));
    for value in [Some(value), None] {
        if let Ok(Some(record)) = MapRecord::decode(key, value) {
            let (key, value) = record.encode();
            assert_eq!(MapRecord::decode(&key, value.as_deref()), Ok(Some(record)));
        }
        if let Ok(Some(record)) = StateRecord::decode(key, value) {
            let (key, value) = record.encode();
            assert_eq!(StateRecord::decode(&key, Some(&value)), Ok(Some(record)));
        }
    }
}
