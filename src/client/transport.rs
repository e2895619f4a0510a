//! How a stream to a broker is opened: over TCP, or as somebody else says.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::dial::Address;

/// What Kafka requests can be written to and their answers read from.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Opens streams otherwise than over TCP: in memory, through a tunnel. TLS, if it is asked for, comes on top.
pub trait Connector: fmt::Debug + Send + Sync {
    /// Opens a stream to the broker at this address. [`io::ErrorKind::ConnectionRefused`] says that nobody is there.
    fn open<'a>(&'a self, address: &'a Address) -> Opening<'a>;
}

/// How streams to brokers are opened.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// Over TCP, with the options of [`DialConfig`](crate::DialConfig).
    #[default]
    Tcp,
    /// By this.
    Custom(Arc<dyn Connector>),
}
