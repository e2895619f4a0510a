//! Small questions about clusters, and writers in the background.

use std::time::Duration;

use twinlog_testcontainers::{At, OracleAt, Produce, Produced, eventually};

use crate::pair::{ORACLE, Pair, days_ago};

/// A producer with a number of its own may take so long.
const FINISH: Duration = Duration::from_secs(1_800);

/// What a partition holds, without its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) partition: i32,
    pub(crate) count: u64,
    pub(crate) sha256: String,
}

/// The sum of the ends of a topic's partitions; 0 while there is no such topic.
pub(crate) fn total(at: &OracleAt<'_>, topic: &str) -> i64 {
    at.offsets(topic, At::End).map_or(0, |ends| ends.values().sum())
}

/// The end of a partition; 0 while there is none.
pub(crate) fn end(at: &OracleAt<'_>, topic: &str, partition: i32) -> i64 {
    at.offsets(topic, At::End).ok().and_then(|ends| ends.get(&partition).copied()).unwrap_or(0)
}

/// A producer in the background, which ends with the test.
pub(crate) struct Load {
    id: String,
    bootstrap: String,
    stopped: bool,
}

impl Load {
    /// Starts it; `id` is its own among all tests.
    pub(crate) fn start(bootstrap: String, id: &str, produce: &Produce) -> Self {
        ORACLE.at(bootstrap.as_str()).produce_start(id, produce).expect("the producer starts");
        Self { id: id.to_owned(), bootstrap, stopped: false }
    }

    /// A new topic of the source to which records of three days ago are written, little by little.
    pub(crate) fn of_old_records(pair: &Pair, topic: &str, partitions: u32) -> Self {
        let source = ORACLE.at(pair.source.bootstrap_text());
        source.create_topic(topic, partitions, &[("retention.ms", "-1")]).expect("the topic is created");
        let produce = Produce::endless(topic).batches(2_048, 5).rate(300).timestamps(days_ago(3), 1);
        Self::start(pair.source.bootstrap_text(), topic, &produce)
    }

    /// Waits until it has sent so many records, and stops it.
    pub(crate) fn finished(self, count: u64) -> Produced {
        let at = ORACLE.at(self.bootstrap.as_str());
        eventually(&format!("{} has sent {count} records", self.id), FINISH, || {
            let progress = at.produce_progress(&self.id).expect("the producer is there");
            (progress.acked_total() == count || progress.error.is_some()).then_some(())
        });
        self.stop()
    }

    /// Stops it; every record must have been acknowledged.
    pub(crate) fn stop(mut self) -> Produced {
        self.stopped = true;
        let produced = ORACLE.at(self.bootstrap.as_str()).produce_stop(&self.id).expect("the producer stops");
        assert_eq!((produced.failed, &produced.error), (0, &None), "the producer lost records: {produced:?}");
        produced
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !self.stopped {
            // The test has failed already; its reason counts.
            drop(ORACLE.at(self.bootstrap.as_str()).produce_stop(&self.id));
        }
    }
}
