//! A consumer that reads heads of batches, and notes when.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::timeline::Timeline;
use crate::ask::read_frame;
use crate::bare::Partition;
use crate::bare::fetch;
use crate::comparison::client::Topic;
use crate::net::Stream;
use crate::progress::Progress;

/// A thread that follows a topic from its start.
#[derive(Debug)]
pub(crate) struct Follower {
    progress: Arc<Progress>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Timeline>>,
}

impl Follower {
    /// Its times are those since `base`.
    pub(crate) fn start(address: SocketAddr, topic: &Topic, base: Instant) -> Result<Self, String> {
        let stream = Stream::dial(address, None).map_err(|error| error.to_string())?;
        let (progress, is_over) = (Arc::new(Progress::default()), Arc::new(AtomicBool::new(false)));
        let (topic, told, ended) = (topic.clone(), Arc::clone(&progress), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut timelines = vec![Timeline::default(); topic.partitions];
            if let Err(error) = follow(stream, &topic, base, &mut timelines, &told, &ended) {
                told.fail(|| format!("{} cannot be followed: {error}", topic.name));
            }
            timelines
        });
        Ok(Self { progress, is_over, thread })
    }

    /// Waits until it has seen so many records in all.
    pub(crate) fn wait(&self, records: u64, patience: Duration) -> Result<(), String> {
        match self.progress.wait(records, patience)? {
            true => Ok(()),
            false => Err(format!("not all of {records} records came within {} s", patience.as_secs())),
        }
    }

    /// Ends it; what it has seen, by partition.
    pub(crate) fn finish(self) -> Result<Vec<Timeline>, String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a follower has panicked".to_owned())
    }
}

fn follow(
    mut stream: Stream,
    topic: &Topic,
    base: Instant,
    timelines: &mut [Timeline],
    progress: &Progress,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let mut partitions = vec![Partition::default(); topic.partitions];
    let (mut buffer, mut turn) = (Vec::new(), 0);
    // An answer comes after half a second if there is nothing.
    while !is_over.load(Ordering::Relaxed) {
        fetch::ask(&mut stream, topic.id, &partitions, topic.partitions, &mut turn)?;
        let frame = read_frame(&mut stream, &mut buffer)?;
        let now = base.elapsed();
        for fetched in fetch::parts(frame, &mut partitions)? {
            let mut rest = &frame[fetched.rest];
            let mut records = 0;
            while let Some(batch) = fetch::whole_batch(rest)? {
                rest = &rest[batch.len as usize..];
                // Markers are no records of the source.
                records += if batch.is_control() { 0 } else { u64::from(batch.record_count.unsigned_abs()) };
            }
            if records > 0 {
                timelines[fetched.partition].add(records, now);
                progress.add(records);
            }
        }
    }
    Ok(())
}
