//! How often the link fetched ahead: nobody but the link knows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::dispatcher::get_default;
use tracing::field::{Field, Visit};
use tracing::subscriber::NoSubscriber;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

/// Who says it.
const SPEAKER: &str = "twinlog_link::lane::intake::broker";

/// Answers to guesses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    held: AtomicU64,
    failed: AtomicU64,
}

impl Ahead {
    /// Counts while `work` is done.
    pub(crate) fn count<T>(&self, work: impl FnOnce() -> T) -> T {
        if !get_default(|heard| heard.is::<NoSubscriber>()) {
            // Somebody reads along.
            return work();
        }
        let is_about_it = |metadata: &Metadata<'_>| metadata.target() == SPEAKER;
        let heard = Registry::default().with(self.clone().with_filter(filter_fn(is_about_it)));
        tracing::subscriber::with_default(heard, work)
    }

    /// How many were of use.
    pub(crate) fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// How many were thrown away.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Ahead {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut &*self.0);
    }
}

impl Visit for &Counts {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "is_of_use" {
            let count = if value { &self.held } else { &self.failed };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
