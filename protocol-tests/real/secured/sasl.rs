//! SASL over TLS: each mechanism that a plain broker can be set up for, and what goes wrong with it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use twinlog_testcontainers::{ClusterSpec, Produce, eventually};

use super::{Authority, cluster};
use crate::pair::{LONG, Link, ORACLE, Pair, assert_runs, drain};
use crate::seeing::get;

pub(super) const PASSWORD: &str = "pl4nted-s3cret";
/// In which sessions end that did not begin with PLAIN or SCRAM-SHA-256.
const SESSION_MS: u32 = 3_000;

/// A cluster whose clients must say who they are.
pub(super) fn asking(authority: &Authority) -> ClusterSpec {
    let jaas = |module: &str, options: &str| {
        format!("org.apache.kafka.common.security.{module}LoginModule required{options};")
    };
    let own = [
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned()),
        ("plain.sasl.jaas.config", jaas("plain.Plain", &format!(" user_twin=\"{PASSWORD}\""))),
        ("scram-sha-256.sasl.jaas.config", jaas("scram.Scram", "")),
        ("scram-sha-512.sasl.jaas.config", jaas("scram.Scram", "")),
        ("oauthbearer.sasl.jaas.config", jaas("oauthbearer.OAuthBearer", " unsecuredLoginStringClaim_sub=\"broker\"")),
        ("oauthbearer.connections.max.reauth.ms", SESSION_MS.to_string()),
        ("scram-sha-512.connections.max.reauth.ms", SESSION_MS.to_string()),
    ];
    let own = own.map(|(key, value)| (key.to_owned(), value));
    ClusterSpec::new().secured("SASL_SSL", authority.listener("localhost").into_iter().chain(own))
}

/// What SCRAM needs that stands in the cluster.
fn set_password(pair: &Pair, password: &str) {
    for cluster in [&pair.source, &pair.target] {
        ORACLE.at(cluster.bootstrap_text()).set_password("twin", password).expect("the password is set");
    }
}

/// The YAML of how a cluster is logged in to.
pub(super) fn login(mechanism: &str) -> String {
    format!(
        "tls: {{ ca_file: ca.pem }}, sasl: {{ mechanism: {mechanism}, username: twin, password: '${{file:password}}' }}"
    )
}

/// Given clusters that take PLAIN and SCRAM over TLS, when a link logs in by each, then it copies; when something is
/// wrong, then one line says on which side, what, and what to do, without the password.
#[test]
fn a_link_logs_in_by_each_mechanism_and_says_what_is_wrong() {
    let authority = Authority::named("brokers");
    let pair = Pair::start(asking(&authority), asking(&authority));
    set_password(&pair, PASSWORD);
    let secured = [pair.source.secured_bootstrap(), pair.target.secured_bootstrap()];
    let link = |name: &str, sides: [(&[String], &str); 2], password: &str| {
        let clusters = sides.map(|(bootstrap, keys)| cluster(bootstrap, keys));
        let link = Link::by(&pair, &clusters, name, "{ include: ['logins-.*'] }", &[]);
        link.write("ca.pem", &authority.0.pem());
        link.write("password", password);
        link
    };
    let by = |name: &str, mechanism: &str| {
        let keys = login(mechanism);
        link(name, [(&secured[0], &keys), (&secured[1], &keys)], PASSWORD)
    };

    for (number, mechanism) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().enumerate() {
        let link = by("logins", mechanism);
        let topic = format!("logins-{number}");
        link.source().create_topic(&topic, 2, &[]).expect("the topic is created");
        link.source().produce(&Produce::new(&topic, 200)).expect("produced");
        link.catch_up();
        assert_eq!(link.assert_twins(&topic, &topic), 200, "{mechanism}");
    }

    // Nobody who looks sees the password, however much is logged.
    let seen = by("logins", "PLAIN");
    seen.configure("http: { listen: '127.0.0.1:0', partition_metrics: true }\n");
    let run = seen.start("seen", &["run"], &[("TWINLOG_LOG", "trace")]);
    seen.await_said("seen", "Copying.", LONG);
    let shown = ["/", "/metrics", "/api/v1/status", "/readyz", "/nowhere"]
        .map(|path| eventually(path, LONG, || get(&run, path)).1)
        .concat();
    let said = drain(run);
    let other = ["--help", "check", "status", "verify", "lanes"].map(|verb| seen.finish(verb, &[verb]));
    let other = other.map(|ended| ended.stdout + &ended.stderr).concat();
    let all = [shown, said.stdout, said.stderr, other].concat();
    for part in ["twinlog_build_info", "twinlog.status/1", " DEBUG ", "Usage: twinlog"] {
        assert!(all.contains(part), "{part} is not in {all}");
    }
    let encoded = STANDARD.encode(PASSWORD);
    assert!(!all.contains(PASSWORD) && !all.contains(&encoded), "the password was shown");

    let (good, tls_only) = (login("SCRAM-SHA-512"), "tls: { ca_file: ca.pem }".to_owned());
    let plain = pair.source.bootstrap();
    let without_tls = good.replace("tls: { ca_file: ca.pem }, ", "");
    for (name, source, keys, password, words) in [
        ("wrong", &secured[0], &good, "pl4nted-other", ["SASL_AUTHENTICATION_FAILED", "are the user, the password"]),
        ("silent", &secured[0], &tls_only, PASSWORD, ["closed the connection", "does this port want SASL?"]),
        ("bare", &secured[0], &without_tls, PASSWORD, ["an answer of", "does this port want TLS?"]),
        ("useless", &plain, &without_tls, PASSWORD, ["ILLEGAL_SASL_STATE", "does this port want SASL?"]),
    ] {
        let link = link(name, [(source, keys), (&secured[1], &good)], password);
        let ended = link.finish("check", &["check"]);
        assert_eq!(ended.code, 1, "{name}: {ended:#?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let line = said.lines().find(|line| line.contains("source") && words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{name}: {ended:#?}");
        assert!(!said.contains("pl4nted"), "{name}: {said}");
    }
}

/// Given a link in sessions of a few seconds, then it renews them on its connections and none is lost; when the
/// password is changed while it runs, then it says so, and goes on when the password is right again.
#[test]
fn sessions_are_renewed_and_a_password_may_change_while_a_link_runs() {
    let authority = Authority::named("brokers");
    let pair = Pair::start(asking(&authority), asking(&authority));
    set_password(&pair, PASSWORD);
    let keys = login("SCRAM-SHA-512");
    let clusters = [cluster(&pair.source.secured_bootstrap(), &keys), cluster(&pair.target.secured_bootstrap(), &keys)];
    let link = Link::by(&pair, &clusters, "sessions", "{ include: [sessions] }", &[]);
    link.write("ca.pem", &authority.0.pem());
    link.write("password", PASSWORD);
    link.source().create_topic("sessions", 2, &[]).expect("the topic is created");
    let mut run = link.start("sessions", &["run"], &[("TWINLOG_LOG", "info,twinlog_client=debug")]);
    link.source().produce_start("load", &Produce::endless("sessions").rate(500)).expect("a load");
    let renewals = |side: &str| {
        let renewed = format!("The session was renewed. peer={side} broker 1");
        run.stderr().matches(&renewed).count()
    };
    eventually("six renewals on each side", LONG, || (renewals("source").min(renewals("target")) >= 6).then_some(()));
    link.await_twins("sessions", "sessions");
    let said = run.stderr();
    let lost: Vec<_> = said.lines().filter(|line| line.contains("Connection closed. peer=")).collect();
    assert!(lost.iter().all(|line| !line.contains("broker 1")), "{lost:#?}");

    set_password(&pair, "pl4nted-other");
    for side in ["source", "target"] {
        link.await_said("sessions", &format!("A broker cannot be reached; trying again. side={side}"), LONG);
    }
    link.await_said("sessions", "SASL_AUTHENTICATION_FAILED", LONG);
    set_password(&pair, PASSWORD);
    for side in ["source", "target"] {
        link.await_said("sessions", &format!("The broker can be reached again. side={side}"), LONG);
    }
    link.await_twins("sessions", "sessions");
    link.source().produce_stop("load").expect("the load ends");
    link.await_twins("sessions", "sessions");
    assert_runs(&mut run);
    let said = drain(run);
    assert!(!said.stderr.contains("pl4nted"), "{said:#?}");
    link.assert_twins("sessions", "sessions");
}
