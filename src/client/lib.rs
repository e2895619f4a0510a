//! Kafka connections: dial, TLS, requests in flight, metadata, admin calls.
//!
//! This crate moves bytes and decides nothing: it says what failed, on which side, whether the
//! request may have been executed and whether a repetition could help, and leaves the rest to its
//! caller. [`Cluster`] finds brokers and keeps connections, [`Connection`] pipelines requests.

pub mod admin;
mod backoff;
mod cluster;
mod connection;
mod dial;
pub mod error;
pub mod metadata;
mod sasl;
#[cfg(test)]
mod testing;
mod tls;
mod transport;

pub use backoff::Backoff;
pub use cluster::{Cluster, CoordinatorType, Purpose};
pub use connection::{Answer, Connection, ConnectionConfig, Permit, RawRequest, Reply, Slot, Versions};
pub use dial::{Address, AddressError, DialConfig};
pub use error::{Cause, Error, Outcome, Peer, Result, Step};
pub use metadata::Metadata;
pub use transport::{Connector, Opening, Stream, Transport};
pub use twinlog_core::config::security::{ClientCertificate, SaslConfig, TlsConfig};
pub use twinlog_core::report::Side;
pub use twinlog_wire::error_code::{ErrorCode, Retry};
