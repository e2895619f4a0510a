//! Who copies: each a child process of the bench.

use std::path::{Path, PathBuf};
use std::time::Duration;

use twinlog_testcontainers::{Folder, KafkaVersion, Kit, MirrorMaker, Program};

use super::clusters::Clusters;
use super::peers;
use crate::bare::Job;
use crate::plot::{OWN, RGBColor};

/// MirrorMaker 2's heap: as large as it wants to be with the largest of the workloads.
const HEAP_MB: u32 = 1024;

/// The five of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The shipped binary.
    Twinlog,
    /// The floor.
    Bare,
    /// A copier of a hundred lines on a good client.
    FranzGo,
    /// MirrorMaker 2 with settings for throughput, or as it comes.
    MirrorMaker { is_tuned: bool },
}

/// What is started, as far as it could be found or built.
#[derive(Debug)]
pub(crate) struct Programs {
    twinlog: PathBuf,
    franz_go: Result<PathBuf, String>,
}

/// One copy of a topic to a mirror that is not there yet.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) clusters: &'a Clusters,
    pub(crate) programs: &'a Programs,
    pub(crate) topic: &'a str,
    pub(crate) partitions: u32,
    /// A name that no copy had before.
    pub(crate) name: String,
}

impl Contender {
    pub(crate) const ALL: [Self; 5] = [
        Self::Twinlog,
        Self::Bare,
        Self::FranzGo,
        Self::MirrorMaker { is_tuned: true },
        Self::MirrorMaker { is_tuned: false },
    ];

    /// What `--contender` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Twinlog => "twinlog",
            Self::Bare => "bare",
            Self::FranzGo => "franz-go",
            Self::MirrorMaker { is_tuned: true } => "mm2-tuned",
            Self::MirrorMaker { is_tuned: false } => "mm2",
        }
    }

    /// What the result names it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Twinlog => "twinlog",
            Self::Bare => "bare loop",
            Self::FranzGo => "franz-go copier",
            Self::MirrorMaker { is_tuned: true } => "MirrorMaker 2, tuned",
            Self::MirrorMaker { is_tuned: false } => "MirrorMaker 2, defaults",
        }
    }

    pub(crate) fn color(self) -> RGBColor {
        match self {
            Self::Twinlog => OWN,
            Self::Bare => RGBColor(150, 150, 150),
            Self::FranzGo => RGBColor(90, 160, 150),
            Self::MirrorMaker { is_tuned: true } => RGBColor(222, 150, 70),
            Self::MirrorMaker { is_tuned: false } => RGBColor(196, 84, 60),
        }
    }

    /// How many of the rounds it takes part in: a round of MirrorMaker 2 takes longer than all others together.
    pub(crate) fn rounds(self, rounds: usize) -> usize {
        match self {
            Self::MirrorMaker { .. } => rounds.min(1),
            _ => rounds,
        }
    }

    /// The offset of the first record in its mirrors: twinlog's begin with a marker.
    pub(crate) fn first_offset(self) -> i64 {
        i64::from(self == Self::Twinlog)
    }

    /// Starts it on a task.
    pub(crate) fn start(self, task: &Task<'_>) -> Result<Running, String> {
        let folder = Folder::new("comparison").map_err(|error| error.to_string())?;
        let program = |program: &Path, words: &[&str]| {
            let started = Program::start(self.name(), program, words, &[], &folder);
            started.map(Running::Program).map_err(|error| error.to_string())
        };
        let Clusters { source, target, .. } = task.clusters;
        let mirror = self.mirror(task);
        match self {
            Self::Twinlog => {
                let yaml = peers::twinlog(task);
                std::fs::write(folder.path().join("twinlog.yaml"), yaml).map_err(|error| error.to_string())?;
                program(&task.programs.twinlog, &["-c", "twinlog.yaml", "run"])
            }
            Self::Bare => {
                let (topic, mirror) = task.clusters.with_mirror(task.topic, task.partitions, &mirror)?;
                let job = Job {
                    source: source.broker(0).address(),
                    target: target.broker(0).address(),
                    topic_id: topic.id,
                    mirror_id: mirror.id,
                    partitions: topic.partitions,
                    // A broker waits while none of those that are asked for has more.
                    asked_max: topic.partitions,
                };
                let words = job.words();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                program(&std::env::current_exe().map_err(|error| error.to_string())?, &words)
            }
            Self::FranzGo => {
                let copier = task.programs.franz_go.clone()?;
                task.clusters.with_mirror(task.topic, task.partitions, &mirror)?;
                program(&copier, &[&source.bootstrap_text(), &target.bootstrap_text(), task.topic, &mirror])
            }
            Self::MirrorMaker { is_tuned } => {
                let kit = Kit::install(KafkaVersion::default()).map_err(|error| error.to_string())?;
                let started = MirrorMaker::start(&kit, &peers::mirror_maker(task, is_tuned), HEAP_MB);
                started.map(Running::MirrorMaker).map_err(|error| error.to_string())
            }
        }
    }

    /// The mirror's name.
    pub(crate) fn mirror(self, task: &Task<'_>) -> String {
        match self {
            // It puts the source's name in front.
            Self::MirrorMaker { .. } => format!("{}.{}", task.name, task.topic),
            _ => format!("{}.{}", task.topic, task.name),
        }
    }
}

/// The contenders of these names, in the order of [`Contender::ALL`]; all if there are none.
pub(crate) fn named(names: &[String]) -> Result<Vec<Contender>, String> {
    crate::named("contender", Contender::ALL, |contender| contender.name(), names)
}

impl Programs {
    /// Builds what is needed. That Go is missing is told where its copier would be measured.
    pub(crate) fn find(contenders: &[Contender]) -> Result<Self, String> {
        let franz_go = match contenders.contains(&Contender::FranzGo) {
            true => peers::build_franz_go().map_err(|error| error.to_string()),
            false => Err("not asked for".to_owned()),
        };
        Ok(Self { twinlog: crate::program::find()?, franz_go })
    }

    /// Why a contender cannot run.
    pub(crate) fn missing(&self, contender: Contender) -> Option<&str> {
        match (contender, &self.franz_go) {
            (Contender::FranzGo, Err(why)) => Some(why),
            _ => None,
        }
    }
}

/// A contender at work; it ends when it is dropped.
#[derive(Debug)]
pub(crate) enum Running {
    Program(Program),
    MirrorMaker(MirrorMaker),
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Program(program) => program.pid(),
            Self::MirrorMaker(mirror_maker) => mirror_maker.pid(),
        }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        match self {
            Self::Program(program) => program.wait(Duration::ZERO).is_ok_and(|ended| ended.is_some()),
            Self::MirrorMaker(mirror_maker) => mirror_maker.is_running().is_ok_and(|is_running| !is_running),
        }
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Program(program) => program.stdout() + &program.stderr(),
            Self::MirrorMaker(mirror_maker) => mirror_maker.log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_found_by_name() {
        let found = named(&["mm2".to_owned(), "bare".to_owned()]).unwrap();
        assert_eq!(found, [Contender::Bare, Contender::MirrorMaker { is_tuned: false }]);
        assert_eq!(named(&[]).unwrap(), Contender::ALL);
        assert!(named(&["mm3".to_owned()]).unwrap_err().contains("`mm3`"));
    }
}
