//! How a message names a topic: by name, or by id in the newer versions.

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::error::DecodeError;
use crate::reader::Reader;

/// A topic as the wire names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// By name: Produce up to v12, Fetch up to v12.
    Name(StrBytes),
    /// By id: Produce and Fetch from v13 on (KIP-516).
    Id(Uuid),
}

/// A partition's current leader, as an answer with a leader error names it (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Broker id, or -1 if there is none.
    pub id: i32,
    /// The leader epoch, or -1.
    pub epoch: i32,
}

/// Where a broker that an answer names is reached (KIP-951).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// Broker id.
    pub id: i32,
    /// Host name or address.
    pub host: StrBytes,
    /// TCP port.
    pub port: i32,
    /// Rack, if the broker has one.
    pub rack: Option<StrBytes>,
}

impl Topic {
    pub(crate) fn read(reader: &mut Reader, by_id: bool, flexible: bool) -> Result<Self, DecodeError> {
        if by_id { reader.uuid().map(Self::Id) } else { reader.text(flexible).map(Self::Name) }
    }
}

impl Leader {
    /// Reads the tagged struct `LeaderIdAndEpoch`.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { id: reader.i32()?, epoch: reader.i32()? })
    }
}

impl NodeEndpoint {
    /// Reads the tagged array `NodeEndpoints`.
    pub(crate) fn read_all(reader: &mut Reader) -> Result<Vec<Self>, DecodeError> {
        reader.array(true, 11, |reader| {
            let endpoint = Self {
                id: reader.i32()?,
                host: reader.text(true)?,
                port: reader.i32()?,
                rack: reader.nullable_text(true)?,
            };
            reader.skip_tagged_fields()?;
            Ok(endpoint)
        })
    }
}
