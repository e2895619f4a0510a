//! What went wrong, on which side, at which broker, and whether the request may have been executed.
//!
//! One failure of a connection fails all its waiters: they share the [`Cause`] and differ in their
//! API and their [`Outcome`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use twinlog_core::config::security::SaslConfig;
use twinlog_wire::error_code::{ErrorCode, Retry};

use crate::Side;

/// The result of everything that talks to a broker.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The broker that an error or a connection is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The cluster.
    pub side: Side,
    /// The broker's id; none for an address that was not answered by a broker yet.
    pub node: Option<i32>,
    /// `host:port`, or a list of them where the whole cluster is meant.
    pub address: Arc<str>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{} broker {node} ({})", self.side, self.address),
            None => write!(f, "{} {}", self.side, self.address),
        }
    }
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The configuration was made ready.
    Setup,
    /// The address was looked up and a TCP connection made.
    Connect,
    /// The TLS handshake.
    Tls,
    /// A request of this API key.
    Api(i16),
}

impl Step {
    /// The step of a request type.
    pub const fn of<R: kafka_protocol::protocol::Request>() -> Self {
        Self::Api(R::KEY)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup => f.write_str("configuration"),
            Self::Connect => f.write_str("Connect"),
            Self::Tls => f.write_str("TLS"),
            Self::Api(key) => match ApiKey::try_from(*key) {
                Ok(api) => write!(f, "{api:?}"),
                Err(()) => write!(f, "API {key}"),
            },
        }
    }
}

/// What is known about the fate of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its last byte never left: the broker cannot have executed it.
    NotSent,
    /// It left and was not answered: the broker may have executed it.
    Unknown,
    /// The broker answered it.
    Answered,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// Nobody listens at the address.
    #[error("connection refused")]
    Refused,
    /// The host name has no address.
    #[error("cannot look up the host name: {0}")]
    Lookup(String),
    /// The socket failed.
    #[error("{0}")]
    Io(io::Error),
    /// Nothing came back in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The broker closed the connection between two answers.
    #[error("the broker closed the connection")]
    ClosedByPeer,
    /// The broker closed the connection at the first request after ApiVersions.
    #[error("the broker closed the connection at the first request")]
    ClosedAtFirstRequest,
    /// The broker closed the connection inside an answer.
    #[error("the connection was cut after {got} of {expected} bytes of an answer")]
    Cut {
        /// The bytes that came.
        got: usize,
        /// The bytes that were announced.
        expected: usize,
    },
    /// This side closed the connection.
    #[error("the connection was closed by twinlog")]
    ClosedHere,
    /// A request that must leave in time had not left when its time was over.
    #[error("the time for a request was over before it was written")]
    NotPermitted,
    /// As many requests are in flight as are allowed on a connection.
    #[error("{0} requests are in flight already")]
    Full(usize),
    /// The certificate, its name or the handshake was refused.
    #[error("TLS: {0}")]
    Tls(String),
    /// A mechanism of SASL came to an end on this side.
    #[error("SASL: {0}")]
    Sasl(String),
    /// There is no token to log in with.
    #[error("OAUTHBEARER: {0}")]
    Token(String),
    /// A file or a setting cannot be used.
    #[error("{0}")]
    Config(String),
    /// An answer longer than allowed was announced.
    #[error("an answer of {announced} bytes was announced, {max} are allowed")]
    FrameTooLarge {
        /// The announced length; negative lengths are refused, too.
        announced: i64,
        /// The limit.
        max: usize,
    },
    /// An answer to another request than the oldest one came.
    #[error("an answer with correlation id {got} came where {} was due", due(.expected))]
    Correlation {
        /// The id in the answer.
        got: i32,
        /// The id of the oldest request in flight.
        expected: Option<i32>,
    },
    /// The answer is not what the protocol says.
    #[error("the answer cannot be read: {0}")]
    Decode(String),
    /// The request cannot be expressed in the version that was chosen.
    #[error("the request cannot be written: {0}")]
    Encode(String),
    /// Broker and twinlog have no version of the API in common.
    #[error("the broker has no version of this API that twinlog can use")]
    NoVersion,
    /// The answer lacks an item that was asked for.
    #[error("the answer says nothing about {0}")]
    Missing(String),
    /// The broker is not in the cluster's metadata.
    #[error("broker {0} is not in the cluster's metadata")]
    UnknownBroker(i32),
    /// The topic or partition has no leader now, or is not in the metadata.
    #[error("{0} has no leader")]
    NoLeader(String),
    /// No address of the cluster could be used.
    #[error("no broker answered: {}", list(.0))]
    Unreachable(Vec<Error>),
    /// The broker answered with an error code.
    #[error("{}{code}{}", prefix(.item), suffix(.message))]
    Code {
        /// Kafka's code.
        code: ErrorCode,
        /// The topic, partition or other item that it is about.
        item: Option<String>,
        /// The broker's own words.
        message: Option<String>,
    },
}

fn due(expected: &Option<i32>) -> String {
    expected.map_or_else(|| "none".into(), |id| id.to_string())
}

fn prefix(item: &Option<String>) -> String {
    item.as_ref().map_or_else(String::new, |item| format!("{item}: "))
}

fn suffix(message: &Option<String>) -> String {
    message.as_ref().map_or_else(String::new, |words| format!(" ({words})"))
}

fn list(errors: &[Error]) -> String {
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    words.join("; ")
}

impl Cause {
    fn retry(&self) -> Retry {
        match self {
            Self::Code { code, .. } => code.retry(),
            Self::Full(_) | Self::Token(_) => Retry::Backoff,
            Self::Refused
            | Self::Lookup(_)
            | Self::Io(_)
            | Self::Timeout(_)
            | Self::ClosedByPeer
            | Self::ClosedAtFirstRequest
            | Self::Cut { .. }
            | Self::ClosedHere
            | Self::NotPermitted
            | Self::Correlation { .. }
            | Self::UnknownBroker(_)
            | Self::NoLeader(_) => Retry::AfterMetadata,
            Self::Unreachable(errors) => match errors.iter().all(|e| e.retry() == Retry::Never) {
                true => Retry::Never,
                false => Retry::Backoff,
            },
            Self::Tls(_)
            | Self::Sasl(_)
            | Self::Config(_)
            | Self::FrameTooLarge { .. }
            | Self::Decode(_)
            | Self::Encode(_)
            | Self::NoVersion
            | Self::Missing(_) => Retry::Never,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Refused => "; is the broker up and the address right?",
            Self::Lookup(_) => "; is the host name right?",
            Self::ClosedAtFirstRequest => "; does this port want SASL?",
            // The first bytes of a TLS alert, taken for a length.
            Self::FrameTooLarge { announced, .. } if announced >> 16 == 0x1503 => "; does this port want TLS?",
            Self::Code { code, item, .. } => match *code {
                ErrorCode::SASL_AUTHENTICATION_FAILED if item.as_deref() == Some(SaslConfig::AWS_MSK_IAM) => {
                    "; are the access key, its rights, the region and this machine's clock right?"
                }
                ErrorCode::SASL_AUTHENTICATION_FAILED => "; are the user, the password and the mechanism right?",
                ErrorCode::UNSUPPORTED_SASL_MECHANISM => "; set one of these in the configuration",
                ErrorCode::ILLEGAL_SASL_STATE => "; does this port want SASL?",
                _ => "",
            },
            _ => "",
        }
    }
}

/// An error with its side, broker, step and outcome.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {} ({}){}", .0.peer, .0.cause, .0.step, .0.cause.hint())]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    peer: Peer,
    step: Step,
    outcome: Outcome,
    cause: Arc<Cause>,
}

impl Error {
    /// An error with all its parts.
    pub fn new(peer: Peer, step: Step, outcome: Outcome, cause: impl Into<Arc<Cause>>) -> Self {
        Self(Box::new(Inner { peer, step, outcome, cause: cause.into() }))
    }

    /// The same error in another step.
    pub(crate) fn at(mut self, step: Step) -> Self {
        self.0.step = step;
        self
    }

    /// The cluster that it happened on.
    pub fn side(&self) -> Side {
        self.0.peer.side
    }

    /// The broker that it happened at.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// What was being done.
    pub fn step(&self) -> Step {
        self.0.step
    }

    /// What is known about the request.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the broker may have executed the request without twinlog knowing how.
    pub fn is_outcome_unknown(&self) -> bool {
        self.0.outcome == Outcome::Unknown
    }

    /// Why it failed.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// The same, for others that fail for it.
    pub(crate) fn shared_cause(&self) -> Arc<Cause> {
        Arc::clone(&self.0.cause)
    }

    /// Kafka's code, if the broker gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match *self.0.cause {
            Cause::Code { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What to do with the same request. It does not say whether a repetition is harmless: see
    /// [`outcome`](Self::outcome).
    pub fn retry(&self) -> Retry {
        self.0.cause.retry()
    }
}
