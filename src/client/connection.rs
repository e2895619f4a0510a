//! One connection to one broker: requests go out in the order in which they are sent, answers come
//! back in the same order and are matched by correlation id.
//!
//! One task owns the socket and both directions of it (`connection/io.rs`), so it knows for each
//! request whether its last byte left: that decides between [`Outcome::NotSent`] and
//! [`Outcome::Unknown`]. A connection that failed stays failed; `Cluster` makes a new one.
//! Dropping the last handle lets the answers that are still due come in, then closes.

mod answer;
mod frames;
mod io;
mod outgoing;
#[cfg(test)]
mod tests;
mod versions;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

pub use self::answer::{Answer, Reply};
use self::io::{Command, Io, Queued, Waiter};
pub use self::versions::Versions;
use crate::error::{Cause, Error, Outcome, Peer, Result, Step};

/// What a connection needs besides its socket.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Sent with each request; brokers show it in logs and apply quotas by it.
    pub client_id: String,
    /// How long an answer may take where the call names no other time.
    pub request_timeout: Duration,
    /// How many requests may be queued or unanswered at once.
    pub in_flight_max: usize,
    /// The longest answer that is taken.
    pub frame_bytes_max: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            client_id: "twinlog".into(),
            request_timeout: Duration::from_secs(30),
            in_flight_max: 64,
            frame_bytes_max: 128 << 20,
        }
    }
}

/// Says whether a request may still leave.
#[derive(Clone)]
pub struct Permit(Arc<dyn Fn() -> bool + Send + Sync>);

impl Permit {
    /// A permit that a function gives or refuses.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    fn holds(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.holds())
    }
}

/// A request whose bytes are ready.
#[derive(Debug)]
pub struct RawRequest {
    /// The API, for error messages.
    pub api_key: i16,
    /// The correlation id in the bytes, from [`Connection::next_correlation_id`].
    pub correlation_id: i32,
    /// How long the answer may take; none: as configured.
    pub timeout: Option<Duration>,
    /// Whether it may still leave, asked before each write of its bytes; none: always. If not, the connection is
    /// closed, and what has not left as a whole counts as not sent.
    pub permit: Option<Permit>,
    /// The whole request from its 4-byte length on. They are written as they are, never joined.
    pub slices: Vec<Bytes>,
}

/// A connection to a broker. Methods take `&self`: share it by `Arc`.
#[derive(Debug)]
pub struct Connection {
    common: Common,
    commands: mpsc::UnboundedSender<Command>,
}

/// A connection that this does not keep open.
#[derive(Debug)]
pub(crate) struct WeakConnection {
    common: Common,
    commands: mpsc::WeakUnboundedSender<Command>,
}

/// What every handle of a connection has.
#[derive(Clone, Debug)]
struct Common {
    peer: Peer,
    client_id: StrBytes,
    config: ConnectionConfig,
    versions: Arc<Versions>,
    slots: Arc<Semaphore>,
    failure: watch::Receiver<Option<Arc<Cause>>>,
    correlation_id: Arc<AtomicI32>,
}

impl WeakConnection {
    /// The connection, while somebody else holds it.
    pub(crate) fn upgrade(&self) -> Option<Connection> {
        Some(Connection { common: self.common.clone(), commands: self.commands.upgrade()? })
    }

    /// As [`Connection::closed`].
    pub(crate) fn closed(&self) -> impl Future<Output = Error> + Send + 'static {
        self.common.closed()
    }
}

impl Common {
    fn closed(&self) -> impl Future<Output = Error> + Send + 'static {
        let peer = self.peer.clone();
        let mut failure = self.failure.clone();
        async move {
            let cause = match failure.wait_for(Option::is_some).await {
                Ok(cause) => cause.clone(),
                Err(_runtime_gone) => None,
            };
            let cause = cause.unwrap_or_else(|| Arc::new(Cause::ClosedHere));
            Error::new(peer, Step::Connect, Outcome::NotSent, cause)
        }
    }
}

/// The right to send one request; see [`Connection::slot`].
#[derive(Debug)]
pub struct Slot<'a> {
    connection: &'a Connection,
    permit: OwnedSemaphorePermit,
}

impl Slot<'_> {
    /// Queues the request at once. The order of these calls is the order on the wire.
    pub fn send(self, request: RawRequest) -> Answer {
        let (reply, answer) = Answer::due(self.connection.common.peer.clone(), Step::Api(request.api_key));
        self.connection.queue(request, self.permit, reply);
        answer
    }
}

impl Connection {
    /// Takes a stream that is ready for Kafka requests and asks the broker for its API versions.
    pub async fn start<S>(stream: S, peer: Peer, config: ConnectionConfig) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (commands, queue) = mpsc::unbounded_channel();
        let (failed, failure) = watch::channel(None);
        let slots = Arc::new(Semaphore::new(config.in_flight_max));
        let io = Io::new(stream, peer.clone(), config.frame_bytes_max, queue, failed);
        tokio::spawn(io.run(Arc::clone(&slots)));
        let common = Common {
            peer,
            client_id: StrBytes::from_string(config.client_id.clone()),
            config,
            versions: Arc::default(),
            slots,
            failure,
            correlation_id: Arc::default(),
        };
        let mut connection = Self { common, commands };
        connection.common.versions = Arc::new(versions::ask(&connection).await?);
        Ok(connection)
    }

    /// The broker at the other end.
    pub fn peer(&self) -> &Peer {
        &self.common.peer
    }

    /// The client id that belongs into the header of raw requests.
    pub fn client_id(&self) -> &str {
        &self.common.client_id
    }

    /// How long an answer may take where the call names no other time.
    pub fn request_timeout(&self) -> Duration {
        self.common.config.request_timeout
    }

    /// The broker's version ranges.
    pub fn versions(&self) -> &Versions {
        &self.common.versions
    }

    /// The highest version that the broker and this build have in common.
    pub fn version<R: Request>(&self) -> Option<i16> {
        self.version_up_to::<R>(i16::MAX)
    }

    /// The highest common version that is not above `max`.
    pub fn version_up_to<R: Request>(&self, max: i16) -> Option<i16> {
        self.common.versions.highest::<R>(max)
    }

    /// The highest common version from `min` to `max`, or an error that says that there is none.
    pub fn require_version<R: Request>(&self, min: i16, max: i16) -> Result<i16> {
        match self.version_up_to::<R>(max) {
            Some(version) if version >= min => Ok(version),
            _ => Err(self.error(Step::of::<R>(), Outcome::NotSent, Cause::NoVersion)),
        }
    }

    /// Sends a request in the highest common version and waits for its answer.
    pub fn call<R: Request>(&self, request: R) -> impl Future<Output = Result<R::Response>> + Send + use<'_, R> {
        let frame = self
            .require_version::<R>(i16::MIN, i16::MAX)
            .and_then(|version| Ok((version, self.encode(&request, version)?)));
        self.finish::<R>(frame, None, None)
    }

    /// Sends a request in this version and waits for its answer. When the answer takes longer than
    /// `timeout` (none: as configured), the connection is closed: the answers behind it are late
    /// as well.
    pub fn call_at<R: Request>(
        &self,
        request: R,
        version: i16,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<R::Response>> + Send + use<'_, R> {
        let frame = self.encode(&request, version).map(|frame| (version, frame));
        self.finish::<R>(frame, timeout, None)
    }

    /// The same; with a permit the request leaves only while that holds ([`RawRequest::permit`]).
    pub fn call_while<R: Request>(
        &self,
        request: R,
        version: i16,
        permit: Option<Permit>,
    ) -> impl Future<Output = Result<R::Response>> + Send + use<'_, R> {
        let frame = self.encode(&request, version).map(|frame| (version, frame));
        self.finish::<R>(frame, None, permit)
    }

    /// Sends a request in this version and gives the body of its answer as it came: for answers whose content must
    /// stay a slice of the frame.
    pub fn call_for_body<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Result<Bytes>> + Send + use<'_, R> {
        let frame = self.encode(request, version);
        async move {
            let step = Step::of::<R>();
            let (correlation_id, frame) = frame?;
            let slot = self.slot().await.map_err(|e| e.at(step))?;
            let request = RawRequest { api_key: R::KEY, correlation_id, timeout, permit: None, slices: vec![frame] };
            let mut answer = slot.send(request).await?;
            ResponseHeader::decode(&mut answer, R::Response::header_version(version))
                .map_err(|e| self.error(step, Outcome::Unknown, Cause::Decode(e.to_string())))?;
            Ok(answer)
        }
    }

    /// A new correlation id for a raw request.
    pub fn next_correlation_id(&self) -> i32 {
        self.common.correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX
    }

    /// Waits until one more request may be in flight.
    pub async fn slot(&self) -> Result<Slot<'_>> {
        match Arc::clone(&self.common.slots).acquire_owned().await {
            Ok(permit) => Ok(Slot { connection: self, permit }),
            Err(_closed) => Err(self.failed(Step::Connect, Outcome::NotSent)),
        }
    }

    /// Queues a request at once; the order of these calls is the order on the wire. With too many
    /// requests in flight the answer is [`Cause::Full`]: use [`slot`](Self::slot) to wait.
    ///
    /// The answer is the frame without its length: it begins with the correlation id.
    pub fn send_raw(&self, request: RawRequest) -> Answer {
        let (reply, answer) = Answer::due(self.common.peer.clone(), Step::Api(request.api_key));
        self.send_raw_then(request, reply);
        answer
    }

    /// The same; the reply is called in the task that reads the socket, or in this call where nothing can be sent. On
    /// the way of each request that is one task less to wake.
    pub fn send_raw_then(&self, request: RawRequest, reply: Reply) {
        match Arc::clone(&self.common.slots).try_acquire_owned() {
            Ok(permit) => self.queue(request, permit, reply),
            Err(tokio::sync::TryAcquireError::Closed) => {
                reply.give(Err(self.failed(Step::Api(request.api_key), Outcome::NotSent)));
            }
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                let cause = Cause::Full(self.common.config.in_flight_max);
                reply.give(Err(self.error(Step::Api(request.api_key), Outcome::NotSent, cause)));
            }
        }
    }

    /// Whether the connection can no longer be used.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Waits until the connection can no longer be used and says why.
    pub fn closed(&self) -> impl Future<Output = Error> + Send + 'static {
        self.common.closed()
    }

    /// Closes the connection at once; waiters fail.
    pub fn close(&self) {
        self.fail(Cause::ClosedHere.into());
    }

    /// The same for a reason that waiters are told.
    pub(crate) fn fail(&self, cause: Arc<Cause>) {
        self.tell(Command::Close(cause));
    }

    /// Holds back requests that are queued from now on, until [`release`](Self::release).
    pub(crate) fn hold(&self) {
        self.tell(Command::Hold);
    }

    /// Lets go what was held back, in its order.
    pub(crate) fn release(&self) {
        self.tell(Command::Release);
    }

    /// A connection that is closed already has nobody who listens.
    fn tell(&self, command: Command) {
        drop(self.commands.send(command));
    }

    /// A handle that does not keep the connection open.
    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection { common: self.common.clone(), commands: self.commands.downgrade() }
    }

    /// Sends a request in the highest common version up to `max`, also while others are held back, and waits for its
    /// answer.
    pub(crate) async fn call_ahead<R: Request>(&self, request: R, max: i16) -> Result<R::Response> {
        let version = self.require_version::<R>(i16::MIN, max)?;
        let (correlation_id, frame) = self.encode(&request, version)?;
        let (reply, answer) = Answer::due(self.common.peer.clone(), Step::of::<R>());
        let slices = vec![frame];
        let request = RawRequest { api_key: R::KEY, correlation_id, timeout: None, permit: None, slices };
        self.queue_by(Command::Ahead, request, None, reply);
        self.decode::<R::Response>(Step::of::<R>(), answer.await?, version)
    }

    fn queue(&self, request: RawRequest, permit: OwnedSemaphorePermit, reply: Reply) {
        self.queue_by(Command::Request, request, Some(permit), reply);
    }

    fn queue_by(
        &self,
        command: fn(Queued) -> Command,
        request: RawRequest,
        slot: Option<OwnedSemaphorePermit>,
        reply: Reply,
    ) {
        let timeout = request.timeout.unwrap_or(self.common.config.request_timeout);
        let waiter = Waiter {
            api_key: request.api_key,
            correlation_id: request.correlation_id,
            timeout,
            deadline: Instant::now() + timeout,
            end: 0,
            reply,
            _slot: slot,
        };
        let queued = Queued { waiter, slices: request.slices, permit: request.permit };
        if let Err(mpsc::error::SendError(Command::Request(queued) | Command::Ahead(queued))) =
            self.commands.send(command(queued))
        {
            let waiter = queued.waiter;
            waiter.reply.give(Err(self.failed(Step::Api(waiter.api_key), Outcome::NotSent)));
        }
    }

    async fn finish<R: Request>(
        &self,
        frame: Result<(i16, (i32, Bytes))>,
        timeout: Option<Duration>,
        permit: Option<Permit>,
    ) -> Result<R::Response> {
        let (version, (correlation_id, frame)) = frame?;
        let slot = self.slot().await.map_err(|e| e.at(Step::of::<R>()))?;
        let slices = vec![frame];
        let request = RawRequest { api_key: R::KEY, correlation_id, timeout, permit, slices };
        let answer = slot.send(request).await?;
        self.decode::<R::Response>(Step::of::<R>(), answer, version)
    }

    /// Decodes an answer, its header included.
    pub(crate) fn decode<A: Decodable + HeaderVersion>(
        &self,
        step: Step,
        mut answer: Bytes,
        version: i16,
    ) -> Result<A> {
        ResponseHeader::decode(&mut answer, A::header_version(version))
            .and_then(|_| A::decode(&mut answer, version))
            .map_err(|e| self.error(step, Outcome::Unknown, Cause::Decode(e.to_string())))
    }

    fn encode<R: Request>(&self, request: &R, version: i16) -> Result<(i32, Bytes)> {
        let correlation_id = self.next_correlation_id();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.common.client_id.clone()));
        let mut frame = BytesMut::zeroed(4);
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|e| e.to_string())
            .and_then(|()| i32::try_from(frame.len() - 4).map_err(|e| e.to_string()))
            .map(|length| frame[..4].copy_from_slice(&length.to_be_bytes()))
            .map_err(|e| self.error(Step::of::<R>(), Outcome::NotSent, Cause::Encode(e)))?;
        Ok((correlation_id, frame.freeze()))
    }

    pub(crate) fn error(&self, step: Step, outcome: Outcome, cause: Cause) -> Error {
        Error::new(self.common.peer.clone(), step, outcome, cause)
    }

    /// The error for a request on a connection that has failed.
    fn failed(&self, step: Step, outcome: Outcome) -> Error {
        let cause = self.common.failure.borrow().clone();
        let cause = cause.unwrap_or_else(|| Arc::new(Cause::ClosedHere));
        Error::new(self.common.peer.clone(), step, outcome, cause)
    }
}
