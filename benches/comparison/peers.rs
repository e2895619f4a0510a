//! How the contenders are built and set up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use twinlog_testcontainers::{Cache, Error, Finder, Folder, Program};

use super::contender::Task;

const BUILD_WITHIN: Duration = Duration::from_secs(600);
const GO_FILES: [&str; 3] = [
    include_str!("peers/franz-go/go.mod"),
    include_str!("peers/franz-go/go.sum"),
    include_str!("peers/franz-go/main.go"),
];

/// twinlog's configuration: all defaults.
pub(super) fn twinlog(task: &Task<'_>) -> String {
    let Task { clusters, topic, name, .. } = task;
    format!(
        "clusters:\n  a: {{ bootstrap: {:?} }}\n  b: {{ bootstrap: {:?} }}\nlinks:\n  {name}:\n    source: a\n    \
         target: b\n    topics: {{ include: [{topic}], rename: '{{topic}}.{name}' }}\n",
        clusters.source.bootstrap(),
        clusters.target.bootstrap(),
    )
}

/// MirrorMaker 2's properties: of what costs something without a copy (heartbeats, checkpoints) nothing.
pub(super) fn mirror_maker(task: &Task<'_>, is_tuned: bool) -> BTreeMap<String, String> {
    let Task { clusters, topic, name, .. } = task;
    let mut properties = BTreeMap::from([
        ("clusters".to_owned(), format!("{name}, b")),
        (format!("{name}.bootstrap.servers"), clusters.source.bootstrap_text()),
        ("b.bootstrap.servers".to_owned(), clusters.target.bootstrap_text()),
        (format!("{name}->b.enabled"), "true".to_owned()),
        (format!("{name}->b.topics"), (*topic).to_owned()),
        (format!("b->{name}.enabled"), "false".to_owned()),
        ("emit.heartbeats.enabled".to_owned(), "false".to_owned()),
        ("emit.checkpoints.enabled".to_owned(), "false".to_owned()),
    ]);
    for topics in ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."] {
        properties.insert(format!("{topics}replication.factor"), "1".to_owned());
    }
    for storage in ["offset", "status", "config"] {
        properties.insert(format!("{storage}.storage.replication.factor"), "1".to_owned());
    }
    if is_tuned {
        let mut set = |key: String, value: &str| properties.insert(key, value.to_owned());
        set("tasks.max".to_owned(), "4");
        set("b.producer.compression.type".to_owned(), "zstd");
        set("b.producer.batch.size".to_owned(), "524288");
        set("b.producer.linger.ms".to_owned(), "20");
        set("b.producer.buffer.memory".to_owned(), "134217728");
        set(format!("{name}.consumer.max.poll.records"), "10000");
        set(format!("{name}.consumer.fetch.max.bytes"), "52428800");
        set(format!("{name}.consumer.max.partition.fetch.bytes"), "4194304");
    }
    properties
}

/// The copier on franz-go, from the cache if it is there; an error where Go or its modules are missing.
pub(super) fn build_franz_go() -> Result<PathBuf, Error> {
    let go = Finder::from_env().needed("go", "Go 1.26 or newer", "see go.dev/dl")?;
    let built = Cache::from_env()?.of("franz-go-copier", &GO_FILES, |folder| {
        let code = Path::new(env!("CARGO_MANIFEST_DIR")).join("comparison/peers/franz-go");
        let (code, program) = (code.to_string_lossy(), folder.join("copier"));
        let words = ["-C", &code, "build", "-mod=readonly", "-o", &program.to_string_lossy(), "."];
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = Folder::new("franz-go-copier")?;
        let mut build = Program::start("go", &go, &words, &[("PATH", &path), ("CGO_ENABLED", "0")], &folder)?;
        build.finish(BUILD_WITHIN).map(drop)
    })?;
    Ok(built.join("copier"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_of_the_copier_is_pinned_by_a_checksum() {
        let [modules, sums, _] = GO_FILES;
        let modules: Vec<_> = modules.lines().filter_map(|line| line.split_once("github.com/")).collect();
        assert!(modules.iter().any(|(_, module)| module.starts_with("twmb/franz-go v")), "{modules:?}");
        for (_, module) in modules {
            let words: Vec<&str> = module.split_whitespace().take(2).collect();
            assert!(sums.contains(&format!("github.com/{} h1:", words.join(" "))), "no checksum of {module}");
        }
    }
}
