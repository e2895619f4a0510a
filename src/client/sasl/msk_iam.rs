//! AWS_MSK_IAM: one message with a request to AWS's IAM, `kafka-cluster:Connect`, that is signed as a presigned URL is
//! (Signature Version 4). The broker has AWS look at it. As in AWS's own aws-msk-iam-auth; tested against the
//! signatures that AWS published and a stand-in for a broker's answer, never against a live MSK cluster.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::subscriber::{NoSubscriber, with_default};
use twinlog_core::config::security::MskIamConfig;

use super::Dialogue;
use crate::error::Cause;

/// Of the message and of the broker's answer.
const VERSION: &str = "2020_10_22";
/// Brokers take no request that is good for longer.
const EXPIRES_IN: Duration = Duration::from_secs(15 * 60);
const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
/// The colon is encoded by whoever signs.
const PATH_AND_QUERY: &str = "/?Action=kafka-cluster:Connect";
const USER_AGENT: &str = concat!("twinlog/", env!("CARGO_PKG_VERSION"));

/// Signs for connections to one cluster.
#[derive(Debug)]
pub(super) struct Signer {
    key: MskIamConfig,
    clock: fn() -> SystemTime,
}

impl Signer {
    pub(super) fn new(key: &MskIamConfig) -> Result<Self, Cause> {
        Ok(Self { key: key.clone(), clock: SystemTime::now })
    }

    /// Our side of the mechanism towards the broker of this name, from now on for as long as a signature is good.
    pub(super) fn dialogue(&self, host: &str) -> Result<Box<dyn Dialogue>, Cause> {
        let message = payload(&self.key, host, (self.clock)())?;
        Ok(Box::new(Signed { first: Some(message), host: host.to_owned() }))
    }
}

struct Signed {
    first: Option<Vec<u8>>,
    host: String,
}

/// How a broker says that it lets us in.
#[derive(Deserialize)]
struct Answer {
    version: String,
    /// What AWS asks for when something is wrong.
    #[serde(rename = "request-id")]
    request_id: String,
}

impl Dialogue for Signed {
    fn next(&mut self, received: Option<&[u8]>) -> Result<Option<Vec<u8>>, Cause> {
        let Some(bytes) = received else { return Ok(self.first.take()) };
        let unknown = |why: &dyn std::fmt::Display| Cause::Sasl(format!("the broker's answer is not known: {why}"));
        let answer: Answer = serde_json::from_slice(bytes).map_err(|error| unknown(&error))?;
        if answer.version != VERSION {
            return Err(unknown(&format_args!("its version is `{}`, not {VERSION}", answer.version)));
        }
        tracing::debug!(
            host = self.host,
            request_id = answer.request_id,
            "The broker has had the signature looked at."
        );
        Ok(None)
    }
}

/// The message: the request and its signature as one map.
fn payload(key: &MskIamConfig, host: &str, now: SystemTime) -> Result<Vec<u8>, Cause> {
    let request = Request { service: SERVICE, host, path_and_query: PATH_AND_QUERY, expires_in: EXPIRES_IN };
    let mut map = Map::new();
    for (name, value) in [("version", VERSION), ("host", host), ("user-agent", USER_AGENT), ("action", ACTION)] {
        map.insert(name.to_owned(), value.into());
    }
    for (name, value) in presigned(&request, key, now)? {
        map.insert(name.to_ascii_lowercase(), value.into());
    }
    Ok(Value::Object(map).to_string().into_bytes())
}

/// A request without a body that is to be signed.
struct Request<'a> {
    service: &'a str,
    host: &'a str,
    path_and_query: &'a str,
    expires_in: Duration,
}

/// What a signature adds to the request's query: the signature itself, and all that it is made of.
fn presigned(
    request: &Request<'_>,
    key: &MskIamConfig,
    now: SystemTime,
) -> Result<Vec<(&'static str, Cow<'static, str>)>, Cause> {
    let failed = |error: &dyn std::fmt::Display| Cause::Sasl(format!("cannot sign for {}: {error}", request.host));
    let token = key.session_token.as_ref().map(|token| token.reveal().to_owned());
    let secret = key.secret_access_key.reveal();
    let identity = Credentials::new(&key.access_key_id, secret, token, None, "configuration").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(request.expires_in);
    let params = SigningParams::builder()
        .identity(&identity)
        .region(&key.region)
        .name(request.service)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let headers = [("host", request.host)].into_iter();
    let signable = SignableRequest::new("GET", request.path_and_query, headers, SignableBody::empty())
        .map_err(|error| failed(&error))?;
    // The crate writes the whole query into its log, and the session's token stands in it.
    let signed = with_default(NoSubscriber::new(), || sign(signable, &params)).map_err(|error| failed(&error))?;
    Ok(signed.into_parts().0.into_parts().1)
}
