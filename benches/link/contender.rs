//! Who moves the bytes: each a child process of the bench, each measured alike.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use twinlog_testcontainers::{Folder, Program};

use super::arena::Arena;
use super::cells::Cell;
use super::relay::RawPeers;
use super::stub::{Stubs, TOPIC};
use crate::bare::Job;
use crate::child::{CallCounter, Cost, Moment};
use crate::net;
use crate::progress::Progress;

/// A run that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a contender may take until it waits for records.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether a child is still there.
const LOOK: Duration = Duration::from_millis(100);
/// Partitions in a Fetch of the bare loop: more than fill an answer would be asked for in vain.
pub(crate) const ASKED_MAX: usize = 64;
/// The file of the stubs' certificate in a run's folder.
const CA_FILE: &str = "ca.pem";

/// The hidden first word of the relay's command line.
pub(crate) const RELAY: &str = "child-relay";

/// The three of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The shipped binary.
    Twinlog,
    /// The floor.
    Bare,
    /// The limit.
    Relay,
}

impl Contender {
    pub(crate) const ALL: [Self; 3] = [Self::Twinlog, Self::Bare, Self::Relay];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Twinlog => "twinlog",
            Self::Bare => "bare loop",
            Self::Relay => "relay",
        }
    }
}

/// What a run was about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) program: &'a Path,
    pub(crate) cell: &'a Cell,
    pub(crate) arena: &'a Arc<Arena>,
    /// About how many bytes are to be moved.
    pub(crate) bytes: u64,
    /// System calls are counted, and so nothing else can be.
    pub(crate) counts_calls: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) bytes: u64,
    pub(crate) cost: Cost,
    pub(crate) calls: Option<u64>,
    /// Batches that came before those in front of them.
    pub(crate) refused: u64,
}

/// What a run measures itself by.
enum Peers {
    Stubs(Box<Stubs>),
    Raw(RawPeers),
}

impl Run<'_> {
    /// Starts the contender, waits until it waits for records, shows them, and measures until all have arrived.
    pub(crate) fn measure(&self, contender: Contender) -> Result<Outcome, String> {
        let folder = Folder::new("link-bench").map_err(|error| error.to_string())?;
        let tls = self.cell.tls.then(net::certificate);
        let tls = match tls {
            Some((config, pem)) => {
                std::fs::write(folder.path().join(CA_FILE), pem).map_err(|error| error.to_string())?;
                Some(config)
            }
            None => None,
        };
        let stubs = || Stubs::start(self.cell, self.arena, self.bytes, tls.as_ref());
        let progress = Arc::new(Progress::default());
        let bytes =
            self.arena.batches_a_partition(self.bytes) * (self.arena.partitions() * self.arena.batch_len()) as u64;
        let (peers, child) = match contender {
            Contender::Twinlog => {
                let stubs = stubs();
                let child = twinlog(self.program, &stubs, &folder, tls.is_some(), "")?;
                (Peers::Stubs(Box::new(stubs)), child)
            }
            Contender::Bare => {
                let stubs = stubs();
                let child = self.bare(&stubs, &folder)?;
                (Peers::Stubs(Box::new(stubs)), child)
            }
            Contender::Relay => {
                let raw = RawPeers::start(self.arena, bytes, tls.as_ref(), &progress);
                let words = [RELAY.to_owned(), raw.source.to_string(), raw.target.to_string()];
                let child = self.own_child(&words, &folder)?;
                (Peers::Raw(raw), child)
            }
        };
        self.observe(contender, &peers, &progress, bytes, child, &folder)
    }

    fn observe(
        &self,
        contender: Contender,
        peers: &Peers,
        progress: &Progress,
        bytes: u64,
        mut child: Program,
        folder: &Folder,
    ) -> Result<Outcome, String> {
        let failed = |child: &Program, what: &str| {
            let name = contender.name();
            format!("{}: {name}: {what}\n{}{}", self.cell.name, child.stdout(), child.stderr())
        };
        let is_over = |child: &mut Program| child.wait(Duration::ZERO).is_ok_and(|ended| ended.is_some());
        let begun = Instant::now();
        let readers = match contender {
            Contender::Bare => self.arena.partitions().min(ASKED_MAX),
            _ => self.arena.partitions(),
        };
        let is_ready = |patience: Duration| match peers {
            Peers::Stubs(stubs) => stubs.source.wait_for_readers(readers, patience),
            Peers::Raw(raw) => raw.wait_for_relay(patience),
        };
        while !is_ready(LOOK) {
            if is_over(&mut child) {
                return Err(failed(&child, "it has ended before the first record"));
            }
            if begun.elapsed() > START_PATIENCE {
                return Err(failed(&child, "it does not ask for records"));
            }
        }
        let counter = match self.counts_calls {
            true => Some(CallCounter::attach(child.pid(), folder)?),
            false => None,
        };

        let start = Moment::of(child.pid()).ok_or_else(|| failed(&child, "it has ended"))?;
        match peers {
            Peers::Stubs(stubs) => stubs.source.release(),
            Peers::Raw(raw) => raw.release(),
        }
        loop {
            let arrived = match peers {
                Peers::Stubs(stubs) => stubs.wait(LOOK),
                Peers::Raw(_) => progress.wait(bytes, LOOK),
            };
            if arrived.map_err(|words| failed(&child, &words))? {
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(failed(&child, &format!("not all records arrived within {} s", PATIENCE.as_secs())));
            }
            if is_over(&mut child) {
                return Err(failed(&child, "it has ended before the last record"));
            }
        }
        let cost = start.cost_until_now(child.pid()).ok_or_else(|| failed(&child, "it has ended"))?;

        let calls = counter.map(CallCounter::finish).transpose()?;
        child.kill().map_err(|error| error.to_string())?;
        if let Peers::Stubs(stubs) = peers
            && let Some(words) = stubs.progress.trouble().or_else(|| stubs.target.incomplete())
        {
            return Err(failed(&child, &words));
        }
        let refused = match peers {
            Peers::Stubs(stubs) => stubs.target.refused(),
            Peers::Raw(_) => 0,
        };
        Ok(Outcome { bytes, cost, calls, refused })
    }

    fn bare(&self, stubs: &Stubs, folder: &Folder) -> Result<Program, String> {
        let partitions = self.arena.partitions();
        let mirror_id = stubs.make_mirror(partitions)?;
        let job = Job {
            source: stubs.source_address(),
            target: stubs.target_address(),
            topic_id: stubs.source.topic_id().into_bytes(),
            mirror_id,
            partitions,
            asked_max: ASKED_MAX,
        };
        self.own_child(&job.words(), folder)
    }

    /// The bench itself under a hidden first word.
    fn own_child(&self, words: &[String], folder: &Folder) -> Result<Program, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if self.cell.tls {
            words.push(CA_FILE);
        }
        Program::start(words[0], &own, &words, &[], folder).map_err(|error| error.to_string())
    }
}

/// Starts the shipped binary between the stubs, with more lines of the link's configuration.
pub(crate) fn twinlog(
    program: &Path,
    stubs: &Stubs,
    folder: &Folder,
    has_tls: bool,
    settings: &str,
) -> Result<Program, String> {
    let tls = match has_tls {
        true => format!(", tls: {{ ca_file: {CA_FILE}, server_name: {} }}", net::SERVER_NAME),
        false => String::new(),
    };
    let yaml = format!(
        "clusters:\n  a: {{ bootstrap: ['{}']{tls} }}\n  b: {{ bootstrap: ['{}']{tls} }}\nlinks:\n  bench:\n    \
         source: a\n    target: b\n    topics: {{ include: [{TOPIC}] }}\n{settings}",
        stubs.source_address(),
        stubs.target_address(),
    );
    std::fs::write(folder.path().join("twinlog.yaml"), yaml).map_err(|error| error.to_string())?;
    let words = ["-c", "twinlog.yaml", "run"];
    Program::start("twinlog", program, &words, &[], folder).map_err(|error| error.to_string())
}
