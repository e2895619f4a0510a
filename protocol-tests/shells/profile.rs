//! What kind of world a seed is. Each fault is on in some worlds and off in others: a world with all of them at once
//! rarely gets far enough to meet any of them in an interesting state.

use fastrand::Rng;

/// How old the records are when they are written, against the target's expiry of producer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ages {
    Young,
    Old,
    Mixed,
}

/// A promise that the world breaks. Each must be found, or the simulation proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The target's brokers forget producers whose records are young.
    BrokersForget,
    /// The link's clock is two days behind: it takes old records for young ones.
    ClockBehind,
    /// Somebody else writes to a mirror.
    ForeignWrite,
    /// The source deletes records before they are copied.
    TrimmedAhead,
}

impl Mistake {
    pub(crate) const ALL: [Self; 4] = [Self::BrokersForget, Self::ClockBehind, Self::ForeignWrite, Self::TrimmedAhead];
}

/// The shape of one world. Chances are per mille of requests, means are in ms, and 0 is never.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) nodes: (i32, i32),
    pub(crate) topics: usize,
    pub(crate) partitions_max: i32,
    pub(crate) writers_max: usize,
    pub(crate) write_pause_ms: u64,
    pub(crate) records_max: u64,
    pub(crate) value_bytes_max: usize,
    pub(crate) lanes: u16,
    pub(crate) ages: Ages,
    pub(crate) expiration_ms: u64,
    pub(crate) mark_ms: u64,
    pub(crate) fetch_bytes: i32,
    /// An answer may have so many times the bytes of a partition.
    pub(crate) fetch_parts: i32,
    /// How far away the source is.
    pub(crate) far_ms: u64,
    pub(crate) fetch_wait_ms: u64,
    pub(crate) pipe_bytes: usize,
    pub(crate) marker_delay_ms: u64,
    pub(crate) request_timeout_ms: u64,
    /// How long faults go on.
    pub(crate) fault_ms: u64,
    pub(crate) delays: u32,
    /// Delays may be longer than a client waits.
    pub(crate) late: bool,
    pub(crate) lost_requests: u32,
    pub(crate) lost_answers: u32,
    pub(crate) cuts_before: u32,
    pub(crate) cuts_after: u32,
    pub(crate) refusals: u32,
    pub(crate) refusals_after: u32,
    pub(crate) leaders_ms: u64,
    pub(crate) leaderless_ms: u64,
    pub(crate) restarts_ms: u64,
    pub(crate) pauses_ms: u64,
    pub(crate) trims_ms: u64,
    /// Mirrors that lose acknowledged records.
    pub(crate) losses_ms: u64,
    pub(crate) kills_ms: u64,
    pub(crate) rivals_ms: u64,
    pub(crate) stops_ms: u64,
    pub(crate) stands_ms: u64,
    /// Partitions that are sent to other lanes, and lanes that come and go.
    pub(crate) moves_ms: u64,
    /// A topic that is made later.
    pub(crate) late_topic: bool,
}

impl Profile {
    pub(crate) fn of(rng: &mut Rng, mistake: Option<Mistake>) -> Self {
        fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
            of[rng.usize(0..of.len())]
        }
        let mut ages = pick(rng, &[Ages::Young, Ages::Young, Ages::Young, Ages::Old, Ages::Mixed]);
        if mistake == Some(Mistake::ClockBehind) {
            ages = Ages::Old;
        }
        let expiration_ms = if ages == Ages::Young { pick(rng, &[86_400_000, 86_400_000, 20_000]) } else { 86_400_000 };
        let forgets = ages != Ages::Young || expiration_ms < 86_400_000;
        let some = |rng: &mut Rng, on: u32, values: [u32; 2]| {
            if rng.u32(0..1000) < on { values[rng.usize(0..2)] } else { 0 }
        };
        let rivals_ms = some(rng, 400, [2_000, 6_000]);
        let lost = some(rng, 350, [5, 25]);
        let lost_answers = some(rng, 350, [5, 25]);
        let profile = Self {
            nodes: (rng.i32(1..=3), rng.i32(1..=3)),
            topics: rng.usize(1..=3),
            partitions_max: rng.i32(1..=3),
            writers_max: rng.usize(1..=2),
            write_pause_ms: pick(rng, &[30, 100, 300]),
            records_max: pick(rng, &[1, 5, 20]),
            value_bytes_max: pick(rng, &[0, 50, 400]),
            lanes: rng.u16(1..=3),
            ages,
            expiration_ms,
            mark_ms: pick(rng, &[100, 500, 2_000]),
            fetch_bytes: pick(rng, &[100, 2_000, 1 << 20]),
            fetch_parts: 4,
            far_ms: some(rng, 200, [20, 100]).into(),
            fetch_wait_ms: pick(rng, &[20, 100, 500]),
            pipe_bytes: pick(rng, &[97, 4_096, 1 << 20]),
            marker_delay_ms: pick(rng, &[0, 5, 200]),
            request_timeout_ms: pick(rng, &[1_000, 3_000]),
            fault_ms: rng.u64(3_000..=12_000),
            delays: some(rng, 500, [20, 100]),
            late: true,
            lost_requests: lost,
            lost_answers,
            cuts_before: some(rng, 400, [5, 40]),
            cuts_after: some(rng, 400, [5, 40]),
            refusals: some(rng, 500, [10, 60]),
            refusals_after: some(rng, 400, [5, 40]),
            leaders_ms: some(rng, 500, [500, 2_000]).into(),
            leaderless_ms: some(rng, 200, [2_000, 4_000]).into(),
            restarts_ms: some(rng, 350, [1_500, 5_000]).into(),
            pauses_ms: some(rng, 250, [2_000, 5_000]).into(),
            trims_ms: some(rng, 400, [500, 2_000]).into(),
            losses_ms: some(rng, 250, [1_000, 4_000]).into(),
            kills_ms: some(rng, 600, [800, 3_000]).into(),
            rivals_ms: rivals_ms.into(),
            stops_ms: some(rng, 250, [2_000, 4_000]).into(),
            stands_ms: some(rng, 200, [2_000, 4_000]).into(),
            moves_ms: some(rng, 500, [300, 1_500]).into(),
            late_topic: rng.u32(0..1000) < 200,
        };
        // Named rule `late`: a request that its sender has given up, and that a broker carries out long after, is
        // refused only as long as the broker remembers who came after it. Brokers here forget within moments, not
        // minutes.
        let profile = if forgets { Self { late: false, pauses_ms: 0, ..profile } } else { profile };
        // There is always more than one answer holds, so that the next ones are asked for ahead.
        let crowded = Self {
            partitions_max: 1,
            write_pause_ms: 30,
            records_max: 5,
            value_bytes_max: 50,
            fetch_bytes: 1_000,
            fetch_parts: 1,
            ..profile
        };
        let profile = if profile.far_ms > 0 { crowded } else { profile };
        // What the mirror lost must still be at the source, or it is a gap, and said to be one.
        let profile = if profile.losses_ms > 0 { Self { trims_ms: 0, ..profile } } else { profile };
        match mistake {
            None => profile,
            // What follows from a broken promise shows only if answers are missing as well.
            Some(Mistake::BrokersForget | Mistake::ClockBehind) => {
                Self { cuts_after: 60, lost_answers: 20, fault_ms: 12_000, ..profile }
            }
            Some(_) => Self { fault_ms: 8_000, ..profile },
        }
    }
}
