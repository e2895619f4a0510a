//! Mechanisms of a name and a password, by rsasl.

use std::num::NonZeroU32;

use ring::digest::{SHA256_OUTPUT_LEN, SHA512_OUTPUT_LEN};
use ring::pbkdf2;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::{Iterations, Salt, SaltedPassword};
use rsasl::prelude::{Mechname, MessageSent, SASLClient, SASLConfig, Session, SessionError, State};
use rsasl::property::{AuthId, Password};
use twinlog_core::config::security::{Login, PasswordMechanism};

use super::Dialogue;
use crate::error::Cause;

/// More is nothing that a broker means well: Kafka's own clients begin with 4096, and each costs us as well.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Fewer make the password easy to guess for whoever hears the proof; Kafka has no fewer (RFC 7677).
const ITERATIONS_MIN: u32 = 4096;

/// Our side of the mechanism.
pub(super) fn dialogue(mechanism: PasswordMechanism, login: &Login) -> Result<Box<dyn Dialogue>, Cause> {
    let failed = |error: &dyn std::fmt::Display| Cause::Sasl(error.to_string());
    let hash = match mechanism {
        PasswordMechanism::Plain => None,
        PasswordMechanism::ScramSha256 => Some(pbkdf2::PBKDF2_HMAC_SHA256),
        PasswordMechanism::ScramSha512 => Some(pbkdf2::PBKDF2_HMAC_SHA512),
    };
    let asked = Asked { login: login.clone(), hash };
    let config = SASLConfig::builder().with_default_mechanisms().with_callback(asked).map_err(|e| failed(&e))?;
    let name = Mechname::parse(mechanism.name().as_bytes()).map_err(|e| failed(&e))?;
    let session = SASLClient::new(config).start_suggested(&[name]).map_err(|e| failed(&e))?;
    Ok(Box::new(ByPassword { session, is_over: false }))
}

struct ByPassword {
    session: Session,
    is_over: bool,
}

impl Dialogue for ByPassword {
    fn next(&mut self, received: Option<&[u8]>) -> Result<Option<Vec<u8>>, Cause> {
        if self.is_over {
            return Ok(None);
        }
        let mut message = Vec::new();
        match self.session.step(received, &mut message) {
            Ok(State::Running) => Ok(Some(message)),
            Ok(State::Finished(sent)) => {
                self.is_over = true;
                Ok(matches!(sent, MessageSent::Yes).then_some(message))
            }
            Err(error) => Err(Cause::Sasl(words(&error))),
        }
    }
}

/// With what goes wrong behind it.
fn words(error: &SessionError) -> String {
    let mut words = error.to_string();
    let mut behind = std::error::Error::source(error);
    while let Some(error) = behind {
        words.push_str(&format!(": {error}"));
        behind = error.source();
    }
    words
}

/// Gives the mechanism what it asks for.
struct Asked {
    login: Login,
    hash: Option<pbkdf2::Algorithm>,
}

impl Asked {
    /// By ring, which is many times faster than what rsasl would use, and within limits.
    fn salted(
        &self,
        hash: pbkdf2::Algorithm,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let (Some(&iterations), Some(salt)) = (context.get_ref::<Iterations>(), context.get_ref::<Salt>()) else {
            return Ok(());
        };
        let refused = || {
            let words = format!("the broker asks for {iterations} rounds of hashing");
            SessionError::Boxed(format!("{words}; {ITERATIONS_MIN} to {ITERATIONS_MAX} are taken").into())
        };
        let allowed = NonZeroU32::new(iterations).filter(|n| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&n.get()));
        let rounds = allowed.ok_or_else(refused)?;
        let mut salted = [0; SHA512_OUTPUT_LEN];
        let length = if hash == pbkdf2::PBKDF2_HMAC_SHA256 { SHA256_OUTPUT_LEN } else { SHA512_OUTPUT_LEN };
        pbkdf2::derive(hash, rounds, salt, self.login.password.reveal().as_bytes(), &mut salted[..length]);
        request.satisfy::<SaltedPassword>(&salted[..length])?;
        Ok(())
    }
}

impl SessionCallback for Asked {
    fn callback(&self, _: &SessionData, context: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        if let (true, Some(hash)) = (request.is::<SaltedPassword>(), self.hash) {
            return self.salted(hash, context, request);
        }
        request.satisfy::<AuthId>(&self.login.username)?;
        if self.hash.is_none() {
            request.satisfy::<Password>(self.login.password.reveal().as_bytes())?;
        }
        Ok(())
    }
}
