//! Answers over HTTP with bounds: so many connections at once, each for so long, since a link needs its file
//! descriptors.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at once; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// The bounds of one connection.
pub(super) const BOUNDS: Bounds =
    Bounds { header: Duration::from_secs(30), life: Duration::from_secs(300), last_answer: Duration::from_secs(10) };
/// The pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From one answer, or the start, to the end of the next request's header.
    header: Duration,
    /// After it no further request is taken.
    life: Duration,
    /// For the answer that is being read then.
    last_answer: Duration,
}

/// Answers all who connect; never ends by itself.
pub(super) async fn serve(listener: TcpListener, router: Router, bounds: Bounds) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                connections.spawn(async move {
                    answer(stream, router, bounds).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "A connection for metrics or status cannot be accepted.");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, bounds: Bounds) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.header);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let served = match timeout(bounds.life, connection.as_mut()).await {
        Ok(served) => served,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(bounds.last_answer, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "A connection for metrics or status ended early.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::AbortHandle;

    struct Served {
        address: std::net::SocketAddr,
        task: AbortHandle,
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    impl Served {
        async fn within(bounds: Bounds) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("its address");
            let router = Router::new().route("/", get(async || "here\n"));
            Self { address, task: tokio::spawn(serve(listener, router, bounds)).abort_handle() }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("connected")
        }
    }

    /// All that comes until the other side closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        // A reset is an end, too.
        drop(stream.read_to_string(&mut text).await);
        text
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn who_keeps_silent_holds_nobody_up_for_long() {
        let served = Served::within(Bounds { header: SHORT, life: LONG, last_answer: LONG }).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(served.connect().await);
        }
        let mut asking = served.connect().await;
        asking.write_all(REQUEST).await.expect("sent");
        assert!(rest(asking).await.ends_with("here\n"), "after the silent ones were closed");
        assert_eq!(rest(silent.remove(0)).await, "");
    }

    #[tokio::test]
    async fn a_connection_ends_after_its_time_between_two_requests() {
        let served = Served::within(Bounds { header: LONG, life: SHORT, last_answer: LONG }).await;
        let mut kept = served.connect().await;
        kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        assert!(rest(kept).await.ends_with("here\n"));
    }
}
