//! ListOffsets: the sandbox answers, with the ends of logs that are longer than it knows.

use std::io;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ListOffsetsRequest, ListOffsetsResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable};

/// What stands for "the end" where a time is asked for.
const LATEST: i64 = -1;

/// The number and version of a request.
pub(super) fn api_of(request: &[u8]) -> (i16, i16) {
    let number = |at: usize| request.get(at..at + 2).map_or(-1, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    (number(0), number(2))
}

/// Puts other ends into an answer: `end` gives them for a topic and partition, and none where the sandbox is right.
pub(super) fn amend(
    request: &Bytes,
    answer: Vec<u8>,
    end: impl Fn(&TopicName, i32) -> Option<i64>,
) -> io::Result<Vec<u8>> {
    let (api, version) = api_of(request);
    if api != ApiKey::ListOffsets as i16 {
        return Ok(answer);
    }
    let unreadable = |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let header_version = ApiKey::ListOffsets.response_header_version(version);
    let (mut request, mut answer) = (request.clone(), Bytes::from(answer));
    RequestHeader::decode(&mut request, ApiKey::ListOffsets.request_header_version(version))
        .map_err(|error| unreadable(&error))?;
    let asked = ListOffsetsRequest::decode(&mut request, version).map_err(|error| unreadable(&error))?;
    let header = ResponseHeader::decode(&mut answer, header_version).map_err(|error| unreadable(&error))?;
    let mut answered = ListOffsetsResponse::decode(&mut answer, version).map_err(|error| unreadable(&error))?;
    for (asked, answered) in asked.topics.iter().zip(&mut answered.topics) {
        for (asked, partition) in asked.partitions.iter().zip(&mut answered.partitions) {
            let is_end = asked.timestamp == LATEST && partition.error_code == 0;
            if let Some(end) = end(&answered.name, partition.partition_index).filter(|_| is_end) {
                partition.offset = end;
            }
        }
    }
    let mut amended = BytesMut::new();
    header.encode(&mut amended, header_version).map_err(|error| unreadable(&error))?;
    answered.encode(&mut amended, version).map_err(|error| unreadable(&error))?;
    Ok(amended.into())
}
