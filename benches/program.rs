//! The shipped binary: the one of a release build, without what tests switch on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names a binary that is there already, instead of a build.
pub(crate) const VARIABLE: &str = "TWINLOG_BENCH_PROGRAM";

/// Builds it (or takes what [`VARIABLE`] names), and tells where it is.
pub(crate) fn find() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return named.canonicalize().map_err(|error| format!("{VARIABLE}={}: {error}", named.display()));
    }
    // A build of this package alone: one of the whole workspace would take the features that tests need, too.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // What cargo tells the bench about itself would make it build crates anew whose scripts look at that.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|told| name.to_string_lossy().starts_with(told)) {
            build.env_remove(name);
        }
    }
    let built = build
        .args(["build", "--release", "--package", "twinlog", "--bin", "twinlog", "--message-format", "json"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !built.status.success() {
        return Err("the program cannot be built".to_owned());
    }
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "twinlog" && message["target"]["kind"][0] == "bin";
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    };
    let messages = String::from_utf8_lossy(&built.stdout);
    messages.lines().find_map(executable).ok_or_else(|| "cargo names no executable".to_owned())
}
