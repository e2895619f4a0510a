//! What is logged, to a collector by OTLP over HTTP as well: the same events by the same filter, as log records.

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::LogExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// Those of OpenTelemetry's own variables by which a collector is named, as `http://127.0.0.1:4318`. Connections to it
/// are plain: it is meant to stand beside this process. The crates read the others, too.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// What the export itself says must not be exported: it would say something about that, too.
const OWN: [&str; 5] = ["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "hyper", "reqwest"];

/// An export at work. What waits to be sent is sent when it is dropped.
#[derive(Debug)]
pub(super) struct Export(SdkLoggerProvider);

impl Export {
    /// Begins it if the environment names a collector.
    pub(super) fn from_environment() -> Result<Option<Self>, String> {
        if ENDPOINTS.iter().all(|name| std::env::var_os(name).is_none_or(|value| value.is_empty())) {
            return Ok(None);
        }
        let exporter = LogExporter::builder().with_http().build().map_err(|error| error.to_string())?;
        let resource = Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build();
        Ok(Some(Self(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())))
    }

    pub(super) fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> + use<S> {
        let bridge: OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger> = OpenTelemetryTracingBridge::new(&self.0);
        let others = OWN.map(|name| (name, LevelFilter::OFF));
        bridge.with_filter(Targets::new().with_default(LevelFilter::TRACE).with_targets(others))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // A collector that is gone is no reason to end otherwise; the crate waits for it for a few seconds.
        drop(self.0.shutdown());
    }
}
