//! What was seen of the links so far: the last snapshot, and totals that only grow.

use std::collections::HashMap;
use std::time::SystemTime;

use twinlog_core::status::{LinkStatus, Standing};

/// What this process has seen of its links.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) started: SystemTime,
    links: Vec<LinkStatus>,
    totals: HashMap<String, Totals>,
}

/// What an instance copied of a link since its start.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// What each partition showed last: it begins at 0 again with each stay in a lane.
    last: HashMap<(String, i32), (u64, u64)>,
}

impl Seen {
    pub(super) fn new(started: SystemTime) -> Self {
        Self { started, links: Vec::new(), totals: HashMap::new() }
    }

    pub(super) fn update(&mut self, links: Vec<LinkStatus>) {
        for link in &links {
            let totals = self.totals.entry(link.link.clone()).or_default();
            for row in link.partitions.iter().filter(|row| row.standing != Standing::Elsewhere) {
                let last = totals.last.entry((row.topic.clone(), row.partition)).or_default();
                totals.records += grown(last.0, row.records);
                totals.bytes += grown(last.1, row.bytes);
                *last = (row.records, row.bytes);
            }
        }
        self.links = links;
    }

    pub(super) fn links(&self) -> &[LinkStatus] {
        &self.links
    }

    pub(super) fn totals(&self, link: &str) -> Option<&Totals> {
        self.totals.get(link)
    }

    /// Why this instance is not ready, if it is not.
    pub(super) fn unready(&self) -> Option<String> {
        if self.links.is_empty() {
            return Some("no link has begun yet".to_owned());
        }
        self.links.iter().find_map(|link| match link.instance {
            None => Some(format!("link {} has not reached both clusters yet", link.link)),
            Some(instance) if instance.ready => None,
            Some(_) => Some(format!("link {} waits for its group on cluster {}", link.link, link.target)),
        })
    }
}

/// What came to a count that was `last` and may have begun again.
fn grown(last: u64, now: u64) -> u64 {
    if now >= last { now - last } else { now }
}

#[cfg(test)]
mod tests {
    use twinlog_core::status::Instance;

    use super::*;
    use crate::cli::tests::partition;

    fn link(records: u64, standing: Standing) -> LinkStatus {
        let row = twinlog_core::status::PartitionStatus { records, bytes: 10 * records, standing, ..partition("t", 0) };
        LinkStatus {
            link: "dr".to_owned(),
            source: "a".to_owned(),
            target: "b".to_owned(),
            lanes: 2,
            instance: Some(Instance { ready: true, lanes: 1 }),
            partitions: vec![row.into()],
        }
    }

    #[test]
    fn totals_only_grow_whatever_becomes_of_lanes() {
        let mut seen = Seen::new(SystemTime::UNIX_EPOCH);
        for (records, standing, total) in [
            (5, Standing::Copying, 5),
            (9, Standing::Copying, 9),
            (0, Standing::Elsewhere, 9),
            (2, Standing::Copying, 11),
            (2, Standing::CaughtUp, 11),
        ] {
            seen.update(vec![link(records, standing)]);
            let totals = seen.totals("dr").expect("totals");
            assert_eq!((totals.records, totals.bytes), (total, 10 * total));
        }
    }

    #[test]
    fn it_is_ready_when_each_link_has_shared_out_its_lanes() {
        let mut seen = Seen::new(SystemTime::UNIX_EPOCH);
        assert_eq!(seen.unready().as_deref(), Some("no link has begun yet"));
        let ready = link(0, Standing::Copying);
        let mut waiting = LinkStatus { link: "up".to_owned(), instance: None, ..ready.clone() };
        seen.update(vec![ready.clone(), waiting.clone()]);
        assert_eq!(seen.unready().as_deref(), Some("link up has not reached both clusters yet"));
        waiting.instance = Some(Instance { ready: false, lanes: 0 });
        seen.update(vec![ready.clone(), waiting.clone()]);
        assert_eq!(seen.unready().as_deref(), Some("link up waits for its group on cluster b"));
        waiting.instance = ready.instance;
        seen.update(vec![ready, waiting]);
        assert_eq!(seen.unready(), None);
    }
}
