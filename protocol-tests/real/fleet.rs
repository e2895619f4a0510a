//! Three instances of one link under load, and all that befalls instances: killed, asleep past a take-over, restarted
//! again and again, cut off from the target.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use twinlog_link::names::CLAIMS_TOPIC;
use twinlog_testcontainers::{At, ClusterSpec, Produce, Program, eventually};

use crate::ask::Load;
use crate::chance::Chance;
use crate::kills::UnderLoad;
use crate::map::assert_map;
use crate::pair::{LONG, Link, Pair, SESSION, assert_runs, drain, scaled, turn};
use crate::relay::Relay;

const LANES: usize = 4;
const INSTANCES: usize = 3;
/// How often lanes are taken in a round: an instance's part goes to the others and comes back. One that is restarted
/// again and again gets none meanwhile. What is taken more often goes to and fro.
const TAKES: usize = 2 * LANES.div_ceil(INSTANCES);

/// What befalls an instance.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Killed,
    /// SIGSTOP, and woken when others have its lanes.
    Asleep,
    /// Killed again and again, each time soon after its start.
    RestartLoop,
    /// Nothing gets through between it and the target.
    CutOff,
    /// Told to end, as in a rolling restart.
    Restarted,
}

const FATES: [Fate; 5] = [Fate::CutOff, Fate::Asleep, Fate::Killed, Fate::RestartLoop, Fate::Restarted];

struct Instance {
    name: String,
    program: Program,
    is_relayed: bool,
}

struct Fleet<'a> {
    load: UnderLoad<'a>,
    relayed: Link<'a>,
    relay: &'a Relay,
    started: u32,
    instances: Vec<Instance>,
    /// Of instances that have ended.
    takes_before: usize,
}

impl Fleet<'_> {
    fn start(&mut self, is_relayed: bool) {
        self.started += 1;
        let name = format!("instance-{}", self.started);
        let link = if is_relayed { &self.relayed } else { &self.load.link };
        self.instances.push(Instance { program: link.run(&name), name, is_relayed });
    }

    fn remove(&mut self, index: usize) -> Instance {
        let instance = self.instances.remove(index);
        self.takes_before += lanes_taken(&instance.program);
        instance
    }

    /// How often a lane was taken, by anybody.
    fn takes(&self) -> usize {
        self.takes_before + self.instances.iter().map(|instance| lanes_taken(&instance.program)).sum::<usize>()
    }

    /// Waits until every partition of every mirror has grown: somebody copies each of them.
    fn await_all_grow(&self) {
        for topic in [&self.load.plain, &self.load.transactional, &old(&self.load.link)] {
            let ends = || self.load.link.target().offsets(topic, At::End).ok();
            let before: BTreeMap<i32, i64> = eventually(&format!("the ends of {topic}"), LONG, ends);
            eventually(&format!("all partitions of {topic} grow from {before:?}"), LONG, || {
                let now = ends()?;
                before.iter().all(|(partition, end)| now.get(partition) > Some(end)).then_some(())
            });
        }
    }

    /// Waits until one that may lose its lanes has some.
    fn await_share(&self, index: usize) {
        let instance = &self.instances[index];
        eventually(&format!("{} has a lane", instance.name), LONG, || {
            (lanes_taken(&instance.program) > 0).then_some(())
        });
    }

    fn meets(&mut self, index: usize, fate: Fate, chance: &mut Chance) {
        let is_relayed = self.instances[index].is_relayed;
        match fate {
            Fate::Killed => {
                self.remove(index).program.kill().expect("killed");
                self.await_all_grow();
                self.start(is_relayed);
            }
            Fate::Asleep => {
                self.instances[index].program.pause().expect("a signal is sent");
                self.await_all_grow();
                self.instances[index].program.resume().expect("a signal is sent");
                self.await_all_grow();
                assert_runs(&mut self.instances[index].program);
            }
            Fate::RestartLoop => {
                for _ in 0..3 {
                    self.remove(index).program.kill().expect("killed");
                    self.start(is_relayed);
                    let last = self.instances.len() - 1;
                    self.instances.swap(index, last);
                    // The moment is the scenario: soon after its start.
                    let moment = chance.moment(SESSION);
                    self.instances[index].program.wait(moment).expect("the program can be waited for");
                    assert_runs(&mut self.instances[index].program);
                }
                self.await_all_grow();
            }
            Fate::CutOff => {
                self.relay.cut(true);
                // The cut is the scenario.
                thread::sleep(Duration::from_secs(scaled(3 * SESSION.as_secs(), 60)));
                self.await_all_grow();
                self.relay.cut(false);
                self.await_all_grow();
            }
            Fate::Restarted => {
                drain(self.remove(index).program);
                self.await_all_grow();
                self.start(is_relayed);
            }
        }
    }
}

fn lanes_taken(program: &Program) -> usize {
    program.stderr().lines().filter(|line| line.contains("Lane taken.")).count()
}

fn old(link: &Link<'_>) -> String {
    format!("{}.old", link.name)
}

/// Given three instances of a link under load, of young and of old records, when each in turn is killed, put to sleep
/// past a take-over, put into a restart loop, cut off from the target, and restarted, while a topic and partitions
/// appear, then each record is there once and in order, and lanes are not taken more often than is needed.
#[test]
fn whatever_befalls_one_of_three_instances_every_record_is_there_once() {
    let _turn = turn();
    let mut chance = Chance::new("fleet");
    let relay = Relay::listen();
    let target = ClusterSpec::new()
        .relayed(&[relay.port()])
        // So short that the load's own records are old when they wait for a take-over.
        .config("producer.id.expiration.ms", "10000")
        .config("producer.id.expiration.check.interval.ms", "1000");
    let pair = Pair::onto(target);
    relay.lead_to(pair.target.broker(0).relayed_address().expect("a listener for the relay"));
    let lanes = format!("lanes: {LANES}");
    let load = UnderLoad::start_with(&pair, "fleet", &[&lanes]);
    let (topics, more) = (UnderLoad::topics("fleet"), UnderLoad::more(&[&lanes]));
    let relayed = Link::to(&pair, &[relay.address()], "fleet", &topics, &more);
    let old = old(&load.link);
    let olds = Load::of_old_records(&pair, &old, 2);

    let mut fleet = Fleet { load, relayed, relay: &relay, started: 0, instances: Vec::new(), takes_before: 0 };
    for is_relayed in [false, false, true] {
        fleet.start(is_relayed);
    }
    for index in 0..INSTANCES {
        fleet.await_share(index);
    }
    let mut made = BTreeSet::new();
    let before = fleet.takes();
    // One move of everything more than is needed, for instances that a busy machine holds up past a session.
    let mut allowed = LANES;
    for round in 0..scaled(5, 30) {
        let fate = FATES[usize::try_from(round).expect("a round") % FATES.len()];
        let index = match fate {
            Fate::CutOff => fleet.instances.iter().position(|one| one.is_relayed).expect("one is relayed"),
            _ => usize::try_from(chance.below(INSTANCES as u64)).expect("an index"),
        };
        fleet.await_share(index);
        println!("round {round}: {} is {fate:?}", fleet.instances[index].name);
        if round % 5 == 3 {
            // What appears while instances fight for lanes.
            let topic = format!("fleet.new-{round}");
            fleet.load.link.source().create_topic(&topic, 3, &[]).expect("the topic is created");
            fleet.load.link.source().produce(&Produce::new(&topic, 1_000)).expect("produced");
            made.insert(topic);
            let partitions = fleet.load.link.source().placement(&old).expect("described").len();
            let partitions = u32::try_from(partitions).expect("a count") + 1;
            fleet.load.link.source().add_partitions(&old, partitions).expect("partitions are added");
        }
        fleet.meets(index, fate, &mut chance);
        allowed += TAKES;
        let takes = fleet.takes() - before;
        println!("{takes} takes of lanes so far, {allowed} allowed");
        assert!(takes <= allowed, "{takes} takes of {LANES} lanes in {} rounds, {allowed} allowed", round + 1);
    }
    let Fleet { load, instances, .. } = fleet;
    for instance in instances {
        let ended = drain(instance.program);
        assert!(!ended.stderr.contains("Partition stopped."), "{}: {}", instance.name, ended.stderr);
    }
    let claims: i64 = load.link.target().offsets(CLAIMS_TOPIC, At::End).expect("claims").values().sum();
    assert_eq!(usize::try_from(claims), Ok(3 + made.len()), "one instance claims, and once");
    let wanted = olds.stop().acked_total();
    load.link.catch_up();
    assert_eq!(load.link.assert_twins(&old, &old), wanted);
    assert_map(&load.link, &old, &old);
    for topic in &made {
        assert_eq!(load.link.assert_twins(topic, topic), 1_000);
        assert_map(&load.link, topic, topic);
    }
    load.finish();
}
