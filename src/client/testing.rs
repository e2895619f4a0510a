//! A broker whose every answer a test writes down.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use crate::connection::{Connection, ConnectionConfig};
use crate::error::{Peer, Result};
use twinlog_core::report::Side;

/// The broker's end of a connection.
pub(crate) struct Script<S> {
    pub(crate) stream: S,
}

/// A request as the broker sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    /// What follows the header.
    pub(crate) body: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Script<S> {
    /// The bytes of the next request after its length; none at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let length = self.stream.read_u32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        Some(frame.into())
    }

    pub(crate) async fn request(&mut self) -> Option<Seen> {
        let mut body = self.frame().await?;
        let api = ApiKey::try_from(i16::from_be_bytes([body[0], body[1]])).unwrap();
        let version = i16::from_be_bytes([body[2], body[3]]);
        let header = RequestHeader::decode(&mut body, api.request_header_version(version)).unwrap();
        Some(Seen { api, version, correlation_id: header.correlation_id, body })
    }

    pub(crate) async fn answer<A: Encodable + Sync>(&mut self, to: &Seen, body: &A) {
        self.answer_at(to, to.version, body).await;
    }

    pub(crate) async fn answer_at<A: Encodable + Sync>(&mut self, to: &Seen, version: i16, body: &A) {
        let mut bytes = BytesMut::new();
        body.encode(&mut bytes, version).unwrap();
        self.answer_bytes(&Seen { version, body: Bytes::new(), ..*to }, &bytes).await;
    }

    /// As [`answer`](Self::answer), with a body that is encoded already.
    pub(crate) async fn answer_bytes(&mut self, to: &Seen, body: &[u8]) {
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(to.correlation_id);
        header.encode(&mut frame, to.api.response_header_version(to.version)).unwrap();
        frame.extend_from_slice(body);
        self.write(&frame).await;
    }

    /// Writes an answer's bytes with their length.
    pub(crate) async fn write(&mut self, frame: &[u8]) {
        self.stream.write_u32(u32::try_from(frame.len()).unwrap()).await.unwrap();
        self.stream.write_all(frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Answers the ApiVersions request that begins a connection.
    pub(crate) async fn greet(&mut self) {
        let hello = self.request().await.unwrap();
        assert_eq!((hello.api, hello.version), (ApiKey::ApiVersions, 3));
        self.answer(&hello, &versions()).await;
    }
}

/// All APIs in all versions that kafka-protocol knows.
pub(crate) fn versions() -> ApiVersionsResponse {
    let api = |key: ApiKey| {
        let range = key.valid_versions();
        ApiVersion::default().with_api_key(key as i16).with_min_version(range.min).with_max_version(range.max)
    };
    ApiVersionsResponse::default().with_api_keys(ApiKey::iter().map(api).collect())
}

pub(crate) fn peer() -> Peer {
    Peer { side: Side::Target, node: Some(1), address: Arc::from("broker.test:9092") }
}

/// A connection to a scripted broker through a pipe that holds `pipe_bytes` each way.
pub(crate) async fn connect(pipe_bytes: usize, config: ConnectionConfig) -> (Connection, Script<DuplexStream>) {
    let (near, far) = duplex(pipe_bytes);
    let mut script = Script { stream: far };
    let (connection, ()) = tokio::join!(Connection::start(near, peer(), config), script.greet());
    (connection.unwrap(), script)
}

/// As [`connect`], for scripts of the greeting itself.
pub(crate) async fn start(near: DuplexStream) -> Result<Connection> {
    Connection::start(near, peer(), ConnectionConfig::default()).await
}
