//! Named points at which a test can end the process at once, as kill -9 would. Compiled only with the feature
//! `failpoints`; without it [`hit`] is empty.

/// After the lane's fence was committed, before its markers were seen.
pub(crate) const AFTER_FENCE: &str = "after-fence";
/// While the tail of a mirror is read.
pub(crate) const DURING_RECOVERY: &str = "during-recovery";
/// After a batch was written to the socket, before its answer is looked at.
pub(crate) const AFTER_PRODUCE: &str = "after-produce";
/// After answers were taken, before the map's record that follows from them is sent.
pub(crate) const BEFORE_MAP_WRITE: &str = "before-map-write";
/// After what is to be written of groups was kept in mind, before it is committed.
pub(crate) const BEFORE_GROUP_COMMIT: &str = "before-group-commit";
/// After positions of groups were committed, before that is known.
pub(crate) const AFTER_GROUP_COMMIT: &str = "after-group-commit";

/// Aborts if `TWINLOG_FAILPOINT` is `<name>` or `<name>:<n>` and this is the n-th time (from 1) that the point is hit.
#[cfg(feature = "failpoints")]
pub(crate) fn hit(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = std::env::var("TWINLOG_FAILPOINT").ok()?;
        let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    static HITS: AtomicU64 = AtomicU64::new(0);
    let Some((wanted, count)) = WANTED.as_ref() else { return };
    if wanted == name && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        std::process::abort();
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) fn hit(_name: &str) {}
