//! Names that a link uses on the target.

/// The compacted topic that holds a link's map and state.
pub fn map_topic(link: &str) -> String {
    format!("__twinlog.{link}.map")
}

/// The compacted topic that holds a link's state.
pub fn state_topic(link: &str) -> String {
    format!("__twinlog.{link}.state")
}

/// The compacted topic that says which positions of groups the link wrote.
pub fn groups_topic(link: &str) -> String {
    format!("__twinlog.{link}.groups")
}

/// The transactional id of who writes that topic.
pub fn groups_transactional_id(link: &str) -> String {
    format!("twinlog.{link}.groups")
}

/// The compacted topic in which all links that write into a cluster claim their mirrors.
pub const CLAIMS_TOPIC: &str = "__twinlog.claims";

/// The transactional id of a lane.
pub fn transactional_id(link: &str, lane: u32) -> String {
    format!("twinlog.{link}.{lane}")
}

/// The group of a link's instances.
pub fn group(link: &str) -> String {
    format!("twinlog.{link}")
}
