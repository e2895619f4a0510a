//! Keys and values of the state topic `__twinlog.<link>.state`, one partition.
//!
//! | key | value | life |
//! |---|---|---|
//! | `lanes` | [`Lanes`]: how many lanes the link has | as long as the link |
//! | `table/<topic>` | the [`Place`] of each partition of a source topic | as long as the link |
//! | `resolution/<topic>/<partition>` | the last [`Resolution`] about a partition that stopped | as long as the link |
//!
//! Keys are text and values as in the map topic ([`crate::map_record`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::codec::{BadRecord, Reader, Writer};
use crate::map_record::PartitionKey;
use crate::moves::Place;
use crate::resolution::{Exit, Resolution};

/// A record of the state topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// How many lanes the link has.
    Lanes(Lanes),
    /// Where each partition of a source topic is, by its number.
    Table(String, Vec<Place>),
    /// The last decision about a partition that stopped.
    Resolution(PartitionKey, Resolution),
}

/// How many lanes a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Those that there are; the map topic has at least as many partitions.
    pub count: u32,
    /// Those that there are to be: fewer while the others are being emptied.
    pub wanted: u32,
}

impl StateRecord {
    /// The key bytes and the value bytes.
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut out = Writer::new();
        let key = match self {
            Self::Lanes(lanes) => {
                out.unsigned(lanes.count.into());
                out.unsigned(lanes.wanted.into());
                "lanes".to_string()
            }
            Self::Table(topic, places) => {
                for place in places {
                    out.unsigned(place.lane.into());
                    out.unsigned(place.from.map_or(0, |from| u64::from(from) + 1));
                    out.unsigned(place.number);
                }
                format!("table/{topic}")
            }
            Self::Resolution(key, resolution) => {
                out.unsigned(resolution.number);
                out.text(resolution.exit.name());
                out.text(&resolution.state);
                out.signed(resolution.at_ms);
                format!("resolution/{}/{}", key.topic, key.partition)
            }
        };
        (key.into_bytes(), out.bytes)
    }

    /// Reads a record; `Ok(None)` is a tombstone. What only a newer twinlog can know is an error, never passed over.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, BadRecord> {
        let key = core::str::from_utf8(key).map_err(|_| BadRecord { reason: "key is not text" })?;
        let Some(value) = value else { return Ok(None) };
        let mut input = Reader::new(value)?;
        let record = match key.split_once('/') {
            None if key == "lanes" => Self::Lanes(Lanes { count: input.lane()?, wanted: input.lane()? }),
            Some(("table", topic)) => {
                let mut places = Vec::new();
                while !input.rest.is_empty() {
                    let lane = input.lane()?;
                    let from = match input.unsigned()? {
                        0 => None,
                        from => Some(u32::try_from(from - 1).map_err(|_| BadRecord { reason: "lane out of range" })?),
                    };
                    places.push(Place { lane, from, number: input.unsigned()? });
                }
                Self::Table(topic.to_string(), places)
            }
            Some(("resolution", key)) => {
                let (topic, partition) = key.split_once('/').ok_or(BadRecord { reason: "key without a partition" })?;
                let partition = partition.parse().map_err(|_| BadRecord { reason: "key without a partition" })?;
                let key = PartitionKey { topic: topic.to_string(), partition };
                Self::Resolution(key, resolution(&mut input)?)
            }
            _ => return Err(BadRecord { reason: "unknown kind of key, perhaps of a newer twinlog" }),
        };
        if input.rest.is_empty() { Ok(Some(record)) } else { Err(BadRecord { reason: "bytes left over" }) }
    }
}

fn resolution(input: &mut Reader<'_>) -> Result<Resolution, BadRecord> {
    let (number, name) = (input.unsigned()?, input.text()?);
    let exit = Exit::named(&name).ok_or(BadRecord { reason: "unknown way out, perhaps of a newer twinlog" })?;
    Ok(Resolution { number, exit, state: input.text()?, at_ms: input.signed()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn samples() -> [StateRecord; 4] {
        let places = vec![
            Place { lane: 0, from: None, number: 0 },
            Place { lane: 255, from: Some(0), number: 1 },
            Place { lane: 3, from: Some(255), number: u64::MAX },
        ];
        [
            StateRecord::Lanes(Lanes { count: 256, wanted: 1 }),
            StateRecord::Table("orders.eu".into(), places),
            StateRecord::Table("empty".into(), vec![]),
            StateRecord::Resolution(
                PartitionKey { topic: "orders.eu".into(), partition: 12 },
                Resolution { number: 3, exit: Exit::SkipGap, state: "gap".into(), at_ms: 1_700_000_000_000 },
            ),
        ]
    }

    #[test]
    fn every_record_comes_back() {
        for record in samples() {
            let (key, value) = record.encode();
            assert_eq!(StateRecord::decode(&key, Some(&value)), Ok(Some(record)));
        }
    }

    #[test]
    fn what_is_cut_inside_of_an_entry_or_unknown_is_refused() {
        let (key, value) = samples()[1].encode();
        for len in 0..value.len() {
            let cut = StateRecord::decode(&key, Some(&value[..len]));
            let whole_entries = [1, 4, 8].contains(&len);
            assert_eq!(cut.is_ok(), whole_entries, "cut to {len}");
        }
        let (key, value) = samples()[3].encode();
        for len in 0..value.len() {
            assert!(StateRecord::decode(&key, Some(&value[..len])).is_err(), "cut to {len}");
        }
        let (_, lanes) = samples()[0].encode();
        assert!(StateRecord::decode(b"promoted", Some(&lanes)).is_err());
        assert!(StateRecord::decode(b"lanes", Some(&[lanes.as_slice(), &[0]].concat())).is_err());
    }
}
