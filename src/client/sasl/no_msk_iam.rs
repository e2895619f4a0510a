//! A build without AWS_MSK_IAM.

use twinlog_core::config::security::{MskIamConfig, SaslConfig};

use super::Dialogue;
use crate::error::Cause;

/// There is none.
#[derive(Debug)]
pub(super) enum Signer {}

impl Signer {
    pub(super) fn new(_: &MskIamConfig) -> Result<Self, Cause> {
        Err(Cause::Config(SaslConfig::NO_AWS_MSK_IAM.to_owned()))
    }

    pub(super) fn dialogue(&self, _: &str) -> Result<Box<dyn Dialogue>, Cause> {
        match *self {}
    }
}
