//! Mistakes of meaning: each value is a legal one for its key, and the file as a whole makes no sense. Each is found at
//! its line and column.

use std::env::VarError;
use std::io;
use std::path::Path;

use crate::Surroundings;
use crate::tests::PEM;

const FILE: &str = r"clusters:
  east:
    bootstrap: [east-1:9092, east-2:9092]
    tls: { cert_file: own.pem, key_file: own.key }
  west:
    bootstrap: [west-1:9092]
    sasl:
      mechanism: SCRAM-SHA-512
      username: u
      password: ${env:SECRET}
  north:
    bootstrap: [north-1:9092]
    tls: {}
    sasl:
      mechanism: OAUTHBEARER
      token_endpoint: { url: https://idp/t, client_id: c, client_secret: '${env:SECRET}' }
links:
  dr:
    source: east
    target: west
    topics: { include: ['orders.*'], exclude: [orders-old], rename: '{topic}' }
    budget: 64MiB
    fetch: { max_bytes: 8MiB, partition_max_bytes: 4MiB }
    objectives: [{ topics: [orders-fast], rpo: 10s }, { rpo: 1h }]
http: { listen: '127.0.0.1:9464' }
";

/// What is written instead of what, and the place and the words of the error.
const MISTAKES: [(&str, &str, &str); 24] = [
    ("source: east", "source: west", "20:13: links.dr.target: source and target are the same cluster `west`"),
    ("source: east", "source: eats", "19:13: links.dr.source: there is no cluster `eats`"),
    ("target: west", "target: south", "20:13: links.dr.target: there is no cluster `south`"),
    ("west-1:9092", "east-2:9092", "20:13: links.dr.target: clusters `east` and `west` both begin at east-2:9092"),
    ("['orders.*']", "[]", "21:24: links.dr.topics.include: without a pattern the link mirrors nothing"),
    ("['orders.*']", "['orders.*', 'a)(b']", "21:37: links.dr.topics.include: `a)(b` is no regular expression"),
    ("[orders-old]", "['*']", "21:48: links.dr.topics.exclude: `*` is no regular expression"),
    ("[orders-fast]", "['(']", "24:29: links.dr.objectives[0].topics: `(` is no regular expression"),
    ("'{topic}'", "'{topc}'", "21:69: links.dr.topics.rename: "),
    ("'{topic}'", "'{topic'", "21:69: links.dr.topics.rename: "),
    ("[north-1:9092]", "[]", "12:16: clusters.north.bootstrap: at least one host:port is needed"),
    ("max_bytes: 8MiB", "max_bytes: 65MiB", "23:25: links.dr.fetch.max_bytes: one answer would not fit"),
    ("budget: 64MiB", "budget: 8000KiB", "22:13: links.dr.budget: `8000KiB` is not from 8MiB"),
    (": 4MiB", ": 9MiB", "23:52: links.dr.fetch.partition_max_bytes: more than the 8MiB of a whole answer"),
    (", key_file: own.key", "", "4:23: clusters.east.tls.cert_file: the certificate's private key is missing"),
    ("cert_file: own.pem, ", "", "4:22: clusters.east.tls.key_file: the private key's certificate is missing"),
    ("own.pem", "gone.pem", "4:23: clusters.east.tls.cert_file: cannot read gone.pem"),
    ("      username: u\n", "", "8:18: clusters.west.sasl: the key `username` is missing"),
    ("${env:SECRET}\n", "hunter2\n", "10:17: clusters.west.sasl.password: a secret does not stand in this file"),
    ("${env:SECRET}\n", "${env:NOPE}\n", "10:17: clusters.west.sasl.password: the environment variable NOPE"),
    ("SCRAM-SHA-512", "OAUTHBEARER", "9:17: clusters.west.sasl.username: OAUTHBEARER has no use for it"),
    ("OAUTHBEARER", "PLAIN", "16:30: clusters.north.sasl.token_endpoint: PLAIN has no use for it"),
    ("https://idp/t", "http://idp/t", "16:30: clusters.north.sasl.token_endpoint.url: `http://idp/t` is not"),
    ("127.0.0.1:9464", "localhost:9464", "25:17: http.listen: `localhost:9464` is no address with a port"),
];

fn read(text: &str) -> Result<(), String> {
    let variable = |name: &str| if name == "SECRET" { Ok("s3cret".into()) } else { Err(VarError::NotPresent) };
    let open = |path: &Path| match path.to_str() {
        Some("own.pem" | "own.key") => Ok(Box::new(PEM.as_bytes()) as Box<dyn io::Read>),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let surroundings = Surroundings { variable: &variable, open: &open };
    crate::read(Path::new("twinlog.yaml"), text, &surroundings).map(drop).map_err(|failures| failures.to_string())
}

#[test]
fn a_mistake_of_meaning_is_found_at_its_place() {
    assert_eq!(read(FILE), Ok(()));
    let mut wrong = Vec::new();
    for (from, to, wanted) in MISTAKES {
        assert!(FILE.contains(from), "{from}");
        let said = match read(&FILE.replacen(from, to, 1)) {
            Ok(()) => "accepted".to_owned(),
            Err(said) => said,
        };
        let first = said.lines().next().unwrap_or_default();
        if !first.starts_with(&format!("error: twinlog.yaml:{wanted}")) {
            wrong.push(format!("{from} -> {to}:\n  wanted {wanted}\n  found  {first}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
