//! From an address to a connection: lookup, TCP with its options (or another transport), TLS, API versions.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::connection::{Connection, ConnectionConfig};
use crate::error::{Cause, Error, Outcome, Peer, Result, Step};
use crate::sasl::Sasl;
use crate::tls::Tls;
use crate::transport::{Connector, Stream, Transport};
use twinlog_core::config::security::{SaslConfig, TlsConfig};

/// How brokers are connected to.
#[derive(Clone, Debug)]
pub struct DialConfig {
    /// How streams are opened.
    pub transport: Transport,
    /// TLS; none: plain text.
    pub tls: Option<TlsConfig>,
    /// SASL; none: the broker is not told who we are.
    pub sasl: Option<SaslConfig>,
    /// Sent with each request; brokers show it in logs and apply quotas by it.
    pub client_id: String,
    /// How long lookup, connect and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long an answer may take where the call names no other time.
    pub request_timeout: Duration,
    /// How long sent bytes may stay unacknowledged before the kernel gives the connection up
    /// (Linux's `TCP_USER_TIMEOUT`). Keep it below the lease of a lane.
    pub user_timeout: Option<Duration>,
    /// The idle time after which the kernel probes the peer, and the pause between probes.
    pub keepalive: Duration,
    /// The socket's send buffer in bytes; none: the kernel sizes it.
    pub send_buffer: Option<u32>,
    /// The socket's receive buffer in bytes; none: the kernel sizes it.
    pub receive_buffer: Option<u32>,
    /// How many requests may be queued or unanswered on a connection at once.
    pub in_flight_max: usize,
    /// The longest answer that is taken.
    pub frame_bytes_max: usize,
}

impl Default for DialConfig {
    fn default() -> Self {
        let ConnectionConfig { client_id, request_timeout, in_flight_max, frame_bytes_max } =
            ConnectionConfig::default();
        Self {
            transport: Transport::Tcp,
            tls: None,
            sasl: None,
            client_id,
            connect_timeout: Duration::from_secs(10),
            request_timeout,
            user_timeout: Some(Duration::from_secs(20)),
            keepalive: Duration::from_secs(30),
            send_buffer: None,
            receive_buffer: None,
            in_flight_max,
            frame_bytes_max,
        }
    }
}

/// A host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The host name or IP address, an IPv6 one without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(at: SocketAddr) -> Self {
        Self { host: at.ip().to_string(), port: at.port() }
    }
}

/// The text is not `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not host:port")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || AddressError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if host.is_empty() || (bare.is_none() && host.contains(':')) {
            return Err(refused());
        }
        let port = port.parse().map_err(|_| refused())?;
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port })
    }
}

/// Makes connections by one configuration.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    config: DialConfig,
    tls: Option<Tls>,
    sasl: Option<Arc<Sasl>>,
}

impl Dialer {
    pub(crate) fn new(config: DialConfig) -> Result<Self, Cause> {
        let tls = config.tls.as_ref().map(Tls::new).transpose()?;
        let sasl = config.sasl.as_ref().map(Sasl::new).transpose()?.map(Arc::new);
        Ok(Self { config, tls, sasl })
    }

    pub(crate) fn config(&self) -> &DialConfig {
        &self.config
    }

    pub(crate) async fn dial(&self, address: &Address, peer: Peer) -> Result<Connection> {
        // Each transport keeps its own type: over TCP, slices go to the socket without a call in between.
        match &self.config.transport {
            Transport::Tcp => {
                let stream = self.in_time(&peer, Step::Connect, self.connect(address, &peer)).await?;
                self.start(stream, address, peer).await
            }
            Transport::Custom(connector) => {
                let stream = self.in_time(&peer, Step::Connect, open(connector.as_ref(), address, &peer)).await?;
                self.start(stream, address, peer).await
            }
        }
    }

    /// From an open stream to a connection that is ready for requests.
    async fn start<S: Stream + 'static>(&self, stream: S, address: &Address, peer: Peer) -> Result<Connection> {
        let config = ConnectionConfig {
            client_id: self.config.client_id.clone(),
            request_timeout: self.config.request_timeout,
            in_flight_max: self.config.in_flight_max,
            frame_bytes_max: self.config.frame_bytes_max,
        };
        let connection = match &self.tls {
            None => Connection::start(stream, peer, config).await?,
            Some(tls) => {
                let handshake = tls.connect(stream, &address.host, &peer);
                let stream = self.in_time(&peer, Step::Tls, handshake).await?;
                Connection::start(stream, peer, config).await?
            }
        };
        if let Some(sasl) = &self.sasl {
            sasl.begin(&connection, &address.host).await?;
        }
        Ok(connection)
    }

    async fn in_time<T: Send>(
        &self,
        peer: &Peer,
        step: Step,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let limit = self.config.connect_timeout;
        timeout(limit, work)
            .await
            .unwrap_or_else(|_elapsed| Err(Error::new(peer.clone(), step, Outcome::NotSent, Cause::Timeout(limit))))
    }

    /// Tries the host's addresses one after the other.
    async fn connect(&self, address: &Address, peer: &Peer) -> Result<TcpStream> {
        let failed = |cause: Cause| Error::new(peer.clone(), Step::Connect, Outcome::NotSent, cause);
        let resolved = lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|e| failed(Cause::Lookup(e.to_string())))?;
        let mut last = Cause::Lookup("it has no address".into());
        for candidate in resolved {
            match self.connect_one(candidate).await {
                Ok(stream) => return Ok(stream),
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => last = Cause::Refused,
                Err(e) => last = Cause::Io(e),
            }
        }
        Err(failed(last))
    }

    async fn connect_one(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_nodelay(true)?;
        // The buffers must be set before the connect: the window scale is agreed on there.
        if let Some(bytes) = self.config.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.config.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let keepalive = TcpKeepalive::new().with_time(self.config.keepalive).with_interval(self.config.keepalive);
        let options = SockRef::from(&socket);
        options.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(self.config.user_timeout)?;
        socket.connect(address).await
    }
}

/// Opens a stream by a transport of the caller's.
async fn open(connector: &dyn Connector, address: &Address, peer: &Peer) -> Result<Box<dyn Stream>> {
    connector.open(address).await.map_err(|error| {
        let cause = match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            _ => Cause::Io(error),
        };
        Error::new(peer.clone(), Step::Connect, Outcome::NotSent, cause)
    })
}
