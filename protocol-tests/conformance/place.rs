//! Where cases run: brokers with the settings that make a fact show quickly.

/// What a case needs of a peer besides answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Access control lists.
    Acls,
    /// A log cleaner that compacts within seconds.
    Cleaner,
    /// A clean end and a new start.
    Restart,
    /// A power cut and a new start.
    Kill,
    /// State that goes by age within seconds: producers, offsets, old segments, idle connections.
    Expiry,
    /// Three brokers that can be held, killed and started one by one.
    ThreeBrokers,
    /// A minute or more, or thousands of requests.
    Long,
    /// What Apache Kafka has and a stand-in need not have.
    KafkaItself,
}

/// Where a case runs. Cases of one place run at the same time, each with topics of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// One broker with the release's own settings.
    Calm,
    /// The same broker; the cases restart it, all together.
    Restarted,
    /// The same broker; the cases kill it, all together.
    Killed,
    /// The same broker when all else is done: cases that leave a load behind.
    Last,
    /// One broker that forgets within a second what others forget within minutes.
    Quick,
    /// Three brokers; cases run one after the other.
    Three,
}

impl Place {
    /// The place whose broker this one uses.
    pub(crate) fn ground(self) -> Self {
        match self {
            Self::Restarted | Self::Killed | Self::Last => Self::Calm,
            other => other,
        }
    }

    /// How many brokers.
    pub(crate) fn brokers(self) -> u16 {
        if self == Self::Three { 3 } else { 1 }
    }

    /// What every case there needs.
    pub(crate) fn needs(self) -> &'static [Need] {
        match self {
            Self::Calm | Self::Last => &[],
            Self::Restarted => &[Need::Restart],
            Self::Killed => &[Need::Kill],
            Self::Quick => &[Need::Expiry],
            Self::Three => &[Need::ThreeBrokers],
        }
    }

    /// Broker settings, as Kafka names them.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self.ground() {
            Self::Quick => &[
                ("producer.id.expiration.check.interval.ms", "500"),
                ("log.retention.check.interval.ms", "500"),
                ("log.initial.task.delay.ms", "100"),
                ("log.cleaner.backoff.ms", "300"),
                ("offsets.retention.check.interval.ms", "500"),
                ("offsets.retention.minutes", "1"),
                ("connections.max.idle.ms", "3000"),
            ],
            Self::Three => &[
                // A follower that is held must stay in sync until a busy machine has looked at what that means.
                ("replica.lag.time.max.ms", "10000"),
                ("broker.session.timeout.ms", "8000"),
            ],
            _ => &[
                // Not within a run: a kill must find the log start as it was.
                ("log.flush.start.offset.checkpoint.interval.ms", "3600000"),
                // Everything is allowed where nothing is forbidden by name.
                ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
                ("allow.everyone.if.no.acl.found", "true"),
                ("group.min.session.timeout.ms", "1000"),
            ],
        }
    }
}
