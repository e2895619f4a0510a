//! SASL over Kafka's own requests: SaslHandshake names the mechanism, SaslAuthenticate carries its messages (KIP-43,
//! KIP-152). A broker may give a session an end; before it, the same is done again on the same connection (KIP-368).

mod login;
#[cfg(feature = "msk-iam")]
mod msk_iam;
#[cfg(not(feature = "msk-iam"))]
#[path = "sasl/no_msk_iam.rs"]
mod msk_iam;
mod oauth;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use tokio::time::sleep;
use twinlog_core::config::security::{Login, OAuthConfig, PasswordMechanism, SaslConfig};
use twinlog_wire::error_code::ErrorCode;

use self::msk_iam::Signer;
use self::oauth::Tokens;
use crate::connection::{Connection, WeakConnection};
use crate::error::{Cause, Error, Outcome, Result, Step};

/// Brokers answer with their mechanisms, and take the messages as requests, from this version on.
const HANDSHAKE: i16 = 1;
/// A broker closes a connection that authenticates again within a second.
const PAUSE_MIN: Duration = Duration::from_millis(1_100);
/// What part of a session passes before it is renewed, at random between these: brokers must not hear from all
/// connections at once. Kafka's own clients do the same.
const RENEWED_AFTER: [f32; 2] = [0.85, 0.95];

/// One side of a mechanism, message by message.
trait Dialogue: Send {
    /// What is to be sent first, or in answer to the broker; none at the end.
    fn next(&mut self, received: Option<&[u8]>) -> Result<Option<Vec<u8>>, Cause>;
}

/// What is needed to log in, shared by all connections to a cluster.
#[derive(Debug)]
pub(crate) struct Sasl {
    mechanism: &'static str,
    identity: Identity,
}

#[derive(Debug)]
enum Identity {
    Password(PasswordMechanism, Login),
    Token(Tokens, OAuthConfig),
    AccessKey(Signer),
}

impl Sasl {
    pub(crate) fn new(config: &SaslConfig) -> Result<Self, Cause> {
        let identity = match config {
            SaslConfig::Password(mechanism, login) => Identity::Password(*mechanism, login.clone()),
            SaslConfig::OAuthBearer(oauth) => Identity::Token(Tokens::new(&oauth.token)?, oauth.clone()),
            SaslConfig::MskIam(key) => Identity::AccessKey(Signer::new(key)?),
        };
        Ok(Self { mechanism: config.mechanism(), identity })
    }

    /// Says to a new connection's broker, which was dialled by this name, who we are, and again whenever its session
    /// is about to end.
    pub(crate) async fn begin(self: &Arc<Self>, connection: &Connection, host: &str) -> Result<()> {
        let dialogue = self.dialogue(connection, host).await?;
        if let Some(lifetime) = self.authenticate(connection, dialogue).await? {
            tokio::spawn(Arc::clone(self).keep(connection.downgrade(), host.to_owned(), lifetime));
        }
        Ok(())
    }

    /// Renews the session until the connection is gone.
    async fn keep(self: Arc<Self>, connection: WeakConnection, host: String, mut lifetime: Duration) {
        let closed = connection.closed();
        tokio::pin!(closed);
        loop {
            let [low, high] = RENEWED_AFTER;
            let part = low + (high - low) * fastrand::f32();
            tokio::select! {
                _gone = &mut closed => return,
                () = sleep(lifetime.mul_f32(part).max(PAUSE_MIN)) => {}
            }
            let Some(connection) = connection.upgrade() else { return };
            match self.renew(&connection, &host).await {
                Ok(next) => {
                    tracing::debug!(peer = %connection.peer(), lifetime = ?next, "The session was renewed.");
                    let Some(next) = next else { return };
                    lifetime = next;
                }
                Err(error) => {
                    tracing::debug!(%error, "The session could not be renewed.");
                    connection.fail(error.shared_cause());
                    return;
                }
            }
        }
    }

    async fn renew(&self, connection: &Connection, host: &str) -> Result<Option<Duration>> {
        // A token may take its time: requests wait only for the broker.
        let dialogue = self.dialogue(connection, host).await?;
        connection.hold();
        let lifetime = self.authenticate(connection, dialogue).await?;
        connection.release();
        Ok(lifetime)
    }

    async fn dialogue(&self, connection: &Connection, host: &str) -> Result<Box<dyn Dialogue>> {
        let dialogue = match &self.identity {
            Identity::Password(mechanism, login) => login::dialogue(*mechanism, login),
            Identity::Token(tokens, oauth) => {
                tokens.get(connection.peer()).await.map(|token| oauth::dialogue(&token, oauth))
            }
            Identity::AccessKey(signer) => signer.dialogue(host),
        };
        dialogue.map_err(|cause| at(connection, cause))
    }

    /// Goes through the mechanism once. The answer is how long the broker keeps the session, if it has an end.
    async fn authenticate(&self, connection: &Connection, mut dialogue: Box<dyn Dialogue>) -> Result<Option<Duration>> {
        let mechanism = self.mechanism;
        shake_hands(connection, mechanism).await?;
        let mut message = dialogue.next(None).map_err(|cause| at(connection, cause))?;
        let mut lifetime = None;
        while let Some(bytes) = message {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
            let answer = connection.call_ahead(request, i16::MAX).await?;
            let words = answer.error_message.map(|words| words.to_string());
            accepted(connection, STEP, answer.error_code, mechanism, words)?;
            lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
            message = dialogue.next(Some(&answer.auth_bytes)).map_err(|cause| at(connection, cause))?;
        }
        Ok(lifetime)
    }
}

const STEP: Step = Step::of::<SaslAuthenticateRequest>();

async fn shake_hands(connection: &Connection, mechanism: &'static str) -> Result<()> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let answer = connection.call_ahead(request, HANDSHAKE).await?;
    let known: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
    let words = (!known.is_empty()).then(|| format!("the broker takes {}", known.join(", ")));
    accepted(connection, Step::of::<SaslHandshakeRequest>(), answer.error_code, mechanism, words)
}

fn accepted(connection: &Connection, step: Step, code: i16, mechanism: &str, message: Option<String>) -> Result<()> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => {
            let cause = Cause::Code { code, item: Some(mechanism.to_owned()), message };
            Err(connection.error(step, Outcome::Answered, cause))
        }
    }
}

fn at(connection: &Connection, cause: Cause) -> Error {
    connection.error(STEP, Outcome::NotSent, cause)
}
