//! The configuration while `run` works: it is read again on SIGHUP, and when its file or a file whose content is a
//! value in it has changed.
//!
//! Files are looked at by their content, again and again: this finds what editors, `ln -s` and Kubernetes put in the
//! place of a file, on every file system. They are small.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::{mpsc, oneshot};
use twinlog_config::Loaded;
use twinlog_core::config::LinkName;
use twinlog_core::reload::{Fate, Refused};
use twinlog_core::report::{Failure, Failures};

use super::signals;
use crate::engine::NewConfig;

/// How often files are looked at. A change counts once it was seen twice: then it is written to its end.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to read `loaded` again: what is new is handed over, and what became of it is told.
pub(super) fn follow(
    mut loaded: Loaded,
    changes: mpsc::Sender<NewConfig>,
    told: mpsc::UnboundedSender<String>,
) -> Result<(), Failure> {
    let mut hangup = signals::listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut watch = Watch::new(&loaded).await;
        loop {
            watch.changed(&mut hangup).await;
            let words = match loaded.again() {
                Err(failures) => stays(&failures),
                Ok(again) => {
                    let (answer, answered) = oneshot::channel();
                    if changes.send(NewConfig { config: again.config.clone(), answer }).await.is_err() {
                        return;
                    }
                    // Nobody answers where everything ends.
                    let Ok(answer) = answered.await else { return };
                    let words = words(&again, answer.as_ref());
                    if answer.is_ok() {
                        loaded = again;
                    }
                    words
                }
            };
            watch.follow(&loaded).await;
            if told.send(words).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// For a run that is to end by itself: SIGHUP changes nothing, and does not end it before.
pub(super) fn ignore_hangup(told: mpsc::UnboundedSender<String>) -> Result<(), Failure> {
    let mut hangup = signals::listen(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let words = "the configuration is not read again with --until-caught-up";
            if told.send(words.to_owned()).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn words(again: &Loaded, answer: Result<&BTreeMap<LinkName, Fate>, &Vec<Refused>>) -> String {
    let fates = match answer {
        Ok(fates) => fates,
        Err(refused) => {
            return stays(&Failures(refused.iter().map(|refused| again.wrong(&refused.key, &refused.why)).collect()));
        }
    };
    if fates.is_empty() {
        return "configuration read again: nothing changes for the links".to_owned();
    }
    let told = fates.iter().map(|(name, fate)| {
        let what = match fate {
            Fate::Begins => "begins",
            Fate::Ends => "ends",
            Fate::TakesOver => "takes over what has changed, without a pause",
            Fate::BeginsAgain => "ends in order and begins again",
        };
        format!("link {name} {what}")
    });
    format!("configuration read again: {}", told.collect::<Vec<_>>().join("; "))
}

fn stays(failures: &Failures) -> String {
    format!("{failures}the configuration stays as it was: correct this, and it is read again")
}

/// What the files held when they were looked at last.
struct Watch {
    files: Vec<PathBuf>,
    known: u64,
}

impl Watch {
    async fn new(loaded: &Loaded) -> Self {
        let mut watch = Self { files: files(loaded), known: 0 };
        watch.known = watch.look().await;
        watch
    }

    /// A signal came, or the files hold something else. What they hold from then on counts as known: what changes
    /// while they are read is seen the next time.
    async fn changed(&mut self, hangup: &mut Signal) {
        let mut last = self.known;
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    self.known = self.look().await;
                    return;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = self.look().await;
            if now != self.known && now == last {
                self.known = now;
                return;
            }
            last = now;
        }
    }

    /// Looks at the files of this configuration from now on.
    async fn follow(&mut self, loaded: &Loaded) {
        let files = files(loaded);
        if files != self.files {
            self.files = files;
            self.known = self.look().await;
        }
    }

    /// What the files hold, as one number.
    async fn look(&self) -> u64 {
        let files = self.files.clone();
        let look = move || {
            let mut hasher = DefaultHasher::new();
            for file in files {
                std::fs::read(file).ok().hash(&mut hasher);
            }
            hasher.finish()
        };
        // A file system may make those wait who read from it.
        tokio::task::spawn_blocking(look).await.unwrap_or(self.known)
    }
}

fn files(loaded: &Loaded) -> Vec<PathBuf> {
    loaded.files().map(PathBuf::from).collect()
}
