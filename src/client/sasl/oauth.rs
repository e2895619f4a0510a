//! OAUTHBEARER: tokens, and the one message that brings them (RFC 7628, KIP-255).

mod endpoint;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use twinlog_core::config::security::{OAuthConfig, Secret, TokenSource};

use self::endpoint::Endpoint;
use super::Dialogue;
use crate::error::{Cause, Peer};

/// What part of a token's life passes before another one is asked for; Kafka's own clients do the same.
const RENEWED_AFTER: f32 = 0.8;

/// A token of an endpoint.
#[derive(Debug)]
pub(super) struct Token {
    text: Secret,
    /// How long it is good for; none where the endpoint does not say.
    lifetime: Option<Duration>,
}

/// Where tokens are from, and the last one of an endpoint.
#[derive(Debug)]
pub(super) enum Tokens {
    File(String),
    Endpoint(Box<Endpoint>, Mutex<Option<(Instant, Token)>>),
}

impl Tokens {
    pub(super) fn new(source: &TokenSource) -> Result<Self, Cause> {
        Ok(match source {
            TokenSource::File(path) => Self::File(path.clone()),
            TokenSource::Endpoint(config) => Self::Endpoint(Box::new(Endpoint::new(config)?), Mutex::default()),
        })
    }

    /// A token that is good now. Those who ask an endpoint at the same time share its answer.
    pub(super) async fn get(&self, peer: &Peer) -> Result<Secret, Cause> {
        let (endpoint, last) = match self {
            Self::File(path) => return read(path),
            Self::Endpoint(endpoint, last) => (endpoint, last),
        };
        let mut last = last.lock().await;
        let age_limit = |token: &Token, part: f32| token.lifetime.unwrap_or_default().mul_f32(part);
        if let Some((since, token)) = &*last
            && since.elapsed() < age_limit(token, RENEWED_AFTER)
        {
            return Ok(token.text.clone());
        }
        let asked = Instant::now();
        match (endpoint.ask(peer).await, &*last) {
            (Ok(token), _) => Ok(last.insert((asked, token)).1.text.clone()),
            (Err(error), Some((since, token))) if since.elapsed() < age_limit(token, 1.0) => {
                tracing::warn!(side = %peer.side, %error, "There is no new token; the last one is still good.");
                Ok(token.text.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

fn read(path: &str) -> Result<Secret, Cause> {
    let unusable = |why: &dyn std::fmt::Display| Cause::Token(format!("cannot use the token file {path}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
    token(text.trim()).ok_or_else(|| unusable(&"it does not hold a token"))
}

/// The characters that a token can have (RFC 6750, section 2.1); others could be taken for the end of the message.
fn token(text: &str) -> Option<Secret> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    (!text.is_empty() && text.chars().all(fits)).then(|| Secret::new(text.to_owned()))
}

/// Our side of the mechanism.
pub(super) fn dialogue(token: &Secret, config: &OAuthConfig) -> Box<dyn Dialogue> {
    let mut message = format!("n,,\x01auth=Bearer {}\x01", token.reveal());
    for (name, value) in &config.extensions {
        message.push_str(&format!("{name}={value}\x01"));
    }
    message.push('\x01');
    Box::new(Bearer { first: Some(message.into_bytes()) })
}

struct Bearer {
    first: Option<Vec<u8>>,
}

impl Dialogue for Bearer {
    fn next(&mut self, received: Option<&[u8]>) -> Result<Option<Vec<u8>>, Cause> {
        match received {
            None => Ok(self.first.take()),
            Some([]) => Ok(None),
            // A broker that does not take the token tells it as JSON, and as an error when it has heard this.
            Some(_) => Ok(Some(vec![1])),
        }
    }
}
