//! One long-lived Java process that does and checks things with Kafka's own clients.
//!
//! A second opinion: what twinlog writes is read back, and what it shall read is written, by the reference
//! implementation. The process takes one command a line and answers with one line; see `oracle/Oracle.java`. One
//! process serves several clusters, since a command names its bootstrap servers: [`Oracle::at`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::dialogue::Dialogue;
use crate::error::{Error, Result};
use crate::kit::{KafkaVersion, Kit};
use crate::oracle_at::OracleAt;
use crate::scratch::Scratch;
use crate::supervised::Launch;
use crate::words;

const SOURCES: [(&str, &str); 5] = [
    ("Admins.java", include_str!("oracle/Admins.java")),
    ("Content.java", include_str!("oracle/Content.java")),
    ("Oracle.java", include_str!("oracle/Oracle.java")),
    ("Producing.java", include_str!("oracle/Producing.java")),
    ("Reading.java", include_str!("oracle/Reading.java")),
];

const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Kafka's own Java clients, to be asked. Dropped, or with the end of the test process, it ends.
#[derive(Debug)]
pub struct Oracle {
    dialogue: Dialogue,
    scratch: Arc<Scratch>,
}

/// The words of an answer.
pub type Answer = BTreeMap<String, String>;

impl Oracle {
    /// Starts the clients of the newest release, which speak with older brokers, too.
    pub fn start() -> Result<Self> {
        let kit = Kit::install(KafkaVersion::default())?;
        Self::start_with(&kit)
    }

    /// Starts the clients of this release.
    pub fn start_with(kit: &Kit) -> Result<Self> {
        let classes = kit.compiled("oracle", &SOURCES)?;
        let scratch = Arc::new(Scratch::new("oracle")?);
        let dialogue = Dialogue::launch(Launch {
            program: kit.java().to_owned(),
            args: vec![
                "-Xmx768m".into(),
                "-Xshare:auto".into(),
                "-XX:-UsePerfData".into(),
                "-XX:+UseSerialGC".into(),
                "-XX:TieredStopAtLevel=1".into(),
                scratch.jvm_tmpdir(),
                kit.logging("tool.properties"),
                "-cp".into(),
                kit.classpath_with(&classes),
                "Oracle".into(),
            ],
            env: Vec::new(),
            input: None,
            output: None,
            log: scratch.path().join("log"),
            scratch: Arc::clone(&scratch),
        })?;
        Ok(Self { dialogue, scratch })
    }

    /// The oracle's view on one cluster.
    pub fn at(&self, bootstrap: impl Into<String>) -> OracleAt<'_> {
        OracleAt::new(self, bootstrap.into())
    }

    /// Sends one command and waits for its answer. The typed commands are those of [`OracleAt`].
    pub fn ask(&self, verb: &str, words: &[(&str, &str)]) -> Result<Answer> {
        let mut command = verb.to_owned();
        for (key, value) in words {
            command += &format!(" {}={}", words::encode(key), words::encode(value));
        }
        let answer = self.dialogue.ask(&command, ANSWER_WITHIN)?;
        let (kind, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
        match (kind, words::parse(rest)) {
            ("ok", Some(answer)) => Ok(answer),
            ("error", Some(words)) => {
                let word = |key: &str| words.get(key).cloned().unwrap_or_default();
                let message = format!("{}: {}", word("class"), word("message"));
                Err(Error::Oracle { command, message })
            }
            _ => Err(self.dialogue.failed(&command, &format!("answered {answer:?}"))),
        }
    }

    /// What the clients wrote to their log: warnings, and the traces of failed commands.
    pub fn log(&self) -> String {
        self.dialogue.log()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.dialogue.pid()
    }

    /// A folder for files of its answers.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }
}
