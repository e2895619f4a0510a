//! A program that takes one line and answers with one line.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result, tail, text_of};
use crate::program::Folder;
use crate::supervised::{Launch, Supervised};

/// A program that takes one line and answers with one line. Dropped, or with the end of the test process, it ends.
#[derive(Debug)]
pub struct Dialogue {
    line: Mutex<Line>,
    name: String,
    log: PathBuf,
}

#[derive(Debug)]
struct Line {
    child: Supervised,
    answers: Receiver<String>,
    /// After a missing answer, the next one would belong to another question.
    lost: bool,
}

impl Dialogue {
    /// Starts the program; what it writes to standard error is in `<name>.err` of the folder.
    pub fn start(
        name: &str,
        program: &Path,
        args: &[&str],
        env: &[(&'static str, &str)],
        folder: &Folder,
    ) -> Result<Self> {
        Self::launch(folder.launch(program, args, env, folder.path().join(format!("{name}.err"))))
    }

    /// Starts a program whose input and output are not files.
    pub(crate) fn launch(launch: Launch) -> Result<Self> {
        let log = launch.log.clone();
        let name = launch.program.display().to_string();
        let mut child = Supervised::start(launch)?;
        let output = child.output();
        let (send, answers) = channel();
        thread::spawn(move || {
            for line in output.into_iter().flat_map(BufRead::lines).map_while(|line| line.ok()) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { line: Mutex::new(Line { child, answers, lost: false }), name, log })
    }

    /// Sends one line and waits for its answer.
    pub fn ask(&self, question: &str, within: Duration) -> Result<String> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.exchange(question, within).map_err(|message| self.failed(question, &message))
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).child.pid()
    }

    /// An error that shows the end of the log.
    pub(crate) fn failed(&self, question: &str, message: &str) -> Error {
        let message = format!("{message}; the end of its log:\n{}", tail(&self.log()));
        Error::Dialogue { name: self.name.clone(), question: question.to_owned(), message }
    }
}

impl Line {
    fn exchange(&mut self, question: &str, within: Duration) -> std::result::Result<String, String> {
        if self.lost {
            return Err("an earlier line was not answered".to_owned());
        }
        self.lost = true;
        let input = self.child.input().ok_or("it has no standard input")?;
        let sent = input.write_all(format!("{question}\n").as_bytes()).and_then(|()| input.flush());
        sent.map_err(|error| format!("it takes no line: {error}"))?;
        match self.answers.recv_timeout(within) {
            Ok(answer) => {
                self.lost = false;
                Ok(answer)
            }
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {within:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("it ended".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn dialogue(script: &str) -> Dialogue {
        let folder = Folder::new("dialogue").unwrap();
        Dialogue::start("shell", Path::new("/bin/sh"), &["-c", script], &[], &folder).unwrap()
    }

    #[test]
    fn each_line_has_its_answer() {
        let dialogue = dialogue("while read -r line; do echo \"<$line>\"; done");
        assert_eq!(dialogue.ask("one", SOON).unwrap(), "<one>");
        assert_eq!(dialogue.ask("two", SOON).unwrap(), "<two>");
    }

    #[test]
    fn its_end_is_told_with_its_last_words() {
        let error = dialogue("read -r line; echo \"no $line here\" >&2").ask("bread", SOON).unwrap_err().to_string();
        assert!(error.contains("it ended") && error.contains("no bread here"), "{error}");
    }

    #[test]
    fn after_a_missing_answer_nothing_is_believed() {
        let dialogue = dialogue("read -r line; read -r line; echo late; echo late");
        dialogue.ask("one", Duration::from_millis(20)).unwrap_err();
        let error = dialogue.ask("two", SOON).unwrap_err().to_string();
        assert!(error.contains("an earlier line was not answered"), "{error}");
    }
}
