//! Kafka's error codes: the number is kept, the name and the retry class are looked up.

use core::fmt;

/// A Kafka error code as it stands in answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i16);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        impl ErrorCode {
            $($(#[$doc])* #[doc = concat!("Code ", $code, ".")] pub const $name: Self = Self($code);)*

            /// The name in Kafka's protocol documentation, if twinlog knows the code.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    UNKNOWN_SERVER_ERROR = -1,
    NONE = 0,
    OFFSET_OUT_OF_RANGE = 1,
    CORRUPT_MESSAGE = 2,
    UNKNOWN_TOPIC_OR_PARTITION = 3,
    INVALID_FETCH_SIZE = 4,
    LEADER_NOT_AVAILABLE = 5,
    NOT_LEADER_OR_FOLLOWER = 6,
    REQUEST_TIMED_OUT = 7,
    BROKER_NOT_AVAILABLE = 8,
    REPLICA_NOT_AVAILABLE = 9,
    MESSAGE_TOO_LARGE = 10,
    OFFSET_METADATA_TOO_LARGE = 12,
    NETWORK_EXCEPTION = 13,
    COORDINATOR_LOAD_IN_PROGRESS = 14,
    COORDINATOR_NOT_AVAILABLE = 15,
    NOT_COORDINATOR = 16,
    INVALID_TOPIC_EXCEPTION = 17,
    RECORD_LIST_TOO_LARGE = 18,
    NOT_ENOUGH_REPLICAS = 19,
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20,
    ILLEGAL_GENERATION = 22,
    INCONSISTENT_GROUP_PROTOCOL = 23,
    INVALID_GROUP_ID = 24,
    UNKNOWN_MEMBER_ID = 25,
    INVALID_SESSION_TIMEOUT = 26,
    REBALANCE_IN_PROGRESS = 27,
    TOPIC_AUTHORIZATION_FAILED = 29,
    GROUP_AUTHORIZATION_FAILED = 30,
    CLUSTER_AUTHORIZATION_FAILED = 31,
    INVALID_TIMESTAMP = 32,
    UNSUPPORTED_SASL_MECHANISM = 33,
    ILLEGAL_SASL_STATE = 34,
    UNSUPPORTED_VERSION = 35,
    TOPIC_ALREADY_EXISTS = 36,
    INVALID_PARTITIONS = 37,
    INVALID_REPLICATION_FACTOR = 38,
    INVALID_CONFIG = 40,
    NOT_CONTROLLER = 41,
    INVALID_REQUEST = 42,
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43,
    POLICY_VIOLATION = 44,
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45,
    DUPLICATE_SEQUENCE_NUMBER = 46,
    INVALID_PRODUCER_EPOCH = 47,
    INVALID_TXN_STATE = 48,
    INVALID_PRODUCER_ID_MAPPING = 49,
    INVALID_TRANSACTION_TIMEOUT = 50,
    CONCURRENT_TRANSACTIONS = 51,
    TRANSACTION_COORDINATOR_FENCED = 52,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53,
    SECURITY_DISABLED = 54,
    OPERATION_NOT_ATTEMPTED = 55,
    KAFKA_STORAGE_ERROR = 56,
    SASL_AUTHENTICATION_FAILED = 58,
    UNKNOWN_PRODUCER_ID = 59,
    FETCH_SESSION_ID_NOT_FOUND = 70,
    INVALID_FETCH_SESSION_EPOCH = 71,
    LISTENER_NOT_FOUND = 72,
    FENCED_LEADER_EPOCH = 74,
    UNKNOWN_LEADER_EPOCH = 75,
    UNSUPPORTED_COMPRESSION_TYPE = 76,
    STALE_BROKER_EPOCH = 77,
    OFFSET_NOT_AVAILABLE = 78,
    MEMBER_ID_REQUIRED = 79,
    PREFERRED_LEADER_NOT_AVAILABLE = 80,
    GROUP_MAX_SIZE_REACHED = 81,
    FENCED_INSTANCE_ID = 82,
    INVALID_RECORD = 87,
    UNSTABLE_OFFSET_COMMIT = 88,
    THROTTLING_QUOTA_EXCEEDED = 89,
    PRODUCER_FENCED = 90,
    INCONSISTENT_TOPIC_ID = 103,
    FETCH_SESSION_TOPIC_ID_ERROR = 106,
    UNKNOWN_TOPIC_ID = 100,
    TRANSACTION_ABORTABLE = 120,
}

/// What to do with a request that was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same request may succeed after a pause.
    Backoff,
    /// The leader or coordinator must be looked up again first.
    AfterMetadata,
    /// The same request will never succeed.
    Never,
}

impl ErrorCode {
    /// Whether the code stands for success.
    pub fn is_ok(self) -> bool {
        self == Self::NONE
    }

    /// The code's own retry class, as Kafka's protocol documentation marks it.
    pub fn retry(self) -> Retry {
        match self {
            Self::UNKNOWN_TOPIC_OR_PARTITION
            | Self::LEADER_NOT_AVAILABLE
            | Self::NOT_LEADER_OR_FOLLOWER
            | Self::BROKER_NOT_AVAILABLE
            | Self::REPLICA_NOT_AVAILABLE
            | Self::COORDINATOR_NOT_AVAILABLE
            | Self::NOT_COORDINATOR
            | Self::NOT_CONTROLLER
            | Self::KAFKA_STORAGE_ERROR
            | Self::LISTENER_NOT_FOUND
            | Self::FENCED_LEADER_EPOCH
            | Self::UNKNOWN_LEADER_EPOCH
            | Self::UNKNOWN_TOPIC_ID
            | Self::INCONSISTENT_TOPIC_ID => Retry::AfterMetadata,
            Self::REQUEST_TIMED_OUT
            | Self::NETWORK_EXCEPTION
            | Self::COORDINATOR_LOAD_IN_PROGRESS
            | Self::NOT_ENOUGH_REPLICAS
            | Self::NOT_ENOUGH_REPLICAS_AFTER_APPEND
            | Self::CONCURRENT_TRANSACTIONS
            | Self::OPERATION_NOT_ATTEMPTED
            | Self::FETCH_SESSION_ID_NOT_FOUND
            | Self::INVALID_FETCH_SESSION_EPOCH
            | Self::FETCH_SESSION_TOPIC_ID_ERROR
            | Self::OFFSET_NOT_AVAILABLE
            | Self::PREFERRED_LEADER_NOT_AVAILABLE
            | Self::STALE_BROKER_EPOCH
            | Self::UNSTABLE_OFFSET_COMMIT
            | Self::THROTTLING_QUOTA_EXCEEDED => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} {name}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
