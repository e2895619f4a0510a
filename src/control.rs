//! What `run` shows over HTTP, on one port: metrics, health and status. Nothing can be changed there.

mod metrics;
mod seen;
mod server;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use twinlog_core::config::HttpConfig;
use twinlog_core::report::{Failure, FailureKind};
use twinlog_core::status::LinkStatus;

use self::seen::Seen;

/// How what was seen of the links is written as JSON.
pub(crate) type ToJson = fn(Vec<LinkStatus>) -> Result<String, Failure>;

/// What there is to see, for those who look.
const PATHS: [(&str, &str); 4] = [
    ("/metrics", "metrics for Prometheus"),
    ("/healthz", "whether this process works"),
    ("/readyz", "whether both clusters of each link were reached and its lanes shared out; lag does not count"),
    ("/api/v1/status", "where each partition stands, as JSON"),
];

/// A port that is open and answers nobody yet.
#[derive(Debug)]
pub(crate) struct Port {
    listener: TcpListener,
    partition_metrics: bool,
}

impl Port {
    /// Opens the port, so that one that is taken is found out before anything is begun.
    pub(crate) async fn open(config: &HttpConfig) -> Result<Self, Failure> {
        let HttpConfig { listen, partition_metrics } = config;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let failure =
                Failure::new(FailureKind::Usage, format!("http.listen: {listen} cannot be listened on: {error}"));
            failure.advise("end what listens there, or set another port")
        })?;
        if !listen.ip().is_loopback() {
            tracing::warn!(%listen, "Metrics and status are shown to all who reach this address.");
        }
        // Port 0 is one that is free.
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "Metrics and status are shown.");
        }
        Ok(Self { listener, partition_metrics: *partition_metrics })
    }

    /// Answers with what was seen last of the links, until the server is dropped.
    pub(crate) fn serve(self, mut status: watch::Receiver<Vec<LinkStatus>>, to_json: ToJson) -> Server {
        let seen = Arc::new(Mutex::new(Seen::new(SystemTime::now())));
        let shown = Shown { seen: Arc::clone(&seen), partition_metrics: self.partition_metrics, to_json };
        let watching = tokio::spawn(async move {
            loop {
                let latest = status.borrow_and_update().clone();
                lock(&seen).update(latest);
                if status.changed().await.is_err() {
                    return;
                }
            }
        });
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(show_metrics))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(show_readiness))
            .route("/api/v1/status", get(show_status))
            .fallback(nowhere)
            .with_state(shown);
        let serving = tokio::spawn(server::serve(self.listener, router, server::BOUNDS));
        Server { tasks: [watching.abort_handle(), serving.abort_handle()] }
    }
}

/// A server at work; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    tasks: [AbortHandle; 2],
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Clone, Debug)]
struct Shown {
    seen: Arc<Mutex<Seen>>,
    partition_metrics: bool,
    to_json: ToJson,
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn index() -> String {
    PATHS.iter().map(|(path, what)| format!("{path:<16}{what}\n")).collect()
}

async fn nowhere(uri: Uri) -> Response {
    let paths = PATHS.map(|(path, _)| path).join(", ");
    (StatusCode::NOT_FOUND, format!("nothing is at {}; there are {paths}\n", uri.path())).into_response()
}

async fn show_metrics(State(shown): State<Shown>) -> Response {
    let text = metrics::text(&lock(&shown.seen), SystemTime::now(), shown.partition_metrics);
    ([(CONTENT_TYPE, metrics::CONTENT)], text).into_response()
}

async fn show_readiness(State(shown): State<Shown>) -> Response {
    match lock(&shown.seen).unready() {
        None => "ready\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn show_status(State(shown): State<Shown>) -> Response {
    let links = lock(&shown.seen).links().to_vec();
    match (shown.to_json)(links) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, failure.what).into_response(),
    }
}
