//! The exit codes: the part of the interface that scripts and unit files build on.

use std::process::ExitCode;

use twinlog_core::report::{FailureKind, Failures};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Fine = 0,
    Difference = 1,
    Usage = 2,
    OutOfReach = 3,
    OwnershipLost = 4,
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Difference => Self::Difference,
            FailureKind::Usage => Self::Usage,
            FailureKind::OutOfReach => Self::OutOfReach,
            FailureKind::OwnershipLost => Self::OwnershipLost,
            FailureKind::Refused => Self::Refused,
        }
    }
}

/// The code of the first one: they are of one kind wherever several are found together.
impl From<&Failures> for Exit {
    fn from(failures: &Failures) -> Self {
        failures.0.first().map_or(Self::Fine, |failure| failure.kind.into())
    }
}

/// The codes as `--help` prints them.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  fine
  1  a difference or a failed check was found
  2  wrong usage or configuration
  3  a cluster is out of reach
  4  kept for links that were promoted (none can be yet)
  5  refused by a look before the start";

#[cfg(test)]
mod tests {
    use super::*;
    use twinlog_core::report::Failure;

    #[test]
    fn of_several_failures_the_first_has_the_code() {
        let failures = [FailureKind::OutOfReach, FailureKind::Usage].map(|kind| Failure::new(kind, "words"));
        assert_eq!(Exit::from(&Failures(failures.into())), Exit::OutOfReach);
    }

    #[test]
    fn every_kind_of_failure_has_its_own_code() {
        let kinds = [
            (FailureKind::Difference, 1),
            (FailureKind::Usage, 2),
            (FailureKind::OutOfReach, 3),
            (FailureKind::OwnershipLost, 4),
            (FailureKind::Refused, 5),
        ];
        for (kind, code) in kinds {
            assert_eq!(Exit::from(kind) as u8, code, "{kind:?}");
            assert!(EXIT_CODES_HELP.contains(&format!("\n  {code}  ")), "code {code} is not documented");
        }
        assert_eq!(Exit::Fine as u8, 0);
    }
}
