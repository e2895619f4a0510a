//! The floor: one blocking thread that fetches, writes new heads and produces. It speaks to the same peers in the same
//! versions as the link; it has no map, no fences, no leaders, no retries and no recovery.

pub(crate) mod fetch;
pub(crate) mod produce;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, ProducerId};
use uuid::Uuid;

use crate::ask::{ask, read_frame, unexpected};
use crate::net::Stream;
use produce::Sender;

/// The first word of the child's command line.
pub(crate) const BARE: &str = "child-bare";
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const CLIENT_ID: &str = "bare";

/// What to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) source: SocketAddr,
    pub(crate) target: SocketAddr,
    pub(crate) topic_id: [u8; 16],
    pub(crate) mirror_id: [u8; 16],
    pub(crate) partitions: usize,
    /// Partitions in a Fetch, in turn.
    pub(crate) asked_max: usize,
}

impl Job {
    /// The child's command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let id = |id: [u8; 16]| Uuid::from_bytes(id).to_string();
        vec![
            BARE.to_owned(),
            self.source.to_string(),
            self.target.to_string(),
            id(self.topic_id),
            id(self.mirror_id),
            self.partitions.to_string(),
            self.asked_max.to_string(),
        ]
    }

    /// Back again, and the file of a certificate behind it for peers that speak TLS.
    pub(crate) fn from_words(words: &[String]) -> Result<(Self, Option<&Path>), String> {
        let word = |place: usize| words.get(place).map(String::as_str).ok_or_else(|| "too few words".to_owned());
        let address = |place| word(place)?.parse().map_err(|_| "not an address".to_owned());
        let id = |place| Uuid::parse_str(word(place)?).map(Uuid::into_bytes).map_err(|error| error.to_string());
        let number = |place| word(place)?.parse().map_err(|_| "not a number".to_owned());
        let job = Self {
            source: address(1)?,
            target: address(2)?,
            topic_id: id(3)?,
            mirror_id: id(4)?,
            partitions: number(5)?,
            asked_max: number(6)?,
        };
        Ok((job, words.get(7).map(Path::new)))
    }
}

/// Copies until one side closes its connection.
pub(crate) fn copy(job: &Job, ca_file: Option<&Path>) -> io::Result<()> {
    let (mut source, mut target) = (Stream::dial(job.source, ca_file)?, Stream::dial(job.target, ca_file)?);
    let producer = init_producer_id(&mut target)?;
    let mut partitions = vec![Partition::default(); job.partitions];
    let mut sender = Sender::new(job.mirror_id, target);
    let mut turn = 0;
    let mut buffer = Vec::new();
    fetch::ask(&mut source, job.topic_id, &partitions, job.asked_max, &mut turn)?;
    loop {
        let frame = read_frame(&mut source, &mut buffer)?;
        let fetched = fetch::parts(frame, &mut partitions)?;
        // The next answer is on its way while this one is sent.
        fetch::ask(&mut source, job.topic_id, &partitions, job.asked_max, &mut turn)?;
        sender.send(frame, fetched, &mut partitions, producer)?;
    }
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Partition {
    pub(crate) next_offset: i64,
    next_sequence: i32,
}

/// A producer id of the target's, and its epoch.
pub(crate) fn init_producer_id(target: &mut Stream) -> io::Result<(i64, i16)> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = ask(target, INIT_PRODUCER_ID_VERSION, &request)?;
    match answer.error_code {
        0 => Ok((answer.producer_id.0, answer.producer_epoch)),
        code => Err(unexpected(&format!("InitProducerId: code {code}"))),
    }
}

/// A request's header, its length still to be written.
fn head(api: ApiKey, version: i16) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(api as i16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&0i32.to_be_bytes());
    out.extend_from_slice(&(CLIENT_ID.len() as i16).to_be_bytes());
    out.extend_from_slice(CLIENT_ID.as_bytes());
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_back_from_its_words() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let job = Job {
            source: address(1),
            target: address(2),
            topic_id: [3; 16],
            mirror_id: [4; 16],
            partitions: 5,
            asked_max: 6,
        };
        let mut words = job.words();
        assert_eq!(Job::from_words(&words), Ok((job, None)));
        words.push("ca.pem".to_owned());
        assert_eq!(Job::from_words(&words), Ok((job, Some(Path::new("ca.pem")))));
        assert_eq!(Job::from_words(&words[..6]), Err("too few words".to_owned()));
    }
}
