//! What held a copy back, by what was measured of it; `unknown` where that does not say.

use serde::Serialize;
use twinlog_link::meter::Waits;

use super::machine::Used;

/// This part of the time is most of it.
const MOST: f64 = 0.6;
/// A core, a lane or a machine that is busy for this part of the time has nothing left.
const BUSY: f64 = 0.85;

/// What held the copy back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    Cpu,
    Source,
    Target,
    Network,
    Unknown,
}

/// What held the copy back, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Limit {
    /// What it was.
    pub(crate) cause: Cause,
    /// What was measured.
    pub(crate) grounds: String,
}

impl Limit {
    pub(crate) fn words(&self) -> String {
        let cause = match self.cause {
            Cause::Cpu => "CPU",
            Cause::Source => "the source, or the network to it",
            Cause::Target => "the target, or the network to it",
            Cause::Network => "the network",
            Cause::Unknown => "unknown",
        };
        format!("{cause}: {}", self.grounds)
    }
}

/// What is known of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// What the lanes' time went into, all together.
    pub(crate) waits: Waits,
    /// What the processor did meanwhile.
    pub(crate) used: Used,
    /// Threads that the lanes shared.
    pub(crate) threads: u16,
    /// Whether all kinds of settings were tried, and none made a difference.
    pub(crate) same_with_all: bool,
}

/// What held it back.
pub(crate) fn limit(known: &Known) -> Limit {
    let Waits { working, source, target, both, neither } = known.waits;
    let all = (working + source + target + both + neither).as_secs_f64().max(f64::MIN_POSITIVE);
    let part = |time: std::time::Duration| time.as_secs_f64() / all;
    let per_cent = |part: f64| format!("{:.0} %", 100.0 * part);
    let Used { cores, machine, .. } = known.used;
    if cores >= BUSY * f64::from(known.threads) {
        let grounds = format!("twinlog used {cores:.1} cores, and its lanes have {} threads", known.threads);
        return Limit { cause: Cause::Cpu, grounds };
    }
    if let Some(machine) = machine.filter(|machine| *machine >= BUSY) {
        let words = "of this machine's cores were busy, with all that runs on it";
        return Limit { cause: Cause::Cpu, grounds: format!("{} {words}", per_cent(machine)) };
    }
    if part(working) >= BUSY {
        let grounds = format!("the lanes worked, or waited for a core, for {} of the time", per_cent(part(working)));
        return Limit { cause: Cause::Cpu, grounds };
    }
    if part(source) >= MOST {
        let words = "of the time the lanes waited for the source with nothing in flight to the target";
        return Limit { cause: Cause::Source, grounds: format!("for {} {words}", per_cent(part(source))) };
    }
    if part(target) >= MOST {
        let words = "of the time the lanes waited for the target and could take nothing more from the source";
        return Limit { cause: Cause::Target, grounds: format!("for {} {words}", per_cent(part(target))) };
    }
    if part(both) >= MOST && known.same_with_all {
        let words = "of the time the lanes waited for both sides at once, and no setting made a difference";
        return Limit { cause: Cause::Network, grounds: format!("for {} {words}", per_cent(part(both))) };
    }
    let [working, source, target, both] = [working, source, target, both].map(|time| per_cent(part(time)));
    let grounds = format!(
        "the lanes worked {working} of the time, waited {source} for the source, {target} for the target and \
                 {both} for both"
    );
    Limit { cause: Cause::Unknown, grounds }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A copy whose time went so: working, for the source, the target, both.
    fn known(parts: [u64; 4]) -> Known {
        let [working, source, target, both] = parts.map(Duration::from_millis);
        let waits = Waits { working, source, target, both, neither: Duration::ZERO };
        let used = Used { process: Duration::ZERO, cores: 0.5, machine: Some(0.5) };
        Known { waits, used, threads: 2, same_with_all: false }
    }

    #[test]
    fn the_side_that_was_waited_for_is_named() {
        for (parts, cause) in [
            ([100, 700, 100, 100], Cause::Source),
            ([100, 100, 700, 100], Cause::Target),
            ([900, 50, 50, 0], Cause::Cpu),
            ([100, 400, 400, 100], Cause::Unknown),
            ([0, 0, 0, 0], Cause::Unknown),
        ] {
            let limit = limit(&known(parts));
            assert_eq!(limit.cause, cause, "{}", limit.grounds);
        }
        let wanted = "the source, or the network to it: for 70 % of the time the lanes waited for the source with \
                      nothing in flight to the target";
        assert_eq!(limit(&known([100, 700, 100, 100])).words(), wanted);
    }

    #[test]
    fn a_busy_processor_comes_first() {
        let known = known([100, 700, 100, 100]);
        let busy = Known { used: Used { machine: Some(0.95), ..known.used }, ..known };
        let wanted = "CPU: 95 % of this machine's cores were busy, with all that runs on it";
        assert_eq!(limit(&busy).words(), wanted);
        let own = Known { used: Used { cores: 1.9, machine: None, ..known.used }, ..known };
        assert_eq!(limit(&own).words(), "CPU: twinlog used 1.9 cores, and its lanes have 2 threads");
    }

    #[test]
    fn the_network_is_named_only_where_no_setting_made_a_difference() {
        let waits = known([100, 100, 100, 700]);
        assert_eq!(limit(&waits).cause, Cause::Unknown);
        assert_eq!(limit(&Known { same_with_all: true, ..waits }).cause, Cause::Network);
    }
}
