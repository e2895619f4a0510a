//! Asks a broker which brokers it knows: one Metadata request (API key 3, version 1), encoded by hand.
//!
//! The crate under test must not judge whether its own test cluster is ready, so nothing of twinlog is used here.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const METADATA_V1: [u8; 4] = [0, 3, 0, 1];
const CORRELATION: [u8; 4] = [0, 0, 0, 7];
const NO_CLIENT: [u8; 2] = [0xff, 0xff];
const NO_TOPICS: [u8; 4] = [0, 0, 0, 0];
const TIMEOUT: Duration = Duration::from_secs(2);
const FRAME_MAX: usize = 1 << 20;

/// The node numbers of the brokers that are alive, as this broker sees it.
pub(crate) fn known_brokers(address: SocketAddr) -> io::Result<Vec<i32>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let body = [&METADATA_V1[..], &CORRELATION, &NO_CLIENT, &NO_TOPICS].concat();
    let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::other("not an answer of a Kafka broker"));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    decode(&answer).ok_or_else(|| io::Error::other("not an answer to Metadata"))
}

fn decode(answer: &[u8]) -> Option<Vec<i32>> {
    let mut rest = answer.strip_prefix(&CORRELATION)?;
    let count = int32(&mut rest)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(int32(&mut rest)?);
        string(&mut rest)?;
        int32(&mut rest)?;
        string(&mut rest)?;
    }
    Some(nodes)
}

fn int32(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

/// A string or null: its content does not matter here.
fn string(rest: &mut &[u8]) -> Option<()> {
    let length = i16::from_be_bytes(take(rest, 2)?.try_into().ok()?);
    take(rest, usize::try_from(length).unwrap_or(0)).map(drop)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_two_brokers_one_with_a_rack() {
        let mut answer = CORRELATION.to_vec();
        answer.extend([0, 0, 0, 2]);
        answer.extend([0, 0, 0, 1, 0, 2, b'l', b'h', 0, 0, 0x40, 0, 0xff, 0xff]);
        answer.extend([0, 0, 0, 3, 0, 1, b'l', 0, 0, 0x40, 0, 0, 1, b'r']);
        assert_eq!(decode(&answer), Some(vec![1, 3]));
        assert_eq!(decode(&answer[..answer.len() - 1]), None);
    }

    #[test]
    fn refuses_another_correlation() {
        assert_eq!(decode(&[0, 0, 0, 8, 0, 0, 0, 0]), None);
    }
}
