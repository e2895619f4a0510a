//! What is fetched is pinned by version and by checksum, so that a registry cannot change what a test runs.

/// Python's side.
pub(crate) const REQUIREMENTS: &str = include_str!("speakers/librdkafka/requirements.txt");
/// Go's side.
pub(crate) const GO_MOD: &str = include_str!("speakers/franz-go/go.mod");
pub(crate) const GO_SUM: &str = include_str!("speakers/franz-go/go.sum");
pub(crate) const GO_MAIN: &str = include_str!("speakers/franz-go/main.go");
/// Node's side.
pub(crate) const PACKAGE: &str = include_str!("speakers/kafkajs/package.json");
pub(crate) const LOCK: &str = include_str!("speakers/kafkajs/package-lock.json");
pub(crate) const JS_MAIN: &str = include_str!("speakers/kafkajs/speaker.js");

/// Every module that go.mod names has a checksum.
pub(crate) fn franz_go() {
    let modules: Vec<&str> = GO_MOD.lines().map(str::trim).filter(|line| line.contains(" v")).collect();
    assert!(modules.iter().any(|module| module.starts_with("github.com/twmb/franz-go v")), "{modules:?}");
    for module in modules {
        let words: Vec<&str> = module.split_whitespace().take(2).collect();
        assert!(GO_SUM.contains(&format!("{} h1:", words.join(" "))), "go.sum has no checksum of {module}");
    }
}

/// Every package is of one version and has a checksum, and no registry is named.
pub(crate) fn kafkajs() {
    let lock: serde_json::Value = serde_json::from_str(LOCK).expect("JSON");
    let package: serde_json::Value = serde_json::from_str(PACKAGE).expect("JSON");
    let packages = lock["packages"].as_object().expect("packages");
    for (name, version) in package["dependencies"].as_object().expect("dependencies") {
        let locked = &packages[&format!("node_modules/{name}")];
        assert_eq!(&locked["version"], version, "{name}");
    }
    for (name, locked) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        assert!(locked["integrity"].as_str().is_some_and(|sum| sum.starts_with("sha512-")), "{name}: {locked}");
        assert!(locked.get("resolved").is_none(), "{name} names a registry: {locked}");
    }
}
