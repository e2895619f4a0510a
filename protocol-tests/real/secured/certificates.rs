//! TLS: certificates of brokers and of clients.

use twinlog_testcontainers::{ClusterSpec, Produce};

use super::{Authority, cluster};
use crate::pair::{Link, Pair};

/// A cluster that asks clients for a certificate from here, too.
fn asking(authority: &Authority, host: &str) -> ClusterSpec {
    let mut properties = authority.listener(host);
    properties.push(("ssl.client.auth".into(), "required".into()));
    ClusterSpec::new().secured("SSL", properties)
}

/// The PEM files of a link: the authority that it trusts, its certificate, and its key.
fn write_files(link: &Link<'_>, trusted: &Authority, signer: &Authority) {
    let (certificate, key) = signer.signs("twinlog");
    for (name, text) in [("ca.pem", trusted.0.pem()), ("cert.pem", certificate), ("key.pem", key)] {
        link.write(name, &text);
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
    write_files(&good, &authority, &authority);
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
        write_files(&link, trusted, signer);
        let ended = link.finish("check", &["check"]);
        assert_ne!(ended.code, 0, "{name}: {ended:#?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let line = said.lines().find(|line| words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{name}: {ended:#?}");
    }
}
