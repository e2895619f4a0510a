//! How a cluster is reached, and how each side knows the other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use twinlog_core::config::security::{
    ClientCertificate, Login, MskIamConfig, OAuthConfig, PasswordMechanism, SaslConfig, Secret, TlsConfig,
    TokenEndpoint, TokenSource,
};
use twinlog_core::config::{ClusterConfig, HostPort};

use super::{Checker, not_empty, one_of};
use crate::raw::{RawCluster, RawSasl, RawTls, RawTokenEndpoint};
use crate::reference::Pem;
use crate::secrets;
use crate::yaml::{ByName, Text};

pub(crate) const CLIENT_ID_DEFAULT: &str = "twinlog";

/// What a mechanism needs.
#[derive(Clone, Copy)]
enum Mechanism {
    Password(PasswordMechanism),
    Token,
    AccessKey,
}

const MECHANISMS: [(&str, Mechanism); 5] = [
    by_password(PasswordMechanism::Plain),
    by_password(PasswordMechanism::ScramSha256),
    by_password(PasswordMechanism::ScramSha512),
    (SaslConfig::OAUTHBEARER, Mechanism::Token),
    (SaslConfig::AWS_MSK_IAM, Mechanism::AccessKey),
];

/// All mechanisms.
pub(crate) fn mechanism_names() -> Vec<&'static str> {
    MECHANISMS.iter().map(|(name, _)| *name).collect()
}

const fn by_password(mechanism: PasswordMechanism) -> (&'static str, Mechanism) {
    (mechanism.name(), Mechanism::Password(mechanism))
}

/// `auth` is the token's own name in the message (RFC 7628).
const EXTENSION_TAKEN: &str = "auth";

impl Checker<'_> {
    pub(super) fn cluster(&mut self, path: &str, raw: &RawCluster) -> Option<ClusterConfig> {
        let bootstrap_path = format!("{path}.bootstrap");
        let bootstrap = match raw.bootstrap.items() {
            [] => self.refuse(raw.bootstrap.place(), &bootstrap_path, "at least one host:port is needed", None),
            _ => self.list::<HostPort>(&bootstrap_path, &raw.bootstrap),
        };
        let tls = match &raw.tls {
            Some(raw) => self.tls(&format!("{path}.tls"), raw).map(Some),
            None => Some(None),
        };
        let sasl = match &raw.sasl {
            Some(sasl) => self.sasl(&format!("{path}.sasl"), sasl, raw.tls.is_some()).map(Some),
            None => Some(None),
        };
        let client_id =
            self.parse_or(&format!("{path}.client_id"), raw.client_id.as_ref(), CLIENT_ID_DEFAULT.into(), not_empty);
        Some(ClusterConfig { bootstrap: bootstrap?, tls: tls?, sasl: sasl?, client_id: client_id? })
    }

    fn tls(&mut self, path: &str, raw: &RawTls) -> Option<TlsConfig> {
        let ca_file = self.pem(&format!("{path}.ca_file"), raw.ca_file.as_ref(), Pem::Certificates);
        let server_name = self
            .parse_or(&format!("{path}.server_name"), raw.server_name.as_ref(), None, |text| not_empty(text).map(Some));
        let client = self.client_certificate(path, raw);
        Some(TlsConfig { ca_file: ca_file?, server_name: server_name?, client: client? })
    }

    /// One without the other is of no use.
    fn client_certificate(&mut self, path: &str, raw: &RawTls) -> Option<Option<ClientCertificate>> {
        let cert_file = self.pem(&format!("{path}.cert_file"), raw.cert_file.as_ref(), Pem::Certificates);
        let key_file = self.pem(&format!("{path}.key_file"), raw.key_file.as_ref(), Pem::PrivateKey);
        let lonely = match (&raw.cert_file, &raw.key_file) {
            (Some(cert), None) => Some((cert, "cert_file", "the certificate's private key is missing: key_file")),
            (None, Some(key)) => Some((key, "key_file", "the private key's certificate is missing: cert_file")),
            _ => None,
        };
        if let Some((text, name, words)) = lonely {
            return self.refuse(text.place(), &format!("{path}.{name}"), words, None);
        }
        Some(cert_file?.zip(key_file?).map(|(cert_file, key_file)| ClientCertificate { cert_file, key_file }))
    }

    fn sasl(&mut self, path: &str, raw: &RawSasl, has_tls: bool) -> Option<SaslConfig> {
        let mechanism = self.parse(&format!("{path}.mechanism"), &raw.mechanism, |text| one_of(text, MECHANISMS))?;
        let RawSasl { username, password, token_file, extensions, .. } = raw;
        let of_passwords = [("username", username.as_ref()), ("password", password.as_ref())];
        let endpoint = raw.token_endpoint.as_ref().map(|endpoint| &endpoint.url);
        let extension = extensions.as_ref().and_then(|map| map.entries().first()).map(|(name, _)| name);
        let of_tokens = [("token_file", token_file.as_ref()), ("token_endpoint", endpoint), ("extensions", extension)];
        let of_access_keys = [
            ("region", raw.region.as_ref()),
            ("access_key_id", raw.access_key_id.as_ref()),
            ("secret_access_key", raw.secret_access_key.as_ref()),
            ("session_token", raw.session_token.as_ref()),
        ];
        let name = raw.mechanism.as_str();
        let foreign: [&[_]; 2] = match mechanism {
            Mechanism::Password(_) => [&of_tokens, &of_access_keys],
            Mechanism::Token => [&of_passwords, &of_access_keys],
            Mechanism::AccessKey => [&of_passwords, &of_tokens],
        };
        for (key, text) in foreign.into_iter().flatten() {
            if let Some(text) = text {
                return self.refuse(text.place(), &format!("{path}.{key}"), format!("{name} has no use for it"), None);
            }
        }
        match mechanism {
            Mechanism::Password(mechanism) => Some(SaslConfig::Password(mechanism, self.login(path, raw)?)),
            Mechanism::Token => self.oauth(path, raw).map(SaslConfig::OAuthBearer),
            Mechanism::AccessKey => self.access_key(path, raw, has_tls).map(SaslConfig::MskIam),
        }
    }

    fn login(&mut self, path: &str, raw: &RawSasl) -> Option<Login> {
        let username = self.needed(path, raw, "username", raw.username.as_ref());
        let username = username.and_then(|text| self.parse(&format!("{path}.username"), text, without_zeros));
        let password = self.needed(path, raw, "password", raw.password.as_ref());
        let password = password.and_then(|text| self.secret(&format!("{path}.password"), text));
        Some(Login { username: username?, password: password? })
    }

    /// A key that only some mechanisms need.
    fn needed<'a>(&mut self, path: &str, raw: &RawSasl, key: &str, text: Option<&'a Text>) -> Option<&'a Text> {
        text.or_else(|| {
            let words = format!("the key `{key}` is missing: the mechanism needs it");
            self.refuse(raw.mechanism.place(), path, words, None)
        })
    }

    fn access_key(&mut self, path: &str, raw: &RawSasl, has_tls: bool) -> Option<MskIamConfig> {
        let (place, mechanism_path) = (raw.mechanism.place(), format!("{path}.mechanism"));
        let usable = if !self.has_msk_iam {
            self.refuse(place, &mechanism_path, SaslConfig::NO_AWS_MSK_IAM, None)
        } else if !has_tls {
            let words = "AWS_MSK_IAM needs TLS: brokers have it on no other port";
            self.refuse(place, &mechanism_path, words, Some("write `tls: {}` beside `sasl`".into()))
        } else {
            Some(())
        };
        let region = self.needed(path, raw, "region", raw.region.as_ref());
        let region = region.and_then(|text| self.parse(&format!("{path}.region"), text, region_name));
        let id = self.needed(path, raw, "access_key_id", raw.access_key_id.as_ref());
        let id = id.and_then(|text| self.parse(&format!("{path}.access_key_id"), text, access_key_id));
        let secret = self.needed(path, raw, "secret_access_key", raw.secret_access_key.as_ref());
        let secret = secret.and_then(|text| self.secret(&format!("{path}.secret_access_key"), text));
        let session_token = match &raw.session_token {
            Some(text) => self.secret(&format!("{path}.session_token"), text).map(Some),
            None => Some(None),
        };
        usable?;
        Some(MskIamConfig {
            region: region?,
            access_key_id: id?,
            secret_access_key: secret?,
            session_token: session_token?,
        })
    }

    fn oauth(&mut self, path: &str, raw: &RawSasl) -> Option<OAuthConfig> {
        let resolver = self.resolver;
        let token = match (&raw.token_file, &raw.token_endpoint) {
            (Some(file), None) => {
                let readable = |text: &str| resolver.readable(text);
                self.parse(&format!("{path}.token_file"), file, readable).map(TokenSource::File)
            }
            (None, Some(raw)) => self.token_endpoint(&format!("{path}.token_endpoint"), raw).map(TokenSource::Endpoint),
            (file, _) => {
                let place = file.as_ref().unwrap_or(&raw.mechanism).place();
                self.refuse(place, path, "exactly one of the keys `token_file` and `token_endpoint` is needed", None)
            }
        };
        let mut extensions = BTreeMap::new();
        let mut whole = true;
        for (name, value) in raw.extensions.iter().flat_map(ByName::entries) {
            let path = format!("{path}.extensions");
            let named = self.parse(&path, name, extension_name);
            match (named, self.parse(&path, value, extension_value)) {
                (Some(name), Some(value)) => {
                    extensions.insert(name, value);
                }
                _ => whole = false,
            }
        }
        let token = token?;
        whole.then_some(OAuthConfig { token, extensions })
    }

    fn token_endpoint(&mut self, path: &str, raw: &RawTokenEndpoint) -> Option<TokenEndpoint> {
        let key = |name: &str| format!("{path}.{name}");
        let url = self.parse(&key("url"), &raw.url, token_url);
        let client_id = self.parse(&key("client_id"), &raw.client_id, not_empty);
        let client_secret = self.secret(&key("client_secret"), &raw.client_secret);
        let scope = self.parse_or(&key("scope"), raw.scope.as_ref(), None, |text| not_empty(text).map(Some));
        let ca_file = self.pem(&key("ca_file"), raw.ca_file.as_ref(), Pem::Certificates);
        Some(TokenEndpoint {
            url: url?,
            client_id: client_id?,
            client_secret: client_secret?,
            scope: scope?,
            ca_file: ca_file?,
        })
    }

    /// An optional file that is read later.
    fn pem(&mut self, path: &str, text: Option<&Text>, pem: Pem) -> Option<Option<String>> {
        let resolver = self.resolver;
        self.parse_or(path, text, None, |text| resolver.pem(text, pem).map(Some))
    }

    /// A value that does not stand in the file, and that no error shows.
    fn secret(&mut self, path: &str, text: &Text) -> Option<Secret> {
        if !secrets::is_reference(text.as_str()) {
            let words = "a secret does not stand in this file";
            return self.refuse(text.place(), path, words, Some("write ${env:NAME} or ${file:PATH}".into()));
        }
        let value = self.text(path, text)?;
        match without_zeros(&value) {
            Ok(value) => Some(Secret::new(value)),
            Err(words) => self.refuse(text.place(), path, words, None),
        }
    }
}

/// SASL puts zero bytes between its parts.
fn without_zeros(text: &str) -> Result<String, String> {
    if text.contains('\0') { Err("must not have zero bytes".into()) } else { not_empty(text) }
}

/// Names are letters, and values printable ones (RFC 7628, section 3.1, and Kafka's own look at them).
fn extension_name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic()) && text != EXTENSION_TAKEN;
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be the name of an extension: letters only")) }
}

fn extension_value(text: &str) -> Result<String, String> {
    let fits = |c: char| matches!(c, ' '..='~' | '\t' | '\r' | '\n');
    if text.chars().all(fits) { not_empty(text) } else { Err("must be of printable ASCII characters".into()) }
}

/// It is a part of the signature, between slashes, and so is the access key's name.
fn region_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.chars().all(fits) { not_empty(text) } else { Err(format!("`{text}` is no region: write eu-central-1")) }
}

/// A wrong one is not shown: it may be the secret by mistake.
fn access_key_id(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.chars().all(fits) { not_empty(text) } else { Err("must be of letters, digits and underscores".into()) }
}

/// The secret is sent to it, so without TLS it must be on this machine.
fn token_url(text: &str) -> Result<String, String> {
    let words = || format!("`{text}` is not `https://host/path` (or `http://` and an address of this machine)");
    let (scheme, rest) = text.split_once("://").ok_or_else(words)?;
    let host_and_port = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host_and_port.contains('@') {
        return Err("a name or a secret does not stand in the address: use `client_id` and `client_secret`".into());
    }
    let host = match host_and_port.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host_and_port.split(':').next().unwrap_or_default(),
    };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let fits = !host.is_empty() && (scheme == "https" || (scheme == "http" && is_here));
    if fits { Ok(text.to_owned()) } else { Err(words()) }
}
