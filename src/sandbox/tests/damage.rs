//! Bytes from anybody: a connection may end, the sandbox must not.

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, HeaderVersion as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use twinlog_sandbox::{APIS, Sandbox};

use crate::kit::{Client, plain, produce_request, simple, text};

/// SplitMix64, as good as any here.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// Sends a frame and waits until it is answered or the connection is closed.
async fn send(sandbox: &Sandbox, frame: &[u8]) {
    let mut stream = sandbox.connect(1).unwrap().stream;
    stream.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
    stream.write_all(frame).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
}

/// A header of this API and version, and what follows.
fn frame(api: ApiKey, version: i16, body: &[u8]) -> BytesMut {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_client_id(Some(text("x")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, api.request_header_version(version)).unwrap();
    frame.put_slice(body);
    frame
}

#[tokio::test]
async fn random_bodies_of_all_apis_do_no_harm() {
    let (sandbox, _clock, mut client) = simple();
    let mut chance = Chance(1);
    for round in 0..60 {
        for range in APIS {
            let version =
                range.min + i16::try_from(chance.below(usize::try_from(range.max - range.min + 1).unwrap())).unwrap();
            let mut body = vec![0; chance.below(80)];
            for byte in &mut body {
                // Small numbers make bodies that get further.
                let random = chance.next().to_be_bytes();
                *byte = if round % 3 == 0 { random[0] } else { random[0] % 4 };
            }
            send(&sandbox, &frame(range.api, version, &body)).await;
        }
    }
    client.append(plain(1)).await.unwrap();
}

#[tokio::test]
async fn damaged_requests_do_no_harm() {
    let (sandbox, _clock, mut client) = simple();
    let mut body = BytesMut::new();
    produce_request(None, plain(3)).encode(&mut body, 9).unwrap();
    let whole = frame(ApiKey::Produce, 9, &body);
    for cut in 0..whole.len() {
        send(&sandbox, &whole[..cut]).await;
    }
    let mut chance = Chance(2);
    for _ in 0..2000 {
        let mut damaged = whole.clone();
        for _ in 0..=chance.below(3) {
            let place = chance.below(damaged.len());
            damaged[place] ^= u8::try_from(1 + chance.below(255)).unwrap();
        }
        send(&sandbox, &damaged).await;
    }
    client.append(plain(1)).await.unwrap();
}

#[tokio::test]
async fn damaged_batches_with_a_checksum_that_fits_do_no_harm() {
    let (_sandbox, _clock, mut client) = simple();
    let whole = plain(3);
    let mut chance = Chance(3);
    for _ in 0..2000 {
        let mut damaged = BytesMut::from(&whole[..]);
        let place = chance.below(damaged.len());
        damaged[place] ^= u8::try_from(1 + chance.below(255)).unwrap();
        let crc = crc32c::crc32c(&damaged[21..]);
        damaged[17..21].copy_from_slice(&crc.to_be_bytes());
        // Whatever it says, it says something.
        drop(client.produce(damaged.freeze()).await);
    }
    client.append(whole).await.unwrap();
}

#[tokio::test]
async fn frames_with_wrong_lengths_end_their_connection() {
    let (sandbox, _clock, mut client) = simple();
    for length in [u32::MAX, 1 << 30, 3] {
        let mut stream = sandbox.connect(1).unwrap().stream;
        stream.write_u32(length).await.unwrap();
        stream.write_all(&[0; 3]).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{length}");
    }
    client.append(plain(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_offered_is_not_answered_but_for_api_versions() {
    let (sandbox, _clock, _client) = simple();
    for (key, version) in [(0i16, 2i16), (1, 18), (9000, 0), (24, 4), (36, 0)] {
        let mut stream = sandbox.connect(1).unwrap().stream;
        let mut head = BytesMut::new();
        head.put_u32(10);
        head.put_i16(key);
        head.put_i16(version);
        head.put_i32(7);
        head.put_i16(-1);
        stream.write_all(&head).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{key} v{version}");
    }
    let mut client = Client::new(&sandbox, 1);
    let mut request = BytesMut::new();
    request.put_slice(&[0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x', 0]);
    client.stream.write_u32(12).await.unwrap();
    client.stream.write_all(&request).await.unwrap();
    let mut answer = vec![0; usize::try_from(client.stream.read_u32().await.unwrap()).unwrap()];
    client.stream.read_exact(&mut answer).await.unwrap();
    let mut body = bytes::Bytes::from(answer).slice(4..);
    let answer = ApiVersionsResponse::decode(&mut body, 0).unwrap();
    assert_eq!(answer.error_code, 35);
    assert_eq!((answer.api_keys[0].api_key, answer.api_keys[0].max_version), (18, 4));
    assert_eq!(ApiVersionsRequest::header_version(3), 2);
}
