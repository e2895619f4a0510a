//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use twinlog_core::report::{Failure, FailureKind};

/// Listens for a signal, which from then on does nothing by itself.
pub(super) fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(FailureKind::Refused, format!("cannot listen for signals: {error}")))
}

/// Turns true at the first signal.
pub(super) fn stop_requested() -> Result<watch::Receiver<bool>, Failure> {
    stop_requested_or(|| {})
}

/// The same; the second signal does this before the end.
pub(super) fn stop_requested_or(at_once: impl Fn() + Send + 'static) -> Result<watch::Receiver<bool>, Failure> {
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
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
