//! A peer under test: an address that takes Kafka's frames, and what can be done to it besides.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::protocol::Request;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use twinlog_client::{Address, Connection, ConnectionConfig, Side};
use twinlog_testcontainers::KafkaVersion;

use crate::acts::{Act, Acts, Round};

/// Longer than anything here should take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Why a case failed.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a case ends with.
pub(crate) type Verdict<T = ()> = Result<T, Failed>;

/// Counts the checks of a case, and turns one of them round when the test tests itself.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub(crate) made: Cell<usize>,
    pub(crate) flipped: Option<usize>,
}

/// A peer as one case sees it: a connection of its own to one broker.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The release of Apache Kafka whose answers are expected.
    pub(crate) version: KafkaVersion,
    nodes: Rc<BTreeMap<i32, Address>>,
    home: i32,
    acts: Arc<dyn Acts>,
    round: Option<Rc<Round>>,
    checks: Rc<Checks>,
    connection: Rc<Mutex<Option<Arc<Connection>>>>,
}

impl Peer {
    /// A handle to the first of these brokers. In a place where an act is shared, `round` is where it is waited for.
    pub(crate) fn new(
        version: KafkaVersion,
        nodes: &Rc<BTreeMap<i32, Address>>,
        acts: &Arc<dyn Acts>,
        round: Option<Rc<Round>>,
        checks: &Rc<Checks>,
    ) -> Self {
        Self {
            version,
            nodes: Rc::clone(nodes),
            home: nodes.keys().next().copied().unwrap_or_default(),
            acts: Arc::clone(acts),
            round,
            checks: Rc::clone(checks),
            connection: Rc::default(),
        }
    }

    /// A handle to this broker, with a connection of its own.
    pub(crate) fn at(&self, node: i32) -> Self {
        Self { home: node, connection: Rc::default(), ..self.clone() }
    }

    /// A handle to the same broker, with a connection of its own.
    pub(crate) fn apart(&self) -> Self {
        self.at(self.home)
    }

    /// What 4.1.1 answers, or what 3.9.1 does.
    pub(crate) fn by_version<T>(&self, v4: T, v3: T) -> T {
        match self.version {
            KafkaVersion::V4_1_1 => v4,
            KafkaVersion::V3_9_1 => v3,
            other => panic!("{other} has no conformance cases"),
        }
    }

    /// The broker's number.
    pub(crate) fn node(&self) -> i32 {
        self.home
    }

    /// The broker's address.
    pub(crate) fn address(&self) -> Verdict<Address> {
        let address = self.nodes.get(&self.home).cloned();
        address.ok_or_else(|| Failed(format!("there is no broker {}", self.home)))
    }

    /// The open connection, or a new one.
    pub(crate) async fn connection(&self) -> Verdict<Arc<Connection>> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let address = self.address()?;
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let text = address.to_string().into();
        let broker = twinlog_client::Peer { side: Side::Target, node: Some(self.home), address: text };
        let connection = Arc::new(Connection::start(stream, broker, ConnectionConfig::default()).await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Sends a request in this version and waits for its answer.
    pub(crate) async fn call<R: Request>(&self, version: i16, request: R) -> Verdict<R::Response> {
        Ok(self.connection().await?.call_at(request, version, None).await?)
    }

    /// Ends the broker in order and starts it again, and waits until it leads `topic`; cases of one place share the
    /// restart.
    pub(crate) async fn restart_cleanly(&self, topic: &str) -> Verdict {
        self.together(Act::Restart).await?;
        self.await_leader(topic, 0).await
    }

    /// Kills the broker and starts it again; cases of one place share it.
    pub(crate) async fn kill_and_start(&self) -> Verdict {
        self.together(Act::Kill).await
    }

    async fn together(&self, act: Act) -> Verdict {
        match &self.round {
            Some(round) => round.act(act).await.map_err(Failed),
            None => Err(Failed(format!("the case does {act:?} in a place that others use"))),
        }
    }

    /// Does something to brokers of a cluster that no other case uses at this time.
    pub(crate) async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&dyn Acts) -> Result<T, String> + Send + 'static,
    ) -> Verdict<T> {
        let acts = Arc::clone(&self.acts);
        tokio::task::spawn_blocking(move || act(&*acts)).await?.map_err(Failed)
    }

    /// The check of a case: what was found is what is expected.
    pub(crate) fn same<T: PartialEq + Debug>(&self, what: &str, expected: T, found: T) -> Verdict {
        let number = self.checks.made.get() + 1;
        self.checks.made.set(number);
        let flipped = self.checks.flipped == Some(number);
        match (found == expected) != flipped {
            true => Ok(()),
            false if flipped => Err(Failed(format!("{what}: expected not {expected:?}, found {found:?}"))),
            false => Err(Failed(format!("{what}: expected {expected:?}, found {found:?}"))),
        }
    }
}

/// Asks until there is an answer; a state that no event announces comes so.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Verdict<Option<T>>) -> Verdict<T> {
    within(LONG, what, ask).await
}

/// The same with another deadline.
pub(crate) async fn within<T>(time: Duration, what: &str, ask: impl AsyncFn() -> Verdict<Option<T>>) -> Verdict<T> {
    let deadline = Instant::now() + time;
    let mut pause = Duration::from_millis(2);
    loop {
        let last = Instant::now() >= deadline;
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if last {
            return Err(Failed(format!("{what}: not within {time:?}")));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
