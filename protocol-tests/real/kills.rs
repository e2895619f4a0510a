//! kill -9 of twinlog at any moment: each record is on the target once and in order, and the map is true.

use std::time::Duration;

use twinlog_testcontainers::{Codec, Isolation, Produce};

use crate::ask::Load;
use crate::chance::Chance;
use crate::map::assert_map;
use crate::pair::{Link, Pair, SHARED, assert_runs, ended, scaled};

/// How `sh` tells the end by SIGABRT.
const ABORTED: i32 = 128 + 6;

/// Producers on a plain topic and on one with transactions, a third of which is aborted, and a link over both.
pub(crate) struct UnderLoad<'a> {
    pub(crate) link: Link<'a>,
    pub(crate) plain: String,
    pub(crate) transactional: String,
    loads: [Load; 2],
}

impl<'a> UnderLoad<'a> {
    pub(crate) fn start(pair: &'a Pair, name: &str) -> Self {
        Self::start_with(pair, name, &[])
    }

    /// The same with more lines in the link's configuration.
    pub(crate) fn start_with(pair: &'a Pair, name: &str, more: &[&str]) -> Self {
        let (plain, transactional) = (format!("{name}.plain"), format!("{name}.transactional"));
        let link = Link::new(pair, name, &Self::topics(name), &Self::more(more));
        for topic in [&plain, &transactional] {
            link.source().create_topic(topic, 4, &[]).expect("the topic is created");
        }
        let bootstrap = || pair.source.bootstrap_text();
        let produce = Produce::endless(&plain).codec(Codec::Lz4).batches(8_192, 5).rate(2_000);
        let load = Load::start(bootstrap(), &plain, &produce);
        let id = format!("{name}-transactions");
        let produce = Produce::endless(&transactional).transactions(&id, 40, 3).rate(400);
        let transactions = Load::start(bootstrap(), &transactional, &produce);
        Self { link, plain, transactional, loads: [load, transactions] }
    }

    /// The link's topics.
    pub(crate) fn topics(name: &str) -> String {
        format!("{{ include: ['{name}\\..*'] }}")
    }

    /// The link's other lines: marks and chunks of the map come often, so that kills fall between them.
    pub(crate) fn more<'b>(more: &[&'b str]) -> Vec<&'b str> {
        [&["intervals: { mark: 200ms, topics: 1s }"], more].concat()
    }

    /// Stops the producers, catches up, and compares everything.
    pub(crate) fn finish(self) {
        let Self { link, plain, transactional, loads: [load, transactions] } = self;
        let wanted = load.stop().acked_total();
        let committed = transactions.stop().committed_total();
        link.catch_up();
        assert_eq!(link.assert_twins(&plain, &plain), wanted);
        assert_eq!(link.assert_twins(&transactional, &transactional), committed);
        let all = link.source().digest(&transactional, Isolation::ReadUncommitted).expect("the topic is read");
        assert!(all.values().map(|digest| digest.count).sum::<u64>() > committed, "nothing was aborted");
        assert_map(&link, &plain, &plain);
        assert_map(&link, &transactional, &transactional);
        link.verify();
    }

    /// Starts twinlog and kills it, so many times: at a random moment after its start, and every other time after it
    /// has copied a random amount.
    pub(crate) fn kill_at_random_moments(&self, chance: &mut Chance, kills: u64) {
        for kill in 0..kills {
            let mut twinlog = self.link.run(&format!("kill-{kill}"));
            if kill % 2 == 0 {
                self.link.await_growth(&self.plain, chance.below(300_000));
            } else {
                // The moment is the scenario: any time from the first system call to the middle of copying.
                let moment = chance.moment(Duration::from_millis(2_500));
                twinlog.wait(moment).expect("the program can be waited for");
            }
            assert_runs(&mut twinlog);
            twinlog.kill().expect("killed");
        }
    }
}

#[test]
fn killed_at_random_moments_under_load_every_record_is_there_once() {
    let mut chance = Chance::new("kills");
    let scenario = UnderLoad::start(&SHARED, "kills");
    scenario.kill_at_random_moments(&mut chance, scaled(10, 200));
    scenario.finish();
}

#[test]
fn killed_at_each_named_point_under_load_every_record_is_there_once() {
    let scenario = UnderLoad::start(&SHARED, "points");
    // Something must be there to be recovered.
    let mut twinlog = scenario.link.run("first");
    scenario.link.await_growth(&scenario.plain, 200_000);
    twinlog.kill().expect("killed");
    // Each of the two lanes fences its map and its mirrors, and reads what the fence left: 4 fences and 2 reads at
    // least.
    for point in [
        "after-fence",
        "after-fence:3",
        "during-recovery",
        "during-recovery:2",
        "after-produce",
        "after-produce:40",
        "before-map-write",
        "before-map-write:4",
    ] {
        let env = [("TWINLOG_LOG", "info"), ("TWINLOG_FAILPOINT", point)];
        let ended = ended(scenario.link.start(&format!("at-{point}"), &["run"], &env));
        assert_eq!(ended.code, ABORTED, "at {point}: {}", ended.stderr);
    }
    scenario.finish();
}
