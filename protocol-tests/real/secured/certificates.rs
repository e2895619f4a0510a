//! TLS: certificates of brokers and of clients.

use twinlog_testcontainers::{Broker, ClusterSpec, Produce};

use super::{Authority, cluster};
use crate::pair::{LONG, Link, Pair, assert_runs, drain};

/// A cluster that asks clients for a certificate from here, too.
fn asking(authority: &Authority, host: &str) -> ClusterSpec {
    let mut properties = authority.listener(host);
    properties.push(("ssl.client.auth".into(), "required".into()));
    ClusterSpec::new().secured("SSL", properties)
}

/// The PEM files of a link, named with this before: the authority that it trusts, its certificate, and its key.
fn write_files(link: &Link<'_>, before: &str, trusted: &Authority, signer: &Authority) {
    let (certificate, key) = signer.signs("twinlog");
    for (name, text) in [("ca.pem", trusted.0.pem()), ("cert.pem", certificate), ("key.pem", key)] {
        link.write(&format!("{before}{name}"), &text);
    }
}

const OWN: &str = "ca_file: ca.pem, cert_file: cert.pem, key_file: key.pem";

/// Given clusters that ask for client certificates, when a link has one, then it copies; when it has none or a
/// stranger's, trusts somebody else, or finds another name, then one line says on which side and what to do.
#[test]
fn a_link_shows_its_certificate_to_brokers_that_ask_for_one() {
    let (authority, stranger) = (Authority::named("brokers"), Authority::named("stranger"));
    // The source has the name of the host that its clients are told, the target another one.
    let pair = Pair::start(asking(&authority, "localhost"), asking(&authority, "kafka.test"));
    let (source, target) = (pair.source.secured_bootstrap(), pair.target.secured_bootstrap());
    let named = format!("{OWN}, server_name: kafka.test");
    let link = |name: &str, source_tls: &str, target_tls: &str| {
        let tls = |keys: &str| format!("tls: {{ {keys} }}");
        let clusters = [cluster(&source, &tls(source_tls)), cluster(&target, &tls(target_tls))];
        Link::by(&pair, &clusters, name, "{ include: [secured] }", &[])
    };

    let good = link("secured", OWN, &named);
    write_files(&good, "", &authority, &authority);
    good.source().create_topic("secured", 2, &[]).expect("the topic is created");
    good.source().produce(&Produce::new("secured", 200)).expect("produced");
    good.catch_up();
    assert_eq!(good.assert_twins("secured", "secured"), 200);

    for (name, signer, trusted, source_tls, target_tls, words) in [
        (
            "none",
            &authority,
            &authority,
            "ca_file: ca.pem",
            &named[..],
            ["source", "the broker wants a client certificate"],
        ),
        ("stranger", &stranger, &authority, OWN, &named[..], ["source", "the broker wants a client certificate"]),
        ("distrust", &authority, &stranger, OWN, &named[..], ["source", "an authority that is not trusted"]),
        ("misnamed", &authority, &authority, OWN, OWN, ["target", "set the server name"]),
    ] {
        let link = link(name, source_tls, target_tls);
        write_files(&link, "", trusted, signer);
        let ended = link.finish("check", &["check"]);
        assert_ne!(ended.code, 0, "{name}: {ended:#?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let line = said.lines().find(|line| words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{name}: {ended:#?}");
    }
}

/// Gives a broker other properties of its secured listener, which it has after a restart.
fn exchange(broker: &Broker, properties: Vec<(String, String)>) {
    let path = broker.config_path();
    let mut text = std::fs::read_to_string(path).expect("the broker's properties");
    for (name, value) in properties {
        let key = format!("listener.name.secured.{name}=");
        let line = text.lines().find(|line| line.starts_with(&key)).expect("a property that is there").to_owned();
        text = text.replace(&line, &format!("{key}{}", value.replace('\n', "\\n")));
    }
    std::fs::write(path, text).expect("the broker's properties are written");
    broker.restart().expect("the broker is there again");
}

/// Given a link that runs, when the source's certificate has expired, then one line says so; when there is a new one,
/// from a new authority that wants new certificates of clients, and the link's files are exchanged, then it goes on.
#[test]
fn certificates_are_exchanged_while_a_link_runs() {
    let (former, later) = (Authority::named("former"), Authority::named("later"));
    let pair = Pair::start(asking(&former, "localhost"), asking(&former, "localhost"));
    let clusters = [&pair.source, &pair.target].map(|side| {
        let files = if std::ptr::eq(side, &pair.source) { OWN.to_owned() } else { OWN.replace(": ", ": target-") };
        cluster(&side.secured_bootstrap(), &format!("tls: {{ {files} }}"))
    });
    let link = Link::by(&pair, &clusters, "exchanged", "{ include: [exchanged] }", &[]);
    write_files(&link, "", &former, &former);
    write_files(&link, "target-", &former, &former);
    link.source().create_topic("exchanged", 2, &[]).expect("the topic is created");
    link.source().produce(&Produce::new("exchanged", 200)).expect("produced");
    let mut run = link.run("exchanged");
    link.await_twins("exchanged", "exchanged");

    let [broker] = pair.source.brokers() else { panic!("more than one broker") };
    exchange(broker, former.listener_with(former.signs_until("localhost", 2000)));
    link.await_said("exchanged", "A broker cannot be reached; trying again. side=source", LONG);
    link.await_said("exchanged", "the broker's certificate has expired; renew it", LONG);
    exchange(broker, later.listener("localhost"));
    link.await_said("exchanged", "an authority that is not trusted", LONG);
    write_files(&link, "", &later, &later);
    link.await_said("exchanged", "The broker can be reached again. side=source", LONG);
    link.source().produce(&Produce::new("exchanged", 200).first(200)).expect("produced");
    link.await_twins("exchanged", "exchanged");
    assert_runs(&mut run);
    let said = drain(run).stderr;
    let lines: Vec<_> = said.lines().filter(|line| line.contains("A broker cannot be reached")).collect();
    // Down, the first handshakes of a broker that starts, expired; down again, an unknown authority.
    assert!(lines.len() <= 8, "more than once for each reason: {lines:#?}");
    assert_eq!(link.assert_twins("exchanged", "exchanged"), 400);
}
