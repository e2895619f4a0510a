//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use twinlog_core::report::{Failure, FailureKind};

/// Turns true at the first signal.
pub(super) fn stop_requested() -> Result<watch::Receiver<bool>, Failure> {
    stop_requested_or(|| {})
}

/// The same; the second signal does this before the end.
pub(super) fn stop_requested_or(at_once: impl Fn() + Send + 'static) -> Result<watch::Receiver<bool>, Failure> {
    let refused = |error: io::Error| Failure::new(FailureKind::Refused, format!("cannot listen for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let (stop, requested) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let number = tokio::select! {
                _ = terminate.recv() => 15,
                _ = interrupt.recv() => 2,
            };
            if *stop.borrow() {
                at_once();
                // As the shell reports a program that a signal ended: nobody should take this for an orderly end.
                std::process::exit(128 + number);
            }
            stop.send_replace(true);
        }
    });
    Ok(requested)
}
