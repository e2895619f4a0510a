//! How brokers are trusted, and how they know us.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;

/// TLS towards a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the authorities to trust. Default: the system's, or Mozilla's where the system has none (an empty
    /// container).
    pub ca_file: Option<String>,
    /// Name that the brokers' certificates must carry. Default: the host that is dialled.
    pub server_name: Option<String>,
    /// The certificate that is shown to brokers that ask for one. Default: none.
    pub client: Option<ClientCertificate>,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// PEM file of the certificate and those between it and its authority, in this order.
    pub cert_file: String,
    /// PEM file of its private key, without a passphrase: PKCS #8, PKCS #1 or SEC 1.
    pub key_file: String,
}

/// Who we are to the brokers, and how that is shown (SASL).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslConfig {
    /// By a name and a password.
    Password(PasswordMechanism, Login),
    /// `OAUTHBEARER` (RFC 7628, KIP-255): by a token that somebody else gave out. It is sent as it is, so only with TLS
    /// is it kept from others.
    OAuthBearer(OAuthConfig),
    /// `AWS_MSK_IAM`: by a request to AWS's IAM that is signed with an access key. Brokers of Amazon MSK have it, with
    /// TLS only.
    MskIam(MskIamConfig),
}

/// The mechanisms that need a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// `PLAIN` (RFC 4616): the password is sent as it is, so only with TLS is it kept from others.
    Plain,
    /// `SCRAM-SHA-256` (RFC 7677): the password is never sent.
    ScramSha256,
    /// `SCRAM-SHA-512`: the same with another hash.
    ScramSha512,
}

impl PasswordMechanism {
    /// The mechanism as SASL and Kafka name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl SaslConfig {
    /// The name of the mechanism that needs a token.
    pub const OAUTHBEARER: &'static str = "OAUTHBEARER";
    /// The name of the mechanism that needs an access key of AWS.
    pub const AWS_MSK_IAM: &'static str = "AWS_MSK_IAM";
    /// What is said of it where it was left out, since its signatures need crates that others do not.
    pub const NO_AWS_MSK_IAM: &'static str = "this build has no AWS_MSK_IAM: build it with `--features msk-iam`";

    /// The mechanism as SASL and Kafka name it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Password(mechanism, _) => mechanism.name(),
            Self::OAuthBearer(_) => Self::OAUTHBEARER,
            Self::MskIam(_) => Self::AWS_MSK_IAM,
        }
    }
}

/// A user and the user's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub username: String,
    /// The password, neither empty nor with a zero byte.
    pub password: Secret,
}

/// A token, and what is said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthConfig {
    /// Where the token is from.
    pub token: TokenSource,
    /// Names and values that some services want to see, as `logicalCluster` (KIP-342). Default: none.
    pub extensions: BTreeMap<String, String>,
}

/// Who gives out tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file with a token that somebody else keeps fresh; it is read for each login.
    File(String),
    /// A token endpoint.
    Endpoint(TokenEndpoint),
}

/// A token endpoint that is asked by client credentials (RFC 6749, section 4.4; KIP-768).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// Its address: `https://…`, or `http://…` on this machine.
    pub url: String,
    /// Who asks.
    pub client_id: String,
    /// What only the one who asks and the endpoint know.
    pub client_secret: Secret,
    /// What the token is to be good for. Default: what the endpoint thinks right.
    pub scope: Option<String>,
    /// PEM file of the authorities that its certificate may be from. Default: as with [`TlsConfig::ca_file`].
    pub ca_file: Option<String>,
}

/// An access key of AWS, and where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MskIamConfig {
    /// The cluster's region, as `eu-central-1`.
    pub region: String,
    /// The access key's name: letters, digits and underscores.
    pub access_key_id: String,
    /// What only the one who signs and AWS know.
    pub secret_access_key: Secret,
    /// Of keys that are good for some hours only. Default: none.
    pub session_token: Option<Secret>,
}

/// A text that is never shown: not in a log, an error, or what a derived `Debug` prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
