//! Configuration files, which people write and templates make.

use std::env::VarError;
use std::io;
use std::path::Path;

use twinlog_config::Surroundings;
use twinlog_core::config::{Config, LANES_MAX, LinkConfig};
use twinlog_core::report::FailureKind;
use twinlog_core::topics::is_legal_topic_name;

/// A longer file could hold more large patterns than a fuzzer's memory takes.
const LENGTH_MAX: usize = 1024;

/// A file is refused with the place of whatever is wrong, or it is one that a link can run with.
pub(super) fn file(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if text.len() > LENGTH_MAX {
        return;
    }
    let variable = |name: &str| match name {
        "A" => Ok("a:1".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let open = |path: &Path| match path.to_str() {
        Some("b") => Ok(Box::new(&b"b:2\n"[..]) as Box<dyn io::Read>),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let surroundings = Surroundings { variable: &variable, open: &open };
    match twinlog_config::read(Path::new("f"), text, &surroundings) {
        Ok(config) => config.links.values().for_each(|link| assert_sound(&config, link)),
        Err(failures) => {
            assert!(!failures.0.is_empty(), "refused without a word");
            for failure in &failures.0 {
                assert_eq!(failure.kind, FailureKind::Usage);
                assert!(failure.what.starts_with("f:"), "{failure}");
            }
        }
    }
}

/// What the link takes for granted.
fn assert_sound(config: &Config, link: &LinkConfig) {
    assert_ne!(link.source, link.target);
    for name in [&link.source, &link.target] {
        assert!(!config.clusters[name].bootstrap.is_empty());
    }
    let fetch = &link.fetch;
    assert!(fetch.partition_max_bytes <= fetch.max_bytes, "{fetch:?}");
    assert!(u64::try_from(fetch.max_bytes).is_ok_and(|bytes| bytes <= link.budget_bytes), "{fetch:?}");
    assert!((1..=LANES_MAX).contains(&link.lanes), "{}", link.lanes);
    let selection = link.topics.select(&link.source, ["a", "b.c", "__consumer_offsets"]);
    for mirror in &selection.mirrors {
        let name = &mirror.target_topic;
        assert!(is_legal_topic_name(name) && !name.starts_with("__twinlog."), "{name}");
    }
    for pair in selection.mirrors.windows(2) {
        assert_ne!(pair[0].target_topic, pair[1].target_topic);
    }
}
