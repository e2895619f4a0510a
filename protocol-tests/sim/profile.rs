//! What kind of world a seed is. Each fault is on in some worlds and off in others: a world with all of them at once
//! rarely gets far enough to meet any of them in an interesting state.

use twinlog_core::lane::EpochLimits;

use super::rng::Rng;

/// How old the records are when they are copied, against the target's expiry of producer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ages {
    Young,
    Old,
    Mixed,
}

/// What stops one partition of the world for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    ForeignWrite,
    TargetTruncated,
    TargetTrimmed,
    TooLarge,
    Refused,
    UnknownCodec,
    Unreadable,
    Gap,
    SourceTruncated,
    SourceRecreated,
    TargetRecreated,
    NotEmpty,
}

impl Cause {
    const ALL: [Self; 12] = [
        Self::ForeignWrite,
        Self::TargetTruncated,
        Self::TargetTrimmed,
        Self::TooLarge,
        Self::Refused,
        Self::UnknownCodec,
        Self::Unreadable,
        Self::Gap,
        Self::SourceTruncated,
        Self::SourceRecreated,
        Self::TargetRecreated,
        Self::NotEmpty,
    ];

    /// The name of the halt that must follow.
    pub(crate) fn halt(self) -> &'static str {
        match self {
            Self::ForeignWrite => "diverged",
            Self::TargetTruncated => "target-truncated",
            Self::TargetTrimmed => "target-trimmed",
            Self::TooLarge => "too-large",
            Self::Refused => "refused",
            Self::UnknownCodec => "unsupported",
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::SourceTruncated => "source-truncated",
            Self::SourceRecreated => "recreated",
            Self::TargetRecreated => "target-recreated",
            Self::NotEmpty => "target-not-empty",
        }
    }

    /// Whether the partition may also be complete in the end: what was lost may be copied again, or was not needed
    /// any more, if the owner died before it could notice.
    pub(crate) fn may_pass(self) -> bool {
        matches!(self, Self::TargetTruncated | Self::TargetTrimmed | Self::Gap)
    }
}

/// How many epochs a producer id has, and when the lane changes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epochs {
    /// The last one that the brokers hand out.
    pub(crate) max: i16,
    pub(crate) limits: EpochLimits,
}

impl Epochs {
    /// As many as there are.
    const MANY: Self = Self { max: i16::MAX - 1, limits: EpochLimits::KAFKA };
    /// So few that they run out.
    const FEW: Self = Self { max: 120, limits: EpochLimits { change_from: 3, hold_from: 20 } };
    /// So few that a change of the id is due, and can be put off for long.
    const SOME: Self = Self { max: 200, limits: EpochLimits { change_from: 10, hold_from: 100 } };
}

/// The shape of one world. Chances are per mille.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) partitions: usize,
    /// Two, and partitions move between them; or one.
    pub(crate) lanes: usize,
    /// How long faults go on, in ms.
    pub(crate) fault_ms: u64,
    pub(crate) ages: Ages,
    pub(crate) expiration_ms: i64,
    pub(crate) mark_interval_ms: u64,
    pub(crate) queue_bytes_max: u64,
    /// Crash at an output.
    pub(crate) crash: u64,
    /// Other instances are started although one lives.
    pub(crate) rivals: bool,
    /// An instance stands still for a while.
    pub(crate) pauses: bool,
    /// A request or its answer is lost.
    pub(crate) lost: u64,
    /// A request outlives its connection.
    pub(crate) late: u64,
    pub(crate) not_sent: u64,
    pub(crate) duplicate_answers: u64,
    /// The broker refuses for a passing reason, before or after the append.
    pub(crate) refusals: u64,
    /// Mean time between leader moves or restarts of a target partition, in ms; 0 for none.
    pub(crate) leaders_ms: u64,
    /// Mean time between losses of a target partition's leader for a while, in ms; 0 for none.
    pub(crate) leaderless_ms: u64,
    /// One mirror stays without a leader for long when all other faults are over.
    pub(crate) leaderless_at_end: bool,
    /// How often the brokers look for producer state to forget, in ms.
    pub(crate) expiry_check_ms: u64,
    pub(crate) high_watermark_lags: bool,
    pub(crate) duplicate_markers: u64,
    pub(crate) transactions: bool,
    pub(crate) holes: bool,
    /// Ranges in a chunk of the map.
    pub(crate) chunk_ranges: usize,
    pub(crate) source_leaders: bool,
    pub(crate) trims: bool,
    /// Instances are told to end in the middle of their work.
    pub(crate) drains: bool,
    pub(crate) map_compaction: bool,
    /// The clocks jump by more than half of the expiry once.
    pub(crate) jump: bool,
    /// Batches in each source log at the start, and records in each batch at most.
    pub(crate) backlog: u64,
    pub(crate) records_max: u64,
    /// Mean time between appends, in ms.
    pub(crate) append_ms: u64,
    /// Records that stand in the target before (`existing: append`).
    pub(crate) existing: u64,
    pub(crate) cause: Option<(usize, Cause)>,
    /// One partition is found only later.
    pub(crate) late_partition: bool,
    /// Somebody decides how a partition goes on that stopped.
    pub(crate) operator: bool,
    /// Gaps of the source are skipped.
    pub(crate) skips_gaps: bool,
    pub(crate) epochs: Epochs,
    /// After so long without a transaction the lane makes an empty one, in ms.
    pub(crate) keep_alive_ms: i64,
}

impl Profile {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let partitions = rng.between(1, 4) as usize;
        let ages = rng.pick(&[Ages::Young, Ages::Young, Ages::Young, Ages::Old, Ages::Mixed]);
        let jump = rng.chance(60);
        let mut on = |per_mille: u64| rng.chance(per_mille);
        let forgets = ages != Ages::Young || jump;
        // Named rule `lease`: against the old batches of a zombie only the owner's lease helps, which a later issue
        // brings (DESIGN section 8). Until then no world has a second instance and a broker that forgets.
        let rivals = on(450) && !forgets;
        let (holes, transactions) = (on(400), on(500));
        let cause = on(240);
        let mut some = |on: u64, values: &[u64]| if rng.chance(on) { rng.pick(values) } else { 0 };
        let profile = Self {
            partitions,
            lanes: 1,
            fault_ms: 3_000,
            ages,
            expiration_ms: 3_600_000,
            mark_interval_ms: 1_000,
            queue_bytes_max: 1 << 20,
            crash: some(700, &[1, 3, 10, 30]),
            rivals,
            pauses: false,
            lost: some(600, &[5, 20, 80]),
            late: some(500, &[200, 600]),
            not_sent: some(300, &[5, 40]),
            duplicate_answers: some(400, &[20, 200]),
            refusals: some(500, &[10, 60]),
            leaders_ms: some(500, &[1_000, 4_000]),
            leaderless_ms: some(300, &[1_500, 5_000]),
            leaderless_at_end: false,
            expiry_check_ms: 2_000,
            high_watermark_lags: false,
            duplicate_markers: some(200, &[50, 300]),
            transactions,
            holes,
            chunk_ranges: 0,
            source_leaders: false,
            trims: false,
            drains: false,
            map_compaction: false,
            jump,
            backlog: 0,
            records_max: 0,
            append_ms: 0,
            existing: 0,
            cause: None,
            late_partition: false,
            operator: false,
            skips_gaps: false,
            epochs: Epochs::MANY,
            keep_alive_ms: 0,
        };
        // What a lane knows of the ids of another one counts only where all of this meets.
        let handed_on_and_lost = rng.chance(30);
        let cause = (cause || handed_on_and_lost).then(|| {
            // A loss has more shapes than the others.
            let lost = handed_on_and_lost || rng.chance(300);
            let cause = if lost { Cause::TargetTruncated } else { rng.pick(&Cause::ALL) };
            (rng.index(partitions), cause)
        });
        let existing = if rng.chance(150) { rng.between(1, 9) } else { 0 };
        let leaderless_at_end = rng.chance(200);
        Self {
            lanes: if handed_on_and_lost || rng.chance(350) { 2 } else { 1 },
            fault_ms: rng.between(1_000, 15_000),
            mark_interval_ms: rng.pick(&[100, 700, 5_000]),
            queue_bytes_max: rng.pick(&[500, 5_000, 1 << 20]),
            pauses: rivals && rng.chance(500),
            expiry_check_ms: rng.pick(&[30, 300, 3_000]),
            high_watermark_lags: rng.chance(300),
            source_leaders: rng.chance(300),
            trims: rng.chance(300),
            drains: rng.chance(200),
            map_compaction: rng.chance(300),
            chunk_ranges: rng.pick(&[1, 4, 1024]),
            backlog: rng.between(0, 60),
            records_max: rng.pick(&[1, 8, 40]),
            append_ms: rng.pick(&[30, 100, 500]),
            existing: if matches!(cause, Some((_, Cause::NotEmpty))) { 3 } else { existing },
            cause,
            late_partition: rng.chance(100),
            operator: rng.chance(500),
            skips_gaps: rng.chance(100),
            epochs: match handed_on_and_lost || rng.chance(300) {
                true if ages == Ages::Mixed => Epochs::SOME,
                true => Epochs::FEW,
                false => Epochs::MANY,
            },
            // Longer than a held-up coordinator is left alone between two questions, where that is judged.
            keep_alive_ms: if leaderless_at_end { 10_000 } else { rng.pick(&[900, 4_000, 600_000]) },
            leaderless_at_end,
            ..profile
        }
    }
}
