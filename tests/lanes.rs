//! `twinlog lanes` as a user meets it, on a target in memory. What a running instance would do is done by hand.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests are tests to a reader, if not to the lint")]

mod kit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use twinlog_client::admin::{GroupJoin, GroupJoined, GroupMember, NewTopic};
use twinlog_client::{Cluster, Purpose, Side};
use twinlog_core::map_record::PartitionKey;
use twinlog_core::members::{MemberKey, Plan, Share};
use twinlog_core::moves::Place;
use twinlog_core::state_record::{Lanes, StateRecord};
use twinlog_link::environment::WallClock;
use twinlog_link::map_topic::ensure_map_topic;
use twinlog_link::state::StateTopic;
use twinlog_sandbox::Sandbox;
use twinlog_wire::builder::{BatchBuilder, BatchOptions, NewRecord};

use kit::{cluster, read, run_on_a_terminal};

const GROUP: &str = "twinlog.dr";
const LIMIT: Duration = Duration::from_secs(30);

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("ended");
        self.0.wait().expect("waited for");
    }
}

/// A folder with a configuration for the link `dr` between two clusters in memory.
struct World {
    folder: PathBuf,
    source: Cluster,
    target: Cluster,
    state: StateTopic,
    _sandboxes: [Sandbox; 2],
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("removed");
    }
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic: "orders".into(), partition }
}

fn rests(lane: u32) -> Place {
    Place { lane, from: None, number: 0 }
}

/// Makes the topic `orders`, with `n` batches of 1 000 bytes in partition `n`.
async fn fill(cluster: &Cluster, partitions: i32) {
    let topic = NewTopic { name: "orders".into(), partitions, replication_factor: 1, configs: BTreeMap::default() };
    cluster.create_topics(&[topic], false).await.expect("asked")["orders"].as_ref().expect("created");
    for partition in 0..partitions {
        let leader = cluster.refresh().await.expect("metadata").leader("orders", partition).expect("a leader");
        let connection = cluster.connection(leader, Purpose::Produce, 0).await.expect("a connection");
        for _ in 0..partition {
            let mut batch = BatchBuilder::new(BatchOptions::default());
            batch.push(&NewRecord { value: Some(&[7; 1_000]), ..Default::default() });
            let batch = Some(batch.finish().expect("a batch"));
            let data = PartitionProduceData::default().with_index(partition).with_records(batch);
            let name = TopicName(StrBytes::from_static_str("orders"));
            let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]);
            let answer = connection.call_at(request, 9, None).await.expect("an answer");
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
    }
}

impl World {
    /// Nothing is written yet but the link's topics.
    async fn new(name: &str) -> Self {
        let (source_sandbox, source_at, source) = cluster(Side::Source, 3).await;
        let (target_sandbox, target_at, target) = cluster(Side::Target, 3).await;
        let folder = std::env::temp_dir().join(format!("twinlog-lanes-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let config = format!(
            "clusters: {{a: {{bootstrap: ['{source_at}']}}, b: {{bootstrap: ['{target_at}']}}}}\n\
             links:\n\
             \x20 dr: {{source: a, target: b, topics: {{include: ['orders']}}, lanes: 2}}\n\
             \x20 new: {{source: a, target: b, topics: {{include: ['orders'], rename: '{{topic}}.new'}}}}\n"
        );
        std::fs::write(folder.join("twinlog.yaml"), config).expect("written");
        ensure_map_topic(&target, "dr", 2, None).await.expect("the map topic");
        let state = StateTopic::ensure(&target, "dr", None, WallClock::default()).await.expect("the state topic");
        Self { folder, source, target, state, _sandboxes: [source_sandbox, target_sandbox] }
    }

    /// A link that is down. Its topic has four partitions: 0 and 2 are in lane 0, 1 and 3 in lane 1.
    async fn written(name: &str) -> Self {
        let world = Self::new(name).await;
        let table = StateRecord::Table("orders".into(), [0, 1, 0, 1].map(rests).into());
        world.write(vec![StateRecord::Lanes(Lanes { count: 2, wanted: 2 }), table]).await;
        fill(&world.target, 4).await;
        world
    }

    async fn write(&self, records: Vec<StateRecord>) {
        self.state.update(|_| Ok(records.clone())).await.expect("written");
    }

    fn twinlog(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinlog"));
        command.args(arguments).current_dir(&self.folder).env_remove("TWINLOG_CONFIG");
        command
    }

    /// Exit code, stdout and stderr of `twinlog lanes` with these arguments.
    async fn lanes(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.twinlog(&[&["lanes"], arguments].concat());
        let output = tokio::task::spawn_blocking(move || command.output().expect("the binary runs")).await;
        read(output.expect("no panic"))
    }

    /// The same with a terminal as stderr; what it shows comes in place of stderr.
    async fn lanes_on_a_terminal(&self, arguments: &[&str]) -> (i32, String, String) {
        run_on_a_terminal(self.twinlog(&[&["lanes"], arguments].concat()), b"").await
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = self.lanes(&[arguments, &["-o", "json"]].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        serde_json::from_str(&stdout).expect("JSON")
    }

    async fn place(&self, partition: i32) -> Place {
        self.state.read().await.expect("the state").place(&key(partition)).expect("in a lane")
    }

    async fn count(&self) -> Lanes {
        self.state.read().await.expect("the state").lanes().expect("has lanes")
    }

    /// The partitions of the map topic.
    async fn map(&self) -> usize {
        self.target.refresh().await.expect("metadata").topics["__twinlog.dr.map"].partitions.len()
    }

    /// An instance joins that has lane 1.
    async fn join(&self) -> String {
        let join = |member_id: &str| {
            let member_id = member_id.to_owned();
            async move {
                let join = GroupJoin {
                    group: GROUP,
                    member_id: &member_id,
                    protocol_type: "twinlog",
                    protocol: "lanes",
                    metadata: Bytes::new(),
                    session_timeout: LIMIT,
                    rebalance_timeout: LIMIT,
                };
                self.target.join_group(&join, LIMIT).await.expect("joined")
            }
        };
        let GroupJoined::IdRequired(id) = join("").await else { panic!("taken in without an id") };
        let GroupJoined::Generation { generation, .. } = join(&id).await else { panic!("the id is not taken") };
        let owned = Share { owner: Some(MemberKey::of(&id)), leaving: false, bytes_per_s: 0 };
        let plan = Plan { generation: 1, lanes: vec![Share::default(), owned] };
        let member = GroupMember { group: GROUP, member_id: &id, generation };
        let plan = [(id.clone(), plan.encode().into())];
        self.target.sync_group(member, "twinlog", "lanes", &plan, LIMIT).await.expect("in the group");
        id
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_are_shown_with_their_sizes_owners_and_moves() {
    let world = World::written("shown").await;
    world.join().await;
    let moving = Place { lane: 1, from: Some(0), number: 1 };
    world.write(vec![StateRecord::Table("orders".into(), vec![rests(0), rests(1), moving, rests(1)])]).await;
    let found = world.json(&["dr"]).await;
    let lanes = &found["links"][0]["lanes"];
    let row = |lane: usize| ["partitions", "coming", "going"].map(|name| lanes[lane][name].as_u64().expect("a count"));
    assert_eq!((row(0), row(1)), ([1, 0, 1], [3, 1, 0]));
    let bytes = |lane: usize| lanes[lane]["bytes"].as_u64().expect("bytes");
    assert_eq!(bytes(0), 0);
    assert!((6_000..7_000).contains(&bytes(1)), "{lanes}");
    assert_eq!((&lanes[0]["owner"], &lanes[1]["owner"]), (&Value::Null, &Value::from("twinlog at 127.0.0.1")));
    let one = &found["links"][0]["moves"][0];
    assert_eq!((&one["partition"], &one["from"], &one["to"]), (&2.into(), &0.into(), &1.into()));
    assert_eq!(world.json(&["show", "dr"]).await, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_yes_nothing_is_changed() {
    let world = World::written("asks").await;
    for arguments in [&["move", "dr", "orders:0", "--to", "1"][..], &["rebalance", "dr"], &["resize", "dr", "3"]] {
        let (code, stdout, stderr) = world.lanes(arguments).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        let wanted = format!(
            "error: without a terminal a change of lanes needs --yes\n  what to do: twinlog lanes {} --yes\n",
            arguments.join(" ")
        );
        assert_eq!(stderr, wanted);
    }
    assert_eq!((world.place(0).await, world.count().await.wanted, world.map().await), (rests(0), 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_what_would_be_changed_is_shown_first() {
    let world = World::written("shows").await;
    let (code, stdout, shown) = world.lanes_on_a_terminal(&["move", "dr", "orders:0", "--to", "1"]).await;
    let wanted = "nothing was changed; to do it: twinlog lanes move dr orders:0 --to 1 --yes\n";
    assert_eq!((code, shown.as_str()), (0, wanted));
    let row: Vec<&str> = stdout.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..5], ["dr", "orders", "0", "0", "1"], "{stdout}");
    assert_eq!((world.place(0).await, world.count().await.wanted, world.map().await), (rests(0), 2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_a_bar_shows_how_far_it_is() {
    let world = World::written("bar").await;
    world.join().await;
    let arguments = ["move", "dr", "orders", "--to", "0", "--yes", "--wait", "1s"];
    let (code, _, shown) = world.lanes_on_a_terminal(&arguments).await;
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("0 of 2 partitions are there"), "{shown:?}");
    let last = shown.lines().last().expect("a line");
    assert!(last.contains("2 partitions are still on the way"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_and_nothing_is_changed() {
    let world = World::written("refused").await;
    let (code, _, stderr) = world.lanes(&["move", "dr", "orders:0", "--to", "1", "--yes", "--wait", "0"]).await;
    assert_eq!((code, stderr.as_str()), (0, "written, and 1 partition is on the way; see `twinlog lanes dr`\n"));
    let before = world.state.read().await.expect("the state");
    for (arguments, wanted_code, wanted) in [
        (&["move", "dr", "orders:1", "--to", "2"][..], 2, "error: there is no lane 2: the link has lanes 0 to 1\n"),
        (&["move", "dr", "orders:9", "--to", "1"], 1, "error: source orders:9 is in no lane: partitions 0 to 3 of the"),
        (&["move", "dr", "order", "--to", "1"], 1, "what to do: the nearest topics that are: orders\n"),
        (&["move", "dr", "orders:0", "--to", "0"], 1, "error: source orders:0 is on its way to lane 1 from lane 0\n"),
        (&["move", "dr", "orders:x", "--to", "0"], 2, "the partition is a number from 0 on"),
        (&["resize", "dr", "0"], 2, "0 is not in 1..=256"),
        (&["resize", "dr", "257"], 2, "257 is not in 1..=256"),
        (
            &["resize", "new", "4"],
            1,
            "error: link new has no lanes yet: nothing is in target topic __twinlog.new.state",
        ),
        (&["rebalance", "nope"], 2, "error: there is no link `nope`\n"),
    ] {
        let (code, stdout, stderr) = world.lanes(&[arguments, &["--yes"]].concat()).await;
        assert_eq!((code, stdout.as_str()), (wanted_code, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
    }
    assert_eq!(world.state.read().await.expect("the state"), before);
    assert_eq!(world.map().await, 2);
    let (code, _, stderr) = world.lanes(&["move", "dr", "orders:2", "--to", "0", "--yes"]).await;
    assert_eq!((code, stderr.as_str()), (0, "nothing to change: all is so already\n"));
    let (code, stdout, stderr) = world.lanes(&["move", "dr", "orders:0", "--to", "1", "--yes"]).await;
    assert!(code == 0 && stdout.contains("orders"), "what is under way is said again: {stdout}{stderr}");
    assert_eq!(world.state.read().await.expect("the state"), before);
    let (code, stdout, stderr) = world.lanes(&["show", "new", "-o", "jsonl"]).await;
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(stderr, "link new has no lanes yet: nothing is in target topic __twinlog.new.state\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_moves_bytes_to_where_there_are_few() {
    let world = World::written("rebalance").await;
    let (code, _, stderr) = world.lanes(&["resize", "dr", "3", "--yes"]).await;
    assert_eq!((code, stderr.as_str()), (0, "done\n"));
    assert_eq!((world.count().await, world.map().await), (Lanes { count: 3, wanted: 3 }, 3));
    let change = world.json(&["rebalance", "dr", "--yes"]).await;
    assert_eq!(change["progress"], "under-way");
    let moves = change["moves"].as_array().expect("a list");
    let [one] = moves.as_slice() else { panic!("{change}") };
    assert_eq!((&one["partition"], &one["from"], &one["to"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!(world.place(1).await, Place { lane: 2, from: Some(1), number: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_lanes_wait_until_they_are_empty() {
    let world = World::written("fewer").await;
    let (code, stdout, stderr) = world.lanes(&["resize", "dr", "1", "--yes"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.starts_with("lanes of dr: 2 > 1\nLINK  TOPIC "), "{stdout}");
    let wanted = "written, and 2 partitions are to move: no instance of the link runs; start it: twinlog run dr\n";
    assert_eq!(stderr, wanted);
    assert_eq!(world.count().await, Lanes { count: 2, wanted: 1 });
    let shown = world.json(&[]).await;
    assert!(shown["links"][0]["lanes"][1]["closing"].as_bool().expect("a bool"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_until_what_was_asked_for_is_there() {
    let world = World::written("waits").await;
    world.join().await;
    let arguments = ["move", "dr", "orders", "--to", "0", "--yes", "--wait"];
    let (code, _, stderr) = world.lanes(&[&arguments[..], &["300ms"]].concat()).await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.starts_with("2 partitions are still on the way, and will go on"), "{stderr}");
    assert_eq!(world.place(1).await, Place { lane: 0, from: Some(1), number: 1 });

    let arrive = async |partition| {
        let arrived = BTreeMap::from([(key(partition), 1)]);
        world.state.update(|state| Ok(state.arrived(&arrived))).await.expect("written");
    };
    arrive(3).await;
    let follower = world.state.follow();
    let mut changes = follower.listen();
    let asked = async { world.lanes(&["move", "dr", "orders:0", "--to", "1", "--yes"]).await };
    let carried_out = async {
        while !changes.changed().await.is_moving(&key(0), 1) {}
        arrive(0).await;
    };
    let ((code, _, stderr), ()) = tokio::join!(asked, carried_out);
    assert_eq!((code, stderr.as_str()), (0, "done\n"), "whatever else is on its way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_runs_carries_changes_out() {
    let world = World::new("runs").await;
    fill(&world.source, 6).await;
    let follower = world.state.follow();
    let mut changes = follower.listen();
    let mut command = world.twinlog(&["run", "dr"]);
    let _running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs"));
    let placed = async { while changes.changed().await.places().count() < 6 {} };
    tokio::time::timeout(LIMIT, placed).await.expect("it places all partitions");

    for arguments in [
        &["resize", "dr", "3"][..],
        &["move", "dr", "orders", "--to", "2"],
        &["rebalance", "dr"],
        &["move", "dr", "orders:5", "--to", "1"],
        &["resize", "dr", "1"],
    ] {
        let (code, _, stderr) = world.lanes(&[arguments, &["--yes"]].concat()).await;
        assert_eq!((code, stderr.as_str()), (0, "done\n"), "{arguments:?}");
    }
    let state = world.state.read().await.expect("the state");
    assert_eq!(state.lanes(), Some(Lanes { count: 1, wanted: 1 }));
    assert!(state.places().all(|(_, place)| place.lane == 0 && place.from.is_none()));
    let found = world.json(&["dr"]).await;
    let lane = &found["links"][0]["lanes"][0];
    assert_eq!((&lane["partitions"], &lane["owner"]), (&6.into(), &"twinlog at 127.0.0.1".into()));
    assert!(lane["bytes"].as_u64().expect("bytes") > 15_000, "{lane}");
}
