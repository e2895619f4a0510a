//! One long-lived Java process that does and checks things with Kafka's own clients.
//!
//! A second opinion: what twinlog writes is read back, and what it shall read is written, by the reference
//! implementation. The process takes one command a line and answers with one line; see `oracle/Oracle.java`. One
//! process serves several clusters, since a command names its bootstrap servers: [`Oracle::at`].

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result, tail, text_of};
use crate::kit::{KafkaVersion, Kit};
use crate::oracle_at::OracleAt;
use crate::scratch::Scratch;
use crate::supervised::{Launch, Supervised};
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
    line: Mutex<Line>,
    log: PathBuf,
    scratch: Arc<Scratch>,
}

#[derive(Debug)]
struct Line {
    child: Supervised,
    answers: Receiver<String>,
    /// After a missing answer, the next one would belong to another question.
    lost: bool,
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
        let log = scratch.path().join("log");
        let mut child = Supervised::start(Launch {
            program: kit.java().to_owned(),
            args: vec![
                "-Xmx384m".into(),
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
            log: log.clone(),
            scratch: Arc::clone(&scratch),
        })?;
        let output = child.output();
        let (send, answers) = channel();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(BufRead::lines).map_while(|line| line.ok()) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { line: Mutex::new(Line { child, answers, lost: false }), log, scratch })
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
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = line.exchange(&command).map_err(|message| self.failed(&command, &message))?;
        let (kind, rest) = answer.split_once(' ').unwrap_or((&answer, ""));
        match (kind, words::parse(rest)) {
            ("ok", Some(answer)) => Ok(answer),
            ("error", Some(words)) => {
                let word = |key: &str| words.get(key).cloned().unwrap_or_default();
                let message = format!("{}: {}", word("class"), word("message"));
                Err(Error::Oracle { command, message })
            }
            _ => Err(self.failed(&command, &format!("answered {answer:?}"))),
        }
    }

    /// What the clients wrote to their log: warnings, and the traces of failed commands.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).child.pid()
    }

    /// A folder for files of its answers.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn failed(&self, command: &str, message: &str) -> Error {
        let message = format!("{message}; the end of its log:\n{}", tail(&self.log()));
        Error::Oracle { command: command.to_owned(), message }
    }
}

impl Line {
    fn exchange(&mut self, command: &str) -> std::result::Result<String, String> {
        if self.lost {
            return Err("an earlier command was not answered".to_owned());
        }
        self.lost = true;
        let input = self.child.input().ok_or("it has no standard input")?;
        let sent = input.write_all(format!("{command}\n").as_bytes()).and_then(|()| input.flush());
        sent.map_err(|error| format!("it takes no command: {error}"))?;
        match self.answers.recv_timeout(ANSWER_WITHIN) {
            Ok(answer) => {
                self.lost = false;
                Ok(answer)
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {ANSWER_WITHIN:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("it ended".to_owned()),
        }
    }
}
