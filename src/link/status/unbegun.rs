//! What would stop mirrors that were never begun. An instance at work knows it and has no map entry to write it into,
//! so it is found out anew, as the instance does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use twinlog_client::Error;
use twinlog_core::claims::ClaimedTopic;
use twinlog_core::halt::Halt;
use twinlog_core::link_state::LinkState;

use crate::claims;
use crate::mirrors::Mirrors;
use crate::supervisor::LinkSetup;

/// Halts by source topic. Nothing is made, claimed or written.
pub(super) async fn halts(
    setup: &LinkSetup,
    state: &LinkState,
    unbegun: &BTreeSet<String>,
) -> Result<BTreeMap<String, Halt>, Error> {
    if unbegun.is_empty() {
        return Ok(BTreeMap::new());
    }
    let LinkSetup { name, config, source, target, .. } = setup;
    let mut mirrors = Mirrors::new(name, &config.source, config.clone(), source.clone(), target.clone());
    mirrors.decided(&Arc::new(state.resolutions().clone()));
    let round = mirrors.preview(unbegun).await?;
    let mut halts: BTreeMap<_, _> = round.stops.into_iter().map(|(key, halt)| (key.topic, halt)).collect();
    let metadata = target.metadata().await?;
    let claimed = |topic: &String| {
        let mirror = config.topics.rename.apply(&config.source, topic);
        let id = metadata.topics.get(&mirror)?.id_bytes();
        Some((topic.clone(), ClaimedTopic::new(&mirror, id)))
    };
    // As the link does: records in a mirror are another link's, if that has claimed it.
    let is_asked = |topic: &&String| halts.get(*topic).is_none_or(|halt| matches!(halt, Halt::TargetNotEmpty { .. }));
    let asked: BTreeMap<_, _> = unbegun.iter().filter(is_asked).filter_map(claimed).collect();
    for (topic, owner) in claims::owners(target, name, &asked).await? {
        if owner != *name {
            halts.insert(topic, Halt::Claimed { owner });
        }
    }
    Ok(halts)
}
