//! Partitions on their way from lane to lane, and lanes that come and go, while everything is copied.

use std::thread;

use twinlog_testcontainers::{ClusterSpec, Program};

use crate::ask::Load;
use crate::chance::Chance;
use crate::kills::UnderLoad;
use crate::map::assert_map;
use crate::pair::{Link, Pair, SESSION, assert_runs, drain, ended, scaled, turn};

/// Runs `twinlog lanes` again and again; its programs have numbers.
struct Lanes<'a> {
    load: &'a UnderLoad<'a>,
    asked: u32,
}

impl Lanes<'_> {
    fn link(&self) -> &Link<'_> {
        &self.load.link
    }

    fn start(&mut self, args: &[&str]) -> Program {
        self.asked += 1;
        let all: Vec<&str> = ["lanes"].iter().chain(args).copied().collect();
        self.link().start(&format!("lanes-{}", self.asked), &all, &[("TWINLOG_LOG", "info")])
    }

    /// What it says; it must end well.
    fn ask(&mut self, args: &[&str]) -> String {
        let ended = ended(self.start(args));
        assert_eq!(ended.code, 0, "{args:?}: {ended:#?}");
        ended.stdout
    }

    /// Numbers of lanes and of partitions on their way.
    fn count(&mut self) -> (usize, usize) {
        let text = self.ask(&["show", "lanes", "-o", "jsonl"]);
        let kind = |kind: &str| text.lines().filter(|line| line.contains(&format!(r#""kind":"{kind}""#))).count();
        (kind("lane"), kind("move"))
    }

    /// Where a record that was copied long ago is.
    fn translated(&mut self) -> String {
        self.asked += 1;
        let args = ["translate", "-o", "json", &format!("{}:0@100", self.load.plain)];
        let ended = self.link().finish(&format!("translate-{}", self.asked), &args);
        assert_eq!(ended.code, 0, "{ended:#?}");
        ended.stdout
    }
}

/// Given two instances of a link with two lanes under load, of young and of old records, when the lanes become four,
/// six and three, are filled by bytes and by hand, and meanwhile each instance is restarted and one is killed, then
/// each record is there once and in order, and an offset translates the same at each moment.
#[test]
fn lanes_change_under_load_and_every_record_is_there_once() {
    let _turn = turn();
    let mut chance = Chance::new("lanes");
    let target = ClusterSpec::new()
        .config("producer.id.expiration.ms", "10000")
        .config("producer.id.expiration.check.interval.ms", "1000");
    let pair = Pair::onto(target);
    let load = UnderLoad::start_with(&pair, "lanes", &["lanes: 2"]);
    let old = "lanes.old";
    let olds = Load::of_old_records(&pair, old, 3);

    let mut instances = vec![load.link.run("first-0"), load.link.run("second-0")];
    load.link.await_lanes("first-0", 1);
    load.link.await_lanes("second-0", 1);
    load.link.await_growth(&load.plain, 200_000);
    load.link.await_growth(old, 10_000);
    let mut lanes = Lanes { load: &load, asked: 0 };
    let translated = lanes.translated();
    for round in 1..=scaled(1, 10) {
        lanes.ask(&["resize", "lanes", "4", "--yes"]);
        lanes.ask(&["rebalance", "lanes", "--yes"]);
        assert_eq!(lanes.count().1, 0);
        assert_eq!(lanes.translated(), translated);

        // A rolling restart while lanes come and partitions go to and fro.
        lanes.ask(&["resize", "lanes", "6", "--yes"]);
        for (index, name) in ["first", "second"].into_iter().enumerate() {
            let to = ["4", "5"][index];
            for topic in [&load.plain, &load.transactional, old] {
                lanes.ask(&["move", "lanes", &format!("{topic}:{index}"), "--to", to, "--yes", "--wait", "0"]);
            }
            drain(instances.remove(0));
            instances.push(load.link.run(&format!("{name}-{round}")));
            load.link.await_growth(&load.plain, 100_000);
            load.link.await_growth(old, 10_000);
        }
        assert_eq!(lanes.translated(), translated);

        // One is killed while everything of a topic moves into one lane.
        let moving = lanes.start(&["move", "lanes", &load.plain, "--to", "0", "--yes", "--wait", "100s"]);
        // The moment is the scenario.
        thread::sleep(chance.moment(SESSION));
        let mut killed = instances.remove(0);
        assert_runs(&mut killed);
        killed.kill().expect("killed");
        instances.push(load.link.run(&format!("third-{round}")));
        let moved = ended(moving);
        assert_eq!(moved.code, 0, "{moved:#?}");
        assert_eq!(lanes.translated(), translated);

        lanes.ask(&["resize", "lanes", "3", "--yes", "--wait", "100s"]);
        assert_eq!(lanes.count(), (3, 0));
        assert_eq!(lanes.translated(), translated);
    }
    for instance in instances {
        let ended = drain(instance);
        assert!(!ended.stderr.contains("Partition stopped."), "{}", ended.stderr);
    }
    let wanted = olds.stop().acked_total();
    load.link.catch_up();
    assert_eq!(load.link.assert_twins(old, old), wanted);
    assert_map(&load.link, old, old);
    load.finish();
}
