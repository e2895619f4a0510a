//! Why a verb ended without its answer.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a verb ended without its answer, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of end this is; the exit code follows from it.
    pub kind: FailureKind,
    /// What happened: names the side, topic, partition and offset where there are any.
    pub what: String,
    /// What to do next, a step a line.
    pub advice: Vec<String>,
}

impl Failure {
    /// A failure with what happened; steps are added by [`Failure::advise`].
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), advice: Vec::new() }
    }

    /// Adds a step to take.
    #[must_use]
    pub fn advise(mut self, step: impl Into<String>) -> Self {
        self.advice.push(step.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl core::error::Error for Failure {}

/// One failure, or several that were found together; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures(pub Vec<Failure>);

impl From<Failure> for Failures {
    fn from(failure: Failure) -> Self {
        Self(alloc::vec![failure])
    }
}

/// Each failure with what to do about it, as it goes to the terminal.
impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.0 {
            writeln!(f, "error: {}", failure.what)?;
            for step in &failure.advice {
                writeln!(f, "  what to do: {step}")?;
            }
        }
        Ok(())
    }
}

/// The kinds of ends. Each has one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A difference, or something asked for that is not there.
    Difference,
    /// Wrong arguments or a wrong configuration.
    Usage,
    /// A cluster is out of reach.
    OutOfReach,
    /// Another instance has taken the link over.
    OwnershipLost,
    /// A look before the start found something that the link must not start with.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let failures = Failures(alloc::vec![
            Failure::new(FailureKind::OutOfReach, "source a: no broker answers")
                .advise("check the port")
                .advise("wait"),
            Failure::new(FailureKind::Usage, "second"),
        ]);
        assert_eq!(
            alloc::string::ToString::to_string(&failures),
            "error: source a: no broker answers\n  what to do: check the port\n  what to do: wait\nerror: second\n"
        );
    }
}
