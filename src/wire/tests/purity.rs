//! The crate is pure: nothing that it is built of does input or output, tells the time or draws at random.

use std::process::Command;

/// Every crate that twinlog-wire is built of, and what brings it. A new line needs a reason.
const ALLOWED: &[&str] = &[
    "twinlog-wire",
    // Ours: buffers, checksums, errors, topic ids.
    "bytes",
    "crc32c",
    "thiserror",
    "uuid",
    // All messages off the hot path, and what it brings.
    "kafka-protocol",
    "anyhow",
    "crc",
    "crc-catalog",
    "indexmap",
    "equivalent",
    "hashbrown",
    // Codecs: gzip, lz4, snappy in Rust; zstd is the C library (no Rust encoder is near it).
    "flate2",
    "crc32fast",
    "miniz_oxide",
    "adler2",
    "simd-adler32",
    "lz4_flex",
    "twox-hash",
    "snap",
    "zstd",
    "zstd-safe",
    "zstd-sys",
    "cfg-if",
];

#[test]
fn the_dependency_tree_has_no_runtime_no_sockets_and_no_randomness() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "twinlog-wire", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"kafka-protocol"), "the tree was read");
    let unknown: Vec<_> = crates.iter().filter(|name| !ALLOWED.contains(name)).collect();
    assert!(unknown.is_empty(), "not allowed in a pure crate: {unknown:?}");
    let gone: Vec<_> = ALLOWED.iter().filter(|name| !crates.contains(name)).collect();
    assert!(gone.is_empty(), "allowed, but no longer there: {gone:?}");
}
