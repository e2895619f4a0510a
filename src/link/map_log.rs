//! What the log of a map partition holds, entry by entry, for those who read it.

use twinlog_core::ids::Producer;
use twinlog_core::io::MapEntry;
use twinlog_wire::batch::{Entry, HEAD_LEN, verify_crc};
use twinlog_wire::compression::decompress;
use twinlog_wire::records::Records;

/// A batch of map records unpacks to less than this: the writer gathers some hundred KiB, and one group is one chunk
/// and one head.
const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// The records and markers of an entry, in order; the error says in words why it cannot be read.
pub(crate) fn map_entries(entry: &Entry) -> Result<Vec<MapEntry>, String> {
    let Entry::V2(meta, bytes) = entry else {
        return Err("it is in a message format before v2".into());
    };
    if !verify_crc(bytes) {
        return Err("its CRC does not fit".into());
    }
    if meta.is_control() {
        return Ok(vec![MapEntry::Marker(Producer::of(meta))]);
    }
    let codec = meta.codec().ok_or("its codec is unknown")?;
    let body = bytes.get(HEAD_LEN..).unwrap_or_default();
    let plain = decompress(codec, body, UNPACKED_BYTES_MAX).map_err(|e| e.to_string())?;
    let record = |record: twinlog_wire::records::Record<'_>| MapEntry::Record {
        producer_id: meta.producer_id,
        key: record.key.unwrap_or_default().to_vec(),
        value: record.value.map(<[u8]>::to_vec),
    };
    let records: Result<Vec<_>, _> = Records::new(&plain, meta.record_count).map(|parsed| parsed.map(record)).collect();
    records.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use twinlog_wire::batch::{BatchMeta, Codec, ControlType};
    use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};
    use twinlog_wire::patch::Stamp;

    const STAMP: Stamp = Stamp { producer_id: 7, producer_epoch: 2, base_sequence: 0 };

    fn entry(bytes: Bytes) -> Entry {
        Entry::V2(BatchMeta::parse(&bytes).unwrap(), bytes)
    }

    fn batch(codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(BatchOptions { codec, stamp: STAMP, ..Default::default() });
        builder.push(&NewRecord { key: Some(b"link"), value: Some(b"one"), ..Default::default() });
        builder.push(&NewRecord { key: Some(b"plan/3"), ..Default::default() });
        builder.finish().unwrap()
    }

    #[test]
    fn records_tombstones_and_markers_come_out_of_any_codec() {
        let wanted = [
            MapEntry::Record { producer_id: 7, key: b"link".to_vec(), value: Some(b"one".to_vec()) },
            MapEntry::Record { producer_id: 7, key: b"plan/3".to_vec(), value: None },
        ];
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            assert_eq!(map_entries(&entry(batch(codec))).unwrap(), wanted, "{codec:?}");
        }
        let options = BatchOptions { stamp: STAMP, ..Default::default() };
        let marker = BatchBuilder::marker(options, ControlType::Commit, 0, 5).unwrap();
        let found = map_entries(&entry(marker)).unwrap();
        assert_eq!(found, [MapEntry::Marker(Producer { id: 7, epoch: 2 })]);
    }

    #[test]
    fn a_damaged_batch_is_named_not_read() {
        let mut bytes = batch(Codec::None).to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(map_entries(&entry(bytes.into())).unwrap_err(), "its CRC does not fit");
    }
}
