//! The broker's API versions.
//!
//! ApiVersions is sent as v3, the first one with a name and a flexible header (brokers since 2.4).
//! An older broker answers it with code 35 in v0 form and names the versions that it has
//! (KIP-511).

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes, VersionRange};
use twinlog_wire::error_code::ErrorCode;

use super::{Connection, RawRequest};
use crate::error::{Cause, Outcome, Result, Step};

const FIRST_TRY: i16 = 3;
const STEP: Step = Step::of::<ApiVersionsRequest>();

/// The version ranges of a broker, by API key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Versions(BTreeMap<i16, VersionRange>);

impl Versions {
    /// The broker's range for an API.
    pub fn range(&self, api_key: i16) -> Option<VersionRange> {
        self.0.get(&api_key).copied()
    }

    /// The highest version of `R` that both sides have and that is not above `max`.
    pub fn highest<R: Request>(&self, max: i16) -> Option<i16> {
        let range = self.range(R::KEY)?.intersect(&R::VERSIONS).intersect(&VersionRange { min: i16::MIN, max });
        (!range.is_empty()).then_some(range.max)
    }

    fn new(apis: &[ApiVersion]) -> Self {
        let range = |api: &ApiVersion| VersionRange { min: api.min_version, max: api.max_version };
        Self(apis.iter().map(|api| (api.api_key, range(api))).collect())
    }
}

pub(super) async fn ask(connection: &Connection) -> Result<Versions> {
    let answer = send(connection, FIRST_TRY).await?;
    let answer = match code(&answer) {
        Some(ErrorCode::UNSUPPORTED_VERSION) => {
            let refusal: ApiVersionsResponse = connection.decode(STEP, answer, 0)?;
            let common = Versions::new(&refusal.api_keys).highest::<ApiVersionsRequest>(FIRST_TRY);
            let version = common.unwrap_or(0);
            let answer = send(connection, version).await?;
            connection.decode(STEP, answer, version)?
        }
        _ => connection.decode::<ApiVersionsResponse>(STEP, answer, FIRST_TRY)?,
    };
    match ErrorCode(answer.error_code) {
        ErrorCode::NONE => Ok(Versions::new(&answer.api_keys)),
        code => {
            let cause = Cause::Code { code, item: None, message: None };
            Err(connection.error(STEP, Outcome::Answered, cause))
        }
    }
}

async fn send(connection: &Connection, version: i16) -> Result<Bytes> {
    let mut request = ApiVersionsRequest::default();
    if version >= FIRST_TRY {
        request = request
            .with_client_software_name(StrBytes::from_static_str("twinlog"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    }
    let (correlation_id, frame) = connection.encode(&request, version)?;
    let api_key = ApiVersionsRequest::KEY;
    let slices = vec![frame];
    connection.send_raw(RawRequest { api_key, correlation_id, timeout: None, permit: None, slices }).await
}

/// The code stands right after the header, which is always v0 for this API.
fn code(answer: &Bytes) -> Option<ErrorCode> {
    let code = answer.get(4..)?.first_chunk()?;
    Some(ErrorCode(i16::from_be_bytes(*code)))
}
