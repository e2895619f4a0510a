//! An in-memory Kafka-compatible cluster for the demo, for tests and for benches.
//!
//! It answers as Apache Kafka 4.1 does, as far as one replica can (what was measured on real brokers is kept as tests),
//! over loopback TCP for any Kafka client, and over in-memory pipes for code that is generic over streams. It needs no
//! file, no other process and no free port. It can be told to be as unkind as a network and a broker are: see
//! [`Fault`], and what [`Sandbox`] does to leaders, nodes and logs.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use twinlog_sandbox::{Sandbox, SandboxSpec, TopicSpec};
//!
//! let sandbox = Sandbox::new(SandboxSpec::new().nodes(3).topic(TopicSpec::new("orders", 6)))?;
//! let bootstrap = sandbox.listen(&[]).await?;
//! # Ok(()) }
//! ```
//!
//! # Limits
//!
//! - Replication: there is none. A partition is one log; replicas, in-sync sets and `min.insync.replicas` are names in
//!   answers, and the high watermark is the end of the log at once.
//! - Compaction: none. `cleanup.policy=compact` only makes keys mandatory.
//! - Retention: by [`Sandbox::retain`], by whole batches, not in the background. Committed offsets never expire.
//! - Transactions: as before KIP-890 (AddPartitionsToTxn up to v3, EndTxn up to v4), but that a transactional Produce
//!   from v12 on adds its partitions itself. Coordinators never move and load at once.
//! - Groups: the classic protocol. There is no `__consumer_offsets` topic, and nothing of KIP-848.
//! - Fetch sessions (KIP-227): none makes room for another one. Idle connections are never closed.
//! - Settings: all of a topic's are listed with Kafka's defaults. Those that do something are the limits on sizes and
//!   timestamps, `cleanup.policy`, `compression.type`, `message.timestamp.type` and `retention.*`; of brokers those on
//!   producers, transactions and groups, and the defaults of new topics.
//! - Security, quotas, ACLs, tiered storage: none. Authorized operations are all that there are.
//!
//! [`APIS`] has the APIs and their versions.

mod api;
mod clock;
mod cluster;
mod codes;
mod decode;
mod faults;
mod fetch_sessions;
mod group;
mod incoming;
mod log;
mod producers;
mod sandbox;
mod session;
mod settings;
mod shared;
mod spec;
mod txn;

pub use api::{APIS, ApiRange};
pub use clock::Clock;
pub use faults::{Fault, FaultId};
pub use kafka_protocol::messages::ApiKey;
pub use sandbox::{Connected, Sandbox, SandboxError};
pub use session::ConnectionId;
pub use settings::SettingError;
pub use spec::{SandboxSpec, TopicSpec};
pub use twinlog_wire::error_code::ErrorCode;
