//! Names that a link uses on the target.

/// The compacted topic that holds a link's map and state.
pub fn map_topic(link: &str) -> String {
    format!("__twinlog.{link}.map")
}

/// The compacted topic that holds a link's state.
pub fn state_topic(link: &str) -> String {
    format!("__twinlog.{link}.state")
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

/// The lane of a partition: FNV-1a over the topic's name plus the number, so that a topic's partitions are spread
/// evenly and every build gives the same answer.
pub fn lane_of(topic: &str, partition: i32, lanes: u32) -> u32 {
    let hash = topic
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let lane = (hash >> 32).wrapping_add(u64::from(partition.unsigned_abs())) % u64::from(lanes.max(1));
    u32::try_from(lane).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_keeps_its_lane() {
        // These numbers stand in the state of links that run: they must never change.
        let lanes: Vec<u32> = (0..6).map(|partition| lane_of("orders", partition, 4)).collect();
        assert_eq!(lanes, [2, 3, 0, 1, 2, 3]);
    }
}
