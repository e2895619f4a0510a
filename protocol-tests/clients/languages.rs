//! What the speakers need, made once in the cache of all tests: librdkafka in a Python environment of its own,
//! franz-go by Go's compiler, kafkajs by npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use twinlog_testcontainers::{Cache, Dialogue, Error, Finder, Folder, Program, Result};

use crate::client::Skills;
use crate::pinned;
use crate::speaker::Speaker;

const INSTALL_WITHIN: Duration = Duration::from_secs(600);

const EVERYTHING: Skills = Skills {
    codecs: &["none", "gzip", "snappy", "lz4", "zstd"],
    idempotent: true,
    commits: true,
    aborts: true,
    timestamps: true,
    own_headers: true,
    empty: true,
    null_headers: true,
    shares: true,
};

/// librdkafka, by confluent-kafka.
pub(crate) fn librdkafka() -> Speaker {
    let started = || {
        let python = Finder::from_env().needed("python3", "Python 3.9 or newer", "apt-get install python3-venv")?;
        // A program in front of Python (pyenv, for one) leads to another Python tomorrow.
        let version = run("python", &python, &["-c", "import sys; print(sys.executable, sys.version)"])?;
        let venv = Cache::from_env()?.of("librdkafka", &[pinned::REQUIREMENTS, &version], |folder| {
            let venv = folder.join("venv");
            run("venv", &python, &["-m", "venv", text(&venv)?]).map_err(needs_venv)?;
            let wheels = folder.join("requirements.txt");
            write(&wheels, pinned::REQUIREMENTS)?;
            let pip = ["-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r"];
            let args: Vec<&str> = pip.into_iter().chain([text(&wheels)?]).collect();
            run("pip", &venv.join("bin/python"), &args).map(drop)
        })?;
        let script = speakers().join("librdkafka/speaker.py");
        speak("librdkafka", &venv.join("venv/bin/python"), &[text(&script)?])
    };
    Speaker::new(started().unwrap_or_else(|error: Error| panic!("{error}")), EVERYTHING)
}

/// franz-go.
pub(crate) fn franz_go() -> Speaker {
    let started = || {
        let go = Finder::from_env().needed("go", "Go 1.24 or newer", "apt-get install golang-go")?;
        let texts = [pinned::GO_MOD, pinned::GO_SUM, pinned::GO_MAIN];
        let built = Cache::from_env()?.of("franz-go", &texts, |folder| {
            let (code, program) = (speakers().join("franz-go"), folder.join("speaker"));
            run("go", &go, &["-C", text(&code)?, "build", "-mod=readonly", "-o", text(&program)?, "."]).map(drop)
        })?;
        speak("franz-go", &built.join("speaker"), &[])
    };
    Speaker::new(started().unwrap_or_else(|error: Error| panic!("{error}")), EVERYTHING)
}

/// kafkajs.
pub(crate) fn kafkajs() -> Speaker {
    let started = || {
        let install = "apt-get install nodejs npm";
        let node = Finder::from_env().needed("node", "Node.js 18 or newer", install)?;
        let npm = Finder::from_env().needed("npm", "npm", install)?;
        let files =
            [("package.json", pinned::PACKAGE), ("package-lock.json", pinned::LOCK), ("speaker.js", pinned::JS_MAIN)];
        let installed = Cache::from_env()?.of("kafkajs", &files.map(|(_, text)| text), |folder| {
            for (name, text) in files {
                write(&folder.join(name), text)?;
            }
            run("npm", &npm, &["ci", "--ignore-scripts", "--no-audit", "--prefix", text(folder)?]).map(drop)
        })?;
        speak("kafkajs", &node, &[text(&installed.join("speaker.js"))?])
    };
    // It has gzip, and snappy by a package; LZ4 and Zstandard would need compilers. A header is never null in it.
    let skills = Skills { codecs: &["none", "gzip", "snappy"], null_headers: false, ..EVERYTHING };
    Speaker::new(started().unwrap_or_else(|error: Error| panic!("{error}")), skills)
}

fn speakers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol-tests/clients/speakers")
}

fn speak(name: &str, program: &Path, args: &[&str]) -> Result<Dialogue> {
    Dialogue::start(name, program, args, &[], &Folder::new(name)?)
}

/// Runs a program to its end, which must be a success. It sees the test's own PATH: installers call others.
fn run(name: &str, program: &Path, args: &[&str]) -> Result<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = Folder::new(name)?;
    let mut program = Program::start(name, program, args, &[("PATH", &path), ("CGO_ENABLED", "0")], &folder)?;
    Ok(program.finish(INSTALL_WITHIN)?.stdout)
}

fn needs_venv(error: Error) -> Error {
    let words = "Python makes no environment; on Debian `apt-get install python3-venv`";
    Error::Argument(format!("{words}\n{error}"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|error| Error::Argument(format!("{}: {error}", file.display())))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::Argument(format!("{} is not UTF-8", path.display())))
}
