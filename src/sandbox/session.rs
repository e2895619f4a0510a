//! One connection: requests come in, are processed one after the other, and are answered in that order, as a broker
//! does. It works over any stream.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::sleep;
use twinlog_wire::error::FrameError;
use twinlog_wire::frame::FrameCutter;

use crate::api::{self, Exchange};
use crate::decode::{DecodeError, decode};
use crate::faults::{Fate, Seen};
use crate::shared::{Listener, Shared};

/// Names a connection, from the first one on that the sandbox took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client has closed it")]
    ByClient,
    #[error("it was cut on purpose")]
    Cut,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a request ends inside its header")]
    ShortHeader,
    #[error("API key {0} is not known")]
    UnknownApi(i16),
    #[error("{api:?} v{version} is not offered")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("{api:?} v{version}: {error}")]
    Decode { api: ApiKey, version: i16, error: DecodeError },
    #[error("the answer to {api:?} v{version} cannot be encoded: {words}")]
    Encode { api: ApiKey, version: i16, words: String },
}

/// Serves a connection until one of both sides ends it.
pub(crate) async fn run<S>(stream: S, shared: Arc<Shared>, node: i32, listener: Listener)
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (id, mut cut) = shared.open(node);
    let mut session = Session::new(stream, &shared, node, listener, id);
    let end = tokio::select! {
        // The cut first: what has come in together with it is not processed.
        biased;
        _ = cut.wait_for(|cut| *cut) => End::Cut,
        end = session.serve() => end,
    };
    tracing::debug!(connection = %id, node, %end, "A connection has ended.");
    shared.close(id);
}

struct Session<'a, S> {
    stream: S,
    shared: &'a Shared,
    node: i32,
    listener: Listener,
    id: ConnectionId,
    cutter: FrameCutter,
    buffer: BytesMut,
    paused: Option<watch::Receiver<bool>>,
    /// Answers are swallowed from here on.
    is_mute: bool,
}

impl<'a, S: AsyncRead + AsyncWrite + Send + Unpin> Session<'a, S> {
    fn new(stream: S, shared: &'a Shared, node: i32, listener: Listener, id: ConnectionId) -> Self {
        let cutter = FrameCutter::new(shared.request_bytes_max());
        let paused = shared.paused(node);
        Self { stream, shared, node, listener, id, cutter, buffer: BytesMut::new(), paused, is_mute: false }
    }

    async fn serve(&mut self) -> End {
        loop {
            let frame = match self.next_frame().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return End::ByClient,
                Err(end) => return end,
            };
            if let Err(end) = self.request(frame).await {
                return end;
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>, End> {
        loop {
            if let Some(frame) = self.cutter.take(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            // Not more at once than comes: a length is only a claim.
            let missing = self.cutter.missing(&self.buffer)?;
            self.buffer.reserve(missing.min(1 << 20));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn request(&mut self, frame: Bytes) -> Result<(), End> {
        let Some(&[key_high, key_low, version_high, version_low, a, b, c, d]) = frame.first_chunk() else {
            return Err(End::ShortHeader);
        };
        let key = i16::from_be_bytes([key_high, key_low]);
        let version = i16::from_be_bytes([version_high, version_low]);
        let correlation_id = i32::from_be_bytes([a, b, c, d]);
        let api = ApiKey::try_from(key).map_err(|()| End::UnknownApi(key))?;
        if !api::is_offered(api, version) {
            if api == ApiKey::ApiVersions {
                // A client that is newer than the broker learns so, in the oldest version (KIP-511).
                let answer = api::unsupported_api_versions()?;
                return self.answer(api, 0, correlation_id, &answer).await;
            }
            return Err(End::UnsupportedVersion { api, version });
        }
        let mut body = frame;
        let header = header(&mut body, api, version)?;
        let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
        self.shared.note_client(self.id, &client_id);
        self.resumed().await;
        let seen = Seen { api, node: self.node, connection: self.id, client_id: &client_id };
        let verdict = self.shared.judge(seen);
        if !verdict.delay.is_zero() {
            sleep(verdict.delay).await;
            self.resumed().await;
        }
        if let Some(within) = verdict.overtaken_within {
            self.shared.overtaken(api, within).await;
            self.resumed().await;
        }
        match verdict.before {
            Fate::Cut => return Err(End::Cut),
            Fate::Lose => return std::future::pending().await,
            Fate::Pass | Fate::Refuse(_) => {}
        }
        let exchange = Exchange {
            shared: self.shared,
            node: self.node,
            listener: self.listener,
            client_id: &client_id,
            api,
            version,
        };
        let answer = api::dispatch(&exchange, body, &verdict).await?;
        self.shared.note_processed(api);
        match verdict.after {
            Fate::Cut => return Err(End::Cut),
            Fate::Lose => self.is_mute = true,
            Fate::Pass | Fate::Refuse(_) => {}
        }
        match answer {
            Some(answer) => self.answer(api, version, correlation_id, &answer).await,
            None => Ok(()),
        }
    }

    /// Waits while the node is paused. A node that is gone is paused for good.
    async fn resumed(&mut self) {
        if let Some(paused) = &mut self.paused
            && paused.wait_for(|paused| !*paused).await.is_err()
        {
            std::future::pending().await
        }
    }

    async fn answer(&mut self, api: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Result<(), End> {
        if self.is_mute {
            return Ok(());
        }
        let is_flexible = api.response_header_version(version) >= 1;
        let len = 4 + usize::from(is_flexible) + body.len();
        let too_long = |_| End::Encode { api, version, words: "it is too long for a frame".to_owned() };
        let mut head = BytesMut::with_capacity(9);
        head.put_i32(i32::try_from(len).map_err(too_long)?);
        head.put_i32(correlation_id);
        if is_flexible {
            head.put_u8(0);
        }
        self.stream.write_all(&head).await?;
        self.stream.write_all(body).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// Takes the header off the frame.
fn header(frame: &mut Bytes, api: ApiKey, version: i16) -> Result<RequestHeader, End> {
    use kafka_protocol::protocol::Decodable as _;
    let error = |error| End::Decode { api, version, error };
    let header_version = api.request_header_version(version);
    // Once for the check, which leaves the frame as it is, and once for the place where the body begins.
    let header = decode(frame.clone(), header_version).map_err(error)?;
    RequestHeader::decode(frame, header_version).map_err(|e| error(DecodeError::Malformed(e.to_string())))?;
    Ok(header)
}
