//! How failures reach the terminal: one place, one form.

use std::fmt;

use twinlog_core::report::Failure;

use super::exit::Exit;

/// One failure or several that were found together; never none.
#[derive(Debug)]
pub(crate) struct Failures(pub(crate) Vec<Failure>);

impl Failures {
    /// The code of the first one: they are of one kind wherever several are found together.
    pub(crate) fn exit(&self) -> Exit {
        self.0.first().map_or(Exit::Fine, |failure| failure.kind.into())
    }
}

impl From<Failure> for Failures {
    fn from(failure: Failure) -> Self {
        Self(vec![failure])
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::report::FailureKind;

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let failures = Failures(vec![
            Failure::new(FailureKind::OutOfReach, "source a: no broker answers")
                .advise("check the port")
                .advise("wait"),
            Failure::new(FailureKind::Usage, "second"),
        ]);
        assert_eq!(
            failures.to_string(),
            "error: source a: no broker answers\n  what to do: check the port\n  what to do: wait\nerror: second\n"
        );
        assert_eq!(failures.exit(), Exit::OutOfReach);
    }
}
