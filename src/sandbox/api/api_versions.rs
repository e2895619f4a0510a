//! ApiVersions: the table, as every connection begins with it.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use twinlog_wire::error_code::ErrorCode;

use super::{APIS, Api, ApiRange, Attempt, Context, encode};
use crate::session::End;

impl Api for ApiVersionsRequest {
    const READS_ONLY: bool = true;

    fn attempt(&mut self, _context: &mut Context<'_>) -> Attempt<ApiVersionsResponse> {
        Attempt::Done(ApiVersionsResponse::default().with_api_keys(APIS.iter().map(range).collect()))
    }

    fn refusal(&self, code: ErrorCode, _version: i16) -> ApiVersionsResponse {
        ApiVersionsResponse::default().with_error_code(code.0)
    }
}

fn range(range: &ApiRange) -> ApiVersion {
    // As Kafka 4.0 and 4.1 do: librdkafka took a higher one for a broker without compression (KAFKA-18659).
    let min = if range.api == ApiKey::Produce { 0 } else { range.min };
    ApiVersion::default().with_api_key(range.api as i16).with_min_version(min).with_max_version(range.max)
}

/// The answer to a version that is not offered: in version 0, with the versions of this API alone.
pub(crate) fn unsupported() -> Result<Bytes, End> {
    let own = APIS.iter().filter(|range| range.api == ApiKey::ApiVersions).map(range);
    let answer =
        ApiVersionsResponse::default().with_error_code(ErrorCode::UNSUPPORTED_VERSION.0).with_api_keys(own.collect());
    encode(&answer, ApiKey::ApiVersions, 0)
}
