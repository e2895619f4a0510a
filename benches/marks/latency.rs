//! How much later a record is at the target than one that its producer sends there.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Running, START_PATIENCE};
use crate::bare::fetch::Fetched;
use crate::bare::produce::Sender;
use crate::bare::{Partition, init_producer_id};
use crate::link::arena::Arena;
use crate::link::cells::{self, Cell};
use crate::link::stub::Stubs;
use crate::net::Stream;
use crate::quantiles::Quantiles;
use crate::spread::Spread;

const RECORDS_PER_S: u64 = 1_000;
const DURATION: Duration = Duration::from_secs(5);
/// Those that do not count: of a start.
const WARM_UP: usize = 1_000;
const ROUNDS: usize = 5;

/// What came of it, in ms.
#[derive(Clone, Debug)]
pub(super) struct Latency {
    direct: Vec<Quantiles>,
    link: Vec<Quantiles>,
}

pub(super) fn measure(program: &Path) -> Result<Latency, String> {
    let cell = Cell { batch_bytes: 1 << 10, ..cells::all().remove(0) };
    let arena = Arc::new(Arena::new(&cell));
    let records = RECORDS_PER_S * DURATION.as_secs() + WARM_UP as u64;
    let start = || {
        let stubs = Stubs::start(&cell, &arena, records * arena.batch_len() as u64, None);
        stubs.target.note_arrivals();
        stubs
    };
    let mut latency = Latency { direct: Vec::new(), link: Vec::new() };
    for _ in 0..ROUNDS {
        latency.direct.push(produce(&start(), &arena).map_err(|error| format!("direct produce: {error}"))?);
        latency.link.push(copy(program, &start(), &arena)?);
    }
    Ok(latency)
}

/// Does something for each record at its time, and says when that was.
fn at_their_times<E>(records: u64, mut act: impl FnMut(u64) -> Result<(), E>) -> Result<Vec<Instant>, E> {
    let begun = Instant::now();
    let mut times = Vec::with_capacity(usize::try_from(records).unwrap_or_default());
    for number in 0..records {
        let due = begun + Duration::from_nanos(number * 1_000_000_000 / RECORDS_PER_S);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        times.push(Instant::now());
        act(number)?;
    }
    Ok(times)
}

/// A producer writes to the target.
fn produce(stubs: &Stubs, arena: &Arena) -> Result<Quantiles, String> {
    let count = arena.partitions();
    let words = |error: io::Error| error.to_string();
    let mirror_id = stubs.make_mirror(count)?;
    let mut stream = Stream::dial(stubs.target_address(), None).map_err(words)?;
    let producer = init_producer_id(&mut stream).map_err(words)?;
    let mut sender = Sender::new(mirror_id, stream);
    let mut partitions = vec![Partition::default(); count];
    let batch = arena.lock(0)[..arena.batch_len()].to_vec();
    let sent = at_their_times(stubs.source.batches(), |number| {
        let fetched = Fetched { partition: number as usize % count, rest: 0..batch.len() };
        sender.send(&batch, vec![fetched], &mut partitions, producer).map_err(words)
    })?;
    if !stubs.wait(START_PATIENCE)? {
        return Err("not all records arrive".to_owned());
    }
    Ok(quantiles(stubs, &sent))
}

/// The link copies what the source shows.
fn copy(program: &Path, stubs: &Stubs, arena: &Arena) -> Result<Quantiles, String> {
    let link = Running::start(program, stubs, "")?;
    link.wait_until_it_reads(stubs, arena.partitions())?;
    let shown = at_their_times(stubs.source.batches(), |number| {
        stubs.source.show(number + 1);
        Ok::<_, String>(())
    })?;
    if !stubs.wait(START_PATIENCE)? {
        return Err(link.failed("not all records arrive"));
    }
    link.end()?;
    Ok(quantiles(stubs, &shown))
}

/// From the time of each record to its arrival.
fn quantiles(stubs: &Stubs, times: &[Instant]) -> Quantiles {
    let arrivals = stubs.target.arrivals();
    let took = times.iter().enumerate().skip(WARM_UP).filter_map(|(number, time)| {
        let arrived = arrivals.get(number % arrivals.len())?.get(number / arrivals.len())?;
        Some(arrived.saturating_duration_since(*time).as_secs_f64() * 1_000.0)
    });
    Quantiles::of(took.collect())
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = |of: fn(&Quantiles) -> f64| {
            Spread::of(self.direct.iter().zip(&self.link).map(|(direct, link)| of(link) - of(direct)))
        };
        let median = |all: &[Quantiles], of: fn(&Quantiles) -> f64| Spread::of(all.iter().map(of)).median;
        write!(
            f,
            "{RECORDS_PER_S} records/s, {ROUNDS} rounds of {} s: p50 / p99 in ms {:.2} / {:.2} by direct produce, \
             {:.2} / {:.2} by the link; added at p50 {}, at p99 {} (least, median, most)",
            DURATION.as_secs(),
            median(&self.direct, |of| of.p50),
            median(&self.direct, |of| of.p99),
            median(&self.link, |of| of.p50),
            median(&self.link, |of| of.p99),
            added(|of| of.p50).show(2),
            added(|of| of.p99).show(2),
        )
    }
}
