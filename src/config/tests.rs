//! The file as a whole: what works as it stands, and the words for what does not.

use std::collections::BTreeMap;
use std::env::VarError;
use std::time::Duration;

use twinlog_core::config::security::{
    Login, MskIamConfig, OAuthConfig, PasswordMechanism, SaslConfig, Secret, TokenEndpoint, TokenSource,
};
use twinlog_core::config::{
    ExistingTopics, FetchConfig, GapPolicy, Intervals, LANES_DEFAULT, Members, ProduceConfig, SocketConfig, Timestamps,
};

use super::*;

/// The shortest file that mirrors topics; the README begins with it.
const FIRST: &str = concat!(
    r#"clusters:
  a: { bootstrap: ["127.0.0.1:19092"] }
  b: { bootstrap: ["127.0.0.1:29092"] }
links:
  dr:
    source: a
    target: b
    topics: { include: ['orders', 'payments\..*'], exclude: [], rename: '{topic}' }"#,
    "   # '{topic}.replica', '{source}.{topic}'\n"
);

/// Of the right form; nobody looks at what is in it.
pub(crate) const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
                              -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

const CLUSTERS: &str = "clusters: {a: {bootstrap: [a:1]}, b: {bootstrap: [b:1]}}\n";

fn read(text: &str) -> Result<Config, String> {
    read_for(true, text)
}

fn read_for(has_msk_iam: bool, text: &str) -> Result<Config, String> {
    let variable = |name: &str| match name {
        "BOOTSTRAP" => Ok("kafka.example:9092".to_owned()),
        "LANES" => Ok("8".to_owned()),
        "PASSWORD" => Ok("s3cret".to_owned()),
        "NOTHING" => Ok(String::new()),
        _ => Err(VarError::NotPresent),
    };
    let surroundings = Surroundings { variable: &variable, open: &|_| Err(io::ErrorKind::NotFound.into()) };
    read_with_values(has_msk_iam, Path::new("twinlog.yaml"), text, &surroundings)
        .map(|(config, _)| config)
        .map_err(|failures| failures.to_string())
}

fn refused(text: &str) -> String {
    match read(text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(transcript) => transcript,
    }
}

/// A file with one link that is right except for `lines`.
fn with_link(lines: &str) -> String {
    format!("{CLUSTERS}links:\n  dr:\n    source: a\n    target: b\n    topics: {{include: [x]}}\n{lines}")
}

#[test]
fn the_first_file_works_as_it_stands() {
    let config = read(FIRST).expect("a configuration");
    let link = &config.links["dr"];
    assert_eq!((link.source.as_str(), link.target.as_str()), ("a", "b"));
    assert_eq!(config.clusters["a"].bootstrap[0].to_string(), "127.0.0.1:19092");
    assert_eq!(config.clusters["a"].client_id, "twinlog");
    assert_eq!(config.clusters["a"].tls, None);
    let selection = link.topics.select("a", ["orders", "payments.eu", "orders2"]);
    assert_eq!(selection.mirrors.len(), 2);
    assert_eq!(link.lanes, LANES_DEFAULT);
    assert_eq!(link.budget_bytes, 64 << 20);
    assert_eq!((link.existing, link.timestamps), (ExistingTopics::Refuse, Timestamps::Append));
    assert_eq!(link.gap, GapPolicy::Halt);
    assert!(link.groups.take("any") && !link.groups.are_off());
    assert_eq!(link.replication_factor, None);
    assert_eq!((link.fetch, link.intervals), (FetchConfig::default(), Intervals::default()));
    assert_eq!(link.produce, ProduceConfig { in_flight: 4 });
    assert_eq!(link.sockets, SocketConfig { receive_buffer: None, send_buffer: None });
    assert_eq!(link.members, Members { session_timeout: Duration::from_secs(10), settle: Duration::from_secs(30) });
}

#[test]
fn every_key_is_read() {
    let text = r#"
clusters:
  a:
    bootstrap: ["${env:BOOTSTRAP}", "[::1]:9093"]
    client_id: dr-site
    tls: { server_name: kafka.example }
    sasl: { mechanism: SCRAM-SHA-512, username: twin, password: "${env:PASSWORD}" }
  b: { bootstrap: [b:1], tls: }
links:
  dr:
    source: a
    target: b
    topics: { include: [x], exclude: [y], rename: "{source}.{topic}" }
    groups: { include: [shop-.*], exclude: [shop-test] }
    existing: append
    gap: skip
    timestamps: create
    replication_factor: 3
    lanes: "${env:LANES}"
    budget: 128MiB
    fetch: { max_bytes: 16MiB, partition_max_bytes: 2097152, max_wait: 250ms }
    produce: { in_flight: 8 }
    sockets: { receive_buffer: 4MiB, send_buffer: 65536 }
    intervals: { topics: 1m, mark: 500ms }
    members: { session_timeout: 6s, settle: 0s }
    rack: eu-1a
    objectives: [{ topics: ["x.*"], rpo: 5s }, { rpo: 1m }]
http: { listen: "[::1]:9090", partition_metrics: true }
"#;
    let config = read(text).expect("a configuration");
    let (a, link) = (&config.clusters["a"], &config.links["dr"]);
    let shown: Vec<String> = a.bootstrap.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["kafka.example:9092", "[::1]:9093"]);
    assert_eq!(a.client_id, "dr-site");
    assert_eq!(a.tls.as_ref().and_then(|tls| tls.server_name.as_deref()), Some("kafka.example"));
    let login = Login { username: "twin".into(), password: Secret::new("s3cret".into()) };
    assert_eq!(a.sasl, Some(SaslConfig::Password(PasswordMechanism::ScramSha512, login)));
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(config.clusters["b"].tls.is_some(), "a bare `tls:` must not mean a plain connection");
    assert_eq!((link.existing, link.timestamps), (ExistingTopics::Append, Timestamps::Create));
    assert_eq!(link.gap, GapPolicy::Skip);
    let taken = ["shop-eu", "shop-test", "audit"].map(|group| link.groups.take(group));
    assert_eq!(taken, [true, false, false]);
    assert_eq!(link.replication_factor, Some(3));
    assert_eq!(link.lanes, 8);
    assert_eq!(link.budget_bytes, 128 << 20);
    let max_wait = Duration::from_millis(250);
    assert_eq!(link.fetch, FetchConfig { max_bytes: 16 << 20, partition_max_bytes: 2 << 20, max_wait });
    assert_eq!(link.produce, ProduceConfig { in_flight: 8 });
    assert_eq!(link.sockets, SocketConfig { receive_buffer: Some(4 << 20), send_buffer: Some(65536) });
    assert_eq!(link.intervals, Intervals { topics: Duration::from_secs(60), mark: Duration::from_millis(500) });
    assert_eq!(link.members, Members { session_timeout: Duration::from_secs(6), settle: Duration::ZERO });
    assert_eq!(link.rack.as_deref(), Some("eu-1a"));
    let objectives: Vec<_> = link.objectives.iter().map(|o| (o.topics.len(), o.rpo.as_secs())).collect();
    assert_eq!(objectives, [(1, 5), (0, 60)]);
    let http = config.http.as_ref().expect("a port");
    assert_eq!((http.listen.to_string().as_str(), http.partition_metrics), ("[::1]:9090", true));
    assert_eq!(link.topics.rename.apply("a", "t"), "a.t");
}

#[test]
fn an_unknown_key_is_shown_in_its_line_with_the_nearest_right_one() {
    assert_eq!(
        refused("clusters:\n  a: { bootstap: ['127.0.0.1:19092'] }\nlinks: {}\n"),
        "\
error: twinlog.yaml:2:8: unknown key `bootstap`
   |
 2 |   a: { bootstap: ['127.0.0.1:19092'] }
   |        ^^^^^^^^
  what to do: did you mean `bootstrap`?
"
    );
    let transcript = refused(&with_link("    retries: 5\n"));
    assert!(transcript.contains("twinlog.yaml:7:5: unknown key `retries`"), "{transcript}");
    assert!(transcript.contains("what to do: known here: budget, existing, fetch, gap"), "{transcript}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_files_order() {
    let text = "\
clusters:
  a: { bootstrap: ['kafka'] }
  backup: { bootstrap: ['127.0.0.1:29092'] }
links:
  DR:
    source: b
    target: bakup
    topics: { include: ['orders('], rename: '{topik}' }
    lanes: 0
";
    assert_eq!(
        refused(text),
        "\
error: twinlog.yaml:2:20: clusters.a.bootstrap: `kafka` has no port: write host:port
   |
 2 |   a: { bootstrap: ['kafka'] }
   |                    ^^^^^^^
error: twinlog.yaml:5:3: links.DR: link name `DR`: only a-z, 0-9 and inner hyphens, since it becomes part of topic \
names and transactional ids
   |
 5 |   DR:
   |   ^^
error: twinlog.yaml:6:13: links.DR.source: there is no cluster `b`
   |
 6 |     source: b
   |             ^
  what to do: known here: a, backup
error: twinlog.yaml:7:13: links.DR.target: there is no cluster `bakup`
   |
 7 |     target: bakup
   |             ^^^^^
  what to do: did you mean `backup`?
error: twinlog.yaml:8:25: links.DR.topics.include: `orders(` is no regular expression: unclosed group
   |
 8 |     topics: { include: ['orders('], rename: '{topik}' }
   |                         ^^^^^^^^^
error: twinlog.yaml:8:45: links.DR.topics.rename: `{topik}` is not known, only {topic} and {source} are
   |
 8 |     topics: { include: ['orders('], rename: '{topik}' }
   |                                             ^^^^^^^^^
error: twinlog.yaml:9:12: links.DR.lanes: `0` is not a number from 1 to 256
   |
 9 |     lanes: 0
   |            ^
"
    );
}

/// Each line of a link that is wrong, and the words that must be in its error.
#[test]
fn values_out_of_bounds_are_refused_with_their_bounds() {
    for (lines, wanted) in [
        ("    lanes: 257\n", "7:12: links.dr.lanes: `257` is not a number from 1 to 256"),
        ("    lanes: many\n", "`many` is not a number"),
        ("    lanes: +4\n", "`+4` is not a number from 1 to 256"),
        ("    budget: 4MiB\n", "links.dr.budget: `4MiB` is not from 8MiB to 1024GiB"),
        ("    budget: lots\n", "`lots` is no size: write 67108864 or 64MiB"),
        ("    existing: overwrite\n", "`overwrite` is not known: write refuse or append"),
        ("    replication_factor: 0\n", "is not a number from 1 to 32767"),
        ("    fetch: {max_bytes: 128MiB}\n", "one answer would not fit into the budget of 64MiB"),
        ("    fetch: {max_bytes: 2MiB, partition_max_bytes: 4MiB}\n", "more than the 2MiB of a whole answer"),
        ("    objectives: [{rpo: 2s}]\n", "links.dr.objectives[0].rpo: `2s` is not from 3s to 168h"),
        ("    objectives: [{rpo: 1m}, {topics: ['(']}]\n", "the key `rpo` is missing here"),
        ("    objectives: [{topics: ['('], rpo: 1m}]\n", "links.dr.objectives[0].topics"),
        ("    rack: ''\n", "links.dr.rack: must not be empty"),
        ("http: {listen: 9464}\n", "http.listen: `9464` is no address with a port: write 127.0.0.1:9464"),
        ("http: {partition_metrics: yes}\n", "http.partition_metrics: `yes` is not known: write true or false"),
        ("    fetch: {max_wait: 31s}\n", "links.dr.fetch.max_wait: `31s` is not from 10ms to 30s"),
        ("    produce: {in_flight: 0}\n", "links.dr.produce.in_flight: `0` is not a number from 1 to 32"),
        ("    produce: {in_flight: 33}\n", "`33` is not a number from 1 to 32"),
        ("    produce: {inflight: 4}\n", "unknown key `inflight`"),
        ("    sockets: {send_buffer: 4KiB}\n", "links.dr.sockets.send_buffer: `4KiB` is not from 16KiB to 512MiB"),
        ("    sockets: {receive_buffer: 1GiB}\n", "sockets.receive_buffer: `1GiB` is not from 16KiB to 512MiB"),
        ("    intervals: {topics: 10}\n", "`10` is no duration: write 500ms, 10s, 5m or 1h"),
        ("    intervals: {mark: 10ms}\n", "`10ms` is not from 100ms to 1m"),
        ("    members: {session_timeout: 500ms}\n", "`500ms` is not from 1s to 5m"),
        ("    members: {settle: 2h}\n", "`2h` is not from 0ms to 1h"),
        ("    timestamps: keep\n", "`keep` is not known: write append or create"),
        ("    existing: ${env:NOPE}\n", "links.dr.existing: the environment variable NOPE is not set"),
        ("    existing: ${file:nope}\n", "links.dr.existing: cannot read nope: entity not found"),
        ("    existing: []\n", "expected a single value here, not a map or a list"),
    ] {
        let transcript = refused(&with_link(lines));
        assert!(transcript.contains(wanted), "{lines}{transcript}");
    }
}

#[test]
fn a_small_answer_size_brings_the_partition_default_down_with_it() {
    let config = read(&with_link("    fetch: {max_bytes: 64KiB}\n")).expect("a configuration");
    assert_eq!(config.links["dr"].fetch.partition_max_bytes, 64 << 10);
}

#[test]
fn a_link_within_one_cluster_is_refused() {
    let same = format!("{CLUSTERS}links: {{dr: {{source: a, target: a, topics: {{include: [x]}}}}}}\n");
    let transcript = refused(&same);
    assert!(transcript.contains("links.dr.target: source and target are the same cluster `a`"), "{transcript}");
    let twice = "clusters: {a: {bootstrap: [x:1]}, b: {bootstrap: [y:1, x:1]}}\n\
                 links: {dr: {source: a, target: b, topics: {include: [x]}}}\n";
    let transcript = refused(twice);
    assert!(transcript.contains("`a` and `b` both begin at x:1: they are one cluster"), "{transcript}");
}

#[test]
fn what_is_missing_is_named_where_it_is_missing() {
    for (text, wanted) in [
        ("", "the file is empty"),
        ("clusters: {}\n", "the key `links` is missing here"),
        ("clusters: {a: {}}\n", "twinlog.yaml:1:12: the key `bootstrap` is missing here"),
        ("clusters: {}\nlinks: {}\n", "twinlog.yaml:2:8: links: there is no link in this file"),
        ("clusters:\n  a: { bootstrap: [x:1] }\nlinks:\n", "twinlog.yaml:3:6: links: there is no link"),
        ("clusters: {a: {bootstrap: []}}\nlinks: {}\n", "clusters.a.bootstrap: at least one host:port is needed"),
        ("clusters: {a: {bootstrap: [a:1], client_id: ''}}\nlinks: {}\n", "client_id: must not be empty"),
        ("clusters: {a: {bootstrap: [a:1], tls: {ca_file: ca.pem}}}\nlinks: {}\n", "cannot read ca.pem"),
        ("clusters: {a: {bootstrap: [a:1], tls: {key_file: x}}}\nlinks: {}\n", "cannot read x"),
        (
            "clusters: {a: {bootstrap: [a:1], tls: {cert_file: x}}}\nlinks: {}\n",
            "clusters.a.tls.cert_file: the certificate's private key is missing: key_file",
        ),
        (
            "clusters: {a: {bootstrap: [a:1], tls: {key_file: x}}}\nlinks: {}\n",
            "clusters.a.tls.key_file: the private key's certificate is missing: cert_file",
        ),
        ("clusters: []\n", "expected a map here"),
        ("clusters: {a: {bootstrap: a:1}}\n", "expected a list here"),
        ("clusters: {}\nclusters: {}\n", "twinlog.yaml:2:1: the key `clusters` is here twice"),
        ("clusters: {}\nlinks: {}\n---\nx: 1\n", "a second document begins here"),
        ("clusters: {\n", "twinlog.yaml:"),
    ] {
        let transcript = refused(text);
        assert!(transcript.contains(wanted), "{text:?}: {transcript}");
    }
    let nothing = format!("{CLUSTERS}links: {{dr: {{source: a, target: b, topics: {{include: []}}}}}}\n");
    assert!(refused(&nothing).contains("links.dr.topics.include: without a pattern the link mirrors nothing"));
}

#[test]
fn every_mistake_of_form_is_told_at_once() {
    let text = "\
clusters:
  a: { bootstrap: a:1, retries: 5 }
  b: [x]
links:
  dr:
    source: { a: b }
    topics: { includ: [x], exclude: [[y]] }
    lanes:
    fetch:
    objectives: [{ topics: [x] }, 5]
http:
";
    let transcript = refused(text);
    let places = transcript.lines().filter_map(|line| line.strip_prefix("error: twinlog.yaml:"));
    assert_eq!(
        places.collect::<Vec<_>>(),
        [
            "2:19: expected a list here, `[…]`",
            "2:24: unknown key `retries`",
            "3:6: expected a map here, `key: value`",
            "5:3: the key `target` is missing here",
            "6:13: expected a single value here, not a map or a list",
            "7:15: unknown key `includ`",
            "7:38: expected a single value here, not a map or a list",
            "8:5: a value is missing here",
            "10:18: the key `rpo` is missing here",
            "10:35: expected a map here, `key: value`",
        ]
    );
}

#[test]
fn a_file_that_is_no_text_says_where() {
    let folder = folder("bytes");
    let path = folder.join("twinlog.yaml");
    std::fs::write(&path, b"clusters: {}\n# caf\xe9\n").expect("written");
    let failures = load(Some(&path)).map(drop).expect_err("no text").to_string();
    std::fs::remove_dir_all(&folder).expect("removed");
    let wanted = format!("error: {}:2:6: the file is no UTF-8 text from here on\n", path.display());
    assert!(failures.starts_with(&wanted), "{failures}");
}

#[test]
fn links_share_a_quarter_of_the_memory_limit() {
    let link = "source: a, target: b, topics: {include: [x]}";
    let two = format!(
        "clusters: {{a: {{bootstrap: [a:1]}}, b: {{bootstrap: [b:1]}}}}\nlinks: {{c: {{{link}}}, d: {{{link}}}}}\n"
    );
    for (limit, budget) in [("4294967296", 512 << 20), ("268435456", 64 << 20), ("max", 64 << 20)] {
        let open = |path: &Path| {
            let text = match path.to_str() {
                Some("/proc/self/cgroup") => "0::/\n",
                Some("/sys/fs/cgroup/memory.max") => limit,
                _ => return Err(io::ErrorKind::NotFound.into()),
            };
            Ok(Box::new(io::Cursor::new(text.to_owned())) as Box<dyn io::Read>)
        };
        let surroundings = Surroundings { variable: &|_| Err(VarError::NotPresent), open: &open };
        let config = crate::read(Path::new("twinlog.yaml"), &two, &surroundings).expect("a configuration");
        let budgets: Vec<_> = config.links.values().map(|link| link.budget_bytes).collect();
        assert_eq!(budgets, [budget, budget], "{limit}");
    }
}

#[test]
fn columns_count_characters_and_a_tab_is_one() {
    let transcript = refused("clusters: {ä: {bootstrap: [ü]}, bc: {}}\nlinks: {}\n");
    assert!(transcript.contains("\n   |                                 ^^\n"), "{transcript}");
    let transcript = refused("clusters: {}\t# x\nlink: {}\t# y\n");
    assert!(transcript.contains("\n 2 | link: {} # y\n   | ^^^^\n"), "{transcript}");
}

#[test]
fn the_readme_shows_a_file_that_works() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```yaml\n").expect("a YAML block");
    let (text, _) = rest.split_once("```").expect("its end");
    let config = read(text).expect("a configuration");
    assert_eq!(config, read(FIRST).expect("a configuration"));
}

#[test]
fn the_reference_page_is_the_one_of_the_types() {
    let page = include_str!("../../docs/configuration.md");
    assert_eq!(page, reference_page(), "make it anew: twinlog config reference > docs/configuration.md");
}

#[test]
fn what_is_in_effect_is_shown_with_its_defaults_and_without_secrets() {
    let text = "clusters:\n  a: { bootstrap: [a:1], tls: , sasl: { mechanism: PLAIN, password: '${env:PASSWORD}' } }\n\
                links:\n  dr: { source: a, target: b, lanes: 4, topics: { include: [x] } }\nhttp: {}\n";
    let tree = yaml::tree(text).expect("YAML");
    let shown = show::show(&tree, true, Some(64 << 20));
    for line in [
        "  a:",
        "    tls:",
        "      password: \"${env:PASSWORD}\"",
        "    client_id: \"twinlog\"  # default",
        "    lanes: 4",
        "    budget: \"64MiB\"  # default",
        "    gap: \"halt\"  # default",
        "    fetch:",
        "      max_wait: \"500ms\"  # default",
        "  listen: \"127.0.0.1:9464\"  # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("sockets"), "it has no default: {shown}");
    assert_eq!(yaml::tree(&shown).expect("YAML")["links"]["dr"]["lanes"], 4);
    let plain = show::show(&tree, false, None);
    assert!(!plain.contains("# default") && plain.contains("http: {}\n"), "{plain}");
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("twinlog-config-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    folder
}

#[test]
fn what_a_file_refers_to_lies_beside_it() {
    let folder = folder("beside");
    let load = |text: &str| {
        let path = folder.join("twinlog.yaml");
        std::fs::write(&path, text).expect("written");
        load(Some(&path)).map_err(|failures| failures.to_string())
    };
    let text = with_link("").replace("[a:1]", "['${file:host}:1'], tls: {ca_file: ca.pem}");
    let refused = load(&text).expect_err("nothing is there");
    for name in ["host", "ca.pem"] {
        let wanted = format!("cannot read {}: No such file or directory (os error 2)", folder.join(name).display());
        assert!(refused.contains(&wanted), "{refused}");
        std::fs::write(folder.join(name), "kafka\n").expect("written");
    }
    let refused = load(&text).expect_err("no certificate is in it");
    let wanted = format!("1:62: clusters.a.tls.ca_file: cannot use {}: it holds no", folder.join("ca.pem").display());
    assert!(refused.contains(&wanted), "{refused}");
    std::fs::write(folder.join("ca.pem"), PEM).expect("written");
    let a = &load(&text).expect("a configuration").config.clusters["a"];
    assert_eq!(a.bootstrap[0].to_string(), "kafka:1");
    let ca_file = a.tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
    assert_eq!(ca_file.map(Path::new), Some(folder.join("ca.pem").as_path()));
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn the_file_is_looked_for_in_order() {
    let folder = folder("order");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    for name in ["named", "variable", "first", "second"] {
        std::fs::write(path(name), name).expect("written");
    }
    let (first, second) = (path("first"), path("second"));
    let places = [first.as_str(), second.as_str()];
    let found = |named: Option<&str>, variable: Option<&str>| {
        let named = named.map(path);
        let found = find(named.as_deref().map(Path::new), variable.map(path).map(OsString::from), &places);
        found.expect("found").1
    };
    assert_eq!(found(Some("named"), Some("variable")), "named");
    assert_eq!(found(None, Some("variable")), "variable");
    assert_eq!(found(None, None), "first");
    std::fs::remove_file(&first).expect("removed");
    assert_eq!(found(None, None), "second");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_file_that_is_named_but_not_there_is_never_replaced_by_another() {
    let folder = folder("named");
    let place = folder.join("twinlog.yaml");
    std::fs::write(&place, "x").expect("written");
    let places = [place.to_str().expect("UTF-8")];
    let failures = find(Some(Path::new("/nonexistent/a.yaml")), None, &places).expect_err("not there").to_string();
    assert_eq!(
        failures,
        "error: cannot read the configuration file /nonexistent/a.yaml: No such file or directory (os error 2)\n  \
         what to do: check the path given by -c\n"
    );
    let failures = find(None, Some("/nonexistent/b.yaml".into()), &places).expect_err("not there").to_string();
    assert!(failures.contains("given by TWINLOG_CONFIG"), "{failures}");
    std::fs::remove_dir_all(&folder).expect("removed");
    let failures = find(None, None, &places).expect_err("nowhere").to_string();
    assert!(failures.starts_with("error: no configuration file: TWINLOG_CONFIG is not set, and none of"), "{failures}");
}

/// A file whose first cluster has this `sasl`.
fn with_sasl(sasl: &str) -> String {
    let clusters = format!("clusters:\n  a:\n    bootstrap: [a:1]\n    sasl: {sasl}\n  b: {{ bootstrap: [b:1] }}\n");
    format!("{clusters}links:\n  dr: {{ source: a, target: b, topics: {{ include: [x] }} }}\n")
}

#[test]
fn each_mechanism_has_what_it_needs_and_is_told_what_it_lacks() {
    for (mechanism, of) in [
        ("PLAIN", PasswordMechanism::Plain),
        ("SCRAM-SHA-256", PasswordMechanism::ScramSha256),
        ("SCRAM-SHA-512", PasswordMechanism::ScramSha512),
    ] {
        let text = with_sasl(&format!("{{ mechanism: {mechanism}, username: u, password: '${{env:PASSWORD}}' }}"));
        let login = Login { username: "u".into(), password: Secret::new("s3cret".into()) };
        assert_eq!(read(&text).expect("a configuration").clusters["a"].sasl, Some(SaslConfig::Password(of, login)));
    }
    for (sasl, words) in [
        ("", "the key `mechanism` is missing here"),
        (
            "{ mechanism: GSSAPI }",
            "`GSSAPI` is not known: write PLAIN or SCRAM-SHA-256 or SCRAM-SHA-512 or OAUTHBEARER",
        ),
        ("{ mechanism: PLAIN, password: '${env:PASSWORD}' }", "the key `username` is missing"),
        ("{ mechanism: PLAIN, username: '', password: '${env:PASSWORD}' }", "a.sasl.username: must not be empty"),
        ("{ mechanism: PLAIN, username: u }", "4:24: clusters.a.sasl: the key `password` is missing"),
        ("{ mechanism: PLAIN, username: u, password: '${env:NOTHING}' }", "a.sasl.password: must not be empty"),
        ("{ mechanism: PLAIN, username: u, password: '${env:GONE}' }", "the environment variable GONE is not set"),
    ] {
        let transcript = refused(&with_sasl(sasl));
        assert!(transcript.contains(words), "{transcript}");
    }
}

#[test]
fn tokens_are_from_a_file_or_an_endpoint() {
    let sasl = |rest: &str| read(&with_sasl(&format!("{{ mechanism: OAUTHBEARER, {rest} }}")));
    let endpoint =
        |url: &str| format!("token_endpoint: {{ url: '{url}', client_id: c, client_secret: '${{env:PASSWORD}}' }}");
    for url in ["https://idp.example/token", "http://127.0.0.1:80/", "http://[::1]/t", "http://localhost:8080/t?a=b"] {
        let config = sasl(&endpoint(url)).expect("a configuration");
        let wanted = TokenEndpoint {
            url: url.into(),
            client_id: "c".into(),
            client_secret: Secret::new("s3cret".into()),
            scope: None,
            ca_file: None,
        };
        let token = TokenSource::Endpoint(wanted);
        let wanted = SaslConfig::OAuthBearer(OAuthConfig { token, extensions: BTreeMap::new() });
        assert_eq!(config.clusters["a"].sasl, Some(wanted));
    }
    let https = endpoint("https://idp.example/token");
    for (rest, words) in [
        (
            "extensions: { a: b }",
            "clusters.a.sasl: exactly one of the keys `token_file` and `token_endpoint` is needed",
        ),
        (&format!("token_file: x, {https}"), "exactly one of the keys `token_file` and `token_endpoint` is needed"),
        ("token_file: missing", "clusters.a.sasl.token_file: cannot read missing"),
        (&format!("{https}, username: u"), "clusters.a.sasl.username: OAUTHBEARER has no use for it"),
        (&format!("{https}, extensions: {{ auth: x }}"), "`auth` cannot be the name of an extension"),
        (&format!("{https}, extensions: {{ a-b: x }}"), "`a-b` cannot be the name of an extension"),
        (&format!("{https}, extensions: {{ a: 'ä' }}"), "must be of printable ASCII characters"),
        (&endpoint("http://idp.example/token"), "a.sasl.token_endpoint.url: `http://idp.example/token` is not"),
        (&endpoint("idp.example"), "`idp.example` is not `https://host/path`"),
        (&endpoint("https:///x"), "`https:///x` is not"),
        (&endpoint("https://c:s3cret@idp.example/"), "does not stand in the address"),
        (&https.replace("'${env:PASSWORD}'", "s3cret"), "client_secret: a secret does not stand in this file"),
        ("token_endpoint: { url: 'https://x/' }", "the key `client_id` is missing here"),
    ] {
        let transcript = sasl(rest).expect_err("refused");
        assert!(transcript.contains(words), "{transcript}");
        assert!(!transcript.contains("s3cret"), "{transcript}");
    }
    let transcript = refused(&with_sasl("{ mechanism: PLAIN, token_file: x }"));
    assert!(transcript.contains("clusters.a.sasl.token_file: PLAIN has no use for it"), "{transcript}");
}

/// A file whose first cluster has this for AWS_MSK_IAM, with TLS.
fn with_access_key(rest: &str) -> String {
    with_sasl(&format!("{{ mechanism: AWS_MSK_IAM, {rest} }}\n    tls: {{}}"))
}

#[test]
fn an_access_key_is_taken_with_tls_in_a_build_that_can_sign() {
    let key = "region: eu-central-1, access_key_id: AKIDEXAMPLE, secret_access_key: '${env:PASSWORD}'";
    for (session, token) in [("", None), (", session_token: '${env:PASSWORD}'", Some(Secret::new("s3cret".into())))] {
        let config = read(&with_access_key(&format!("{key}{session}"))).expect("a configuration");
        let wanted = MskIamConfig {
            region: "eu-central-1".into(),
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("s3cret".into()),
            session_token: token,
        };
        assert_eq!(config.clusters["a"].sasl, Some(SaslConfig::MskIam(wanted)));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
    for (wrong, words) in [
        (key.replace("region: eu-central-1, ", ""), "4:24: clusters.a.sasl: the key `region` is missing"),
        (key.replace("access_key_id: AKIDEXAMPLE, ", ""), "the key `access_key_id` is missing: the mechanism needs it"),
        ("region: x, access_key_id: x".into(), "the key `secret_access_key` is missing: the mechanism needs it"),
        (key.replace("eu-central-1", "EU/1"), "clusters.a.sasl.region: `EU/1` is no region: write eu-central-1"),
        (key.replace("AKIDEXAMPLE", "'${env:BOOTSTRAP}'"), "access_key_id: must be of letters, digits and underscores"),
        (key.replace("AKIDEXAMPLE", "''"), "clusters.a.sasl.access_key_id: must not be empty"),
        (key.replace("'${env:PASSWORD}'", "s3cret"), "secret_access_key: a secret does not stand in this file"),
        (format!("{key}, session_token: s3cret"), "a.sasl.session_token: a secret does not stand in this file"),
        (format!("{key}, username: u"), "clusters.a.sasl.username: AWS_MSK_IAM has no use for it"),
        (format!("{key}, token_file: x"), "clusters.a.sasl.token_file: AWS_MSK_IAM has no use for it"),
    ] {
        let transcript = refused(&with_access_key(&wrong));
        assert!(transcript.contains(words), "{wrong}: {transcript}");
        assert!(!transcript.contains("s3cret") && !transcript.contains("kafka.example"), "{wrong}: {transcript}");
    }
    for (sasl, words) in [
        ("{ mechanism: PLAIN, region: x }", "clusters.a.sasl.region: PLAIN has no use for it"),
        ("{ mechanism: OAUTHBEARER, session_token: x }", "a.sasl.session_token: OAUTHBEARER has no use for it"),
    ] {
        let transcript = refused(&with_sasl(sasl));
        assert!(transcript.contains(words), "{transcript}");
    }
}

#[test]
fn an_access_key_without_tls_or_without_its_feature_is_refused_at_its_mechanism() {
    let key = "region: eu-central-1, access_key_id: AKIDEXAMPLE, secret_access_key: '${env:PASSWORD}'";
    let transcript = refused(&with_sasl(&format!("{{ mechanism: AWS_MSK_IAM, {key} }}")));
    assert!(transcript.contains("twinlog.yaml:4:24: clusters.a.sasl.mechanism: AWS_MSK_IAM needs TLS"), "{transcript}");
    assert!(transcript.contains("what to do: write `tls: {}` beside `sasl`"), "{transcript}");
    let transcript = read_for(false, &with_access_key(key)).expect_err("refused");
    let wanted = "twinlog.yaml:4:24: clusters.a.sasl.mechanism: this build has no AWS_MSK_IAM: build it with \
                  `--features msk-iam`";
    assert!(transcript.contains(wanted), "{transcript}");
    // What is built decides what stands in a user's file.
    let surroundings = Surroundings { variable: &|_| Ok("x".into()), open: &|_| Err(io::ErrorKind::NotFound.into()) };
    let taken = super::read(Path::new("f"), &with_access_key(key), &surroundings).is_ok();
    assert_eq!(taken, cfg!(feature = "msk-iam"));
}

#[test]
fn a_secret_is_neither_taken_from_the_file_nor_shown() {
    let known = "{ mechanism: PLAIN, username: u, password: ";
    for (sasl, words) in [
        (format!("{known}s3cret }}"), "4:54: clusters.a.sasl.password: a secret does not stand in this file"),
        (format!("{known}'s3cret${{env:PASSWORD}}' }}"), "a secret does not stand in this file"),
        (format!("{known}${{s3cret}} }}"), "4:"),
        (format!("{known}'${{s3cret}}' }}"), "a secret does not stand in this file"),
        (format!("{known}s3cret, oops: 1 }}"), "unknown key `oops`"),
        (format!("{known}s3cret, password: s3cret }}"), "the key `password` is here twice"),
        ("{ password s3cret }".into(), "unknown key `password …`"),
        (format!("{known}[s3cret] }}"), "expected a single value here"),
        ("\n      password:\n        s3cret\n      oops: 1".into(), "unknown key `oops`"),
        ("\n      password:\n        s3cret: s3cret".into(), "6:9:"),
        (format!("{known}\"s3cret"), "twinlog.yaml:"),
    ] {
        let transcript = refused(&with_sasl(&sasl));
        assert!(transcript.contains(words), "{sasl}: {transcript}");
        assert!(!transcript.contains("s3cret"), "{sasl}: {transcript}");
    }
}

/// Given the files to deploy with, whose references lead somewhere, then each is a configuration.
#[test]
fn what_a_reference_stands_for_is_in_no_error() {
    for (written, wrong) in [
        ("lanes: 4", "lanes: ${env:PASSWORD}"),
        ("lanes: 4", "gap: ${env:PASSWORD}"),
        ("lanes: 4", "budget: 5${env:PASSWORD}"),
        ("lanes: 4", "intervals: { topics: '${env:PASSWORD}' }"),
        ("lanes: 4", "topics: { include: ['(${env:PASSWORD}'] }"),
        ("source: a", "source: ${env:PASSWORD}"),
        ("bootstrap: [b:1]", "bootstrap: ['${env:PASSWORD}']"),
        ("bootstrap: [b:1]", "bootstrap: ['${env:PASSWORD}:${env:PASSWORD}']"),
        ("bootstrap: [b:1]", "tls: { ca_file: '${env:PASSWORD}' }, bootstrap: [b:1]"),
    ] {
        let right = with_link("    lanes: 4\n");
        let right = if wrong.starts_with("topics") {
            right.replace("topics: {include: [x]}", "existing: empty")
        } else {
            right
        };
        let words = refused(&right.replace(written, wrong));
        assert!(words.contains("${env:PASSWORD}") && !words.contains("s3cret"), "{words}");
    }
    let shown = refused(&with_link("    \"la\\e[31mnes\": 2\n"));
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert!(refused("clusters: {'': {bootstrap: [a:1]}}\nlinks: {}\n").contains("must not be empty"));
    let long = refused(&format!("clusters: {}", "[".repeat(100_000)));
    assert!(long.len() < 3_000, "{} bytes", long.len());
}

#[test]
fn the_files_to_deploy_with_are_configurations() {
    let open = |_: &Path| Ok(Box::new(&b"s3cret\n"[..]) as Box<dyn io::Read>);
    let surroundings = Surroundings { variable: &|_| Err(VarError::NotPresent), open: &open };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, listens) in [("compose/twinlog/twinlog.yaml", "0.0.0.0:9464"), ("kubernetes/twinlog.yaml", "[::]:9464")]
    {
        let path = root.join("deploy").join(file);
        let text = std::fs::read_to_string(&path).expect("the file");
        let config = super::read(&path, &text, &surroundings).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.http.map(|http| http.listen.to_string()).as_deref(), Some(listens), "probes ask there");
    }
}

#[test]
fn a_key_has_a_place_or_that_of_what_it_would_stand_in() {
    let text = "clusters:\n  a: { bootstrap: [x, 1, null], tls: {} }\nlinks:\n  dr:\n    lanes: 3\n    on: true\n";
    for (key, wanted) in [
        ("clusters.a", (2, 3)),
        ("clusters.a.tls", (2, 33)),
        ("clusters.b", (1, 1)),
        ("links.dr.lanes", (5, 5)),
        ("links.dr.on.x", (6, 5)),
        ("http", (1, 1)),
    ] {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let place = yaml::place_of(text, &path);
        assert_eq!((place.line, place.column), wanted, "{key}");
    }
}
