//! What tests fetch or build once, in a cache that all tests of a machine share.
//!
//! The cache is `$TWINLOG_TEST_CACHE`, else `$XDG_CACHE_HOME/twinlog-tests`, else `~/.cache/twinlog-tests`. A folder
//! in it is made beside its place under a file lock and then renamed, so it is whole or not there, and two test
//! processes that start at once make it once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};

/// The cache.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

impl Cache {
    /// The one that the environment names.
    pub fn from_env() -> Result<Self> {
        let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        folder("TWINLOG_TEST_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("twinlog-tests")))
            .or_else(|| Some(folder("HOME")?.join(".cache/twinlog-tests")))
            .map(Self)
            .ok_or_else(|| Error::Argument("no cache: set TWINLOG_TEST_CACHE or HOME".to_owned()))
    }

    /// The one in this folder.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The folder of what these texts describe, made by `make` if it is not there. `make` gets a folder that is renamed
    /// when it is whole, so no path of it may be kept in what is made.
    pub fn of(&self, name: &str, texts: &[&str], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        // A separator that no text has: two splits of one text are two contents.
        let name = format!("{name}-{:016x}", fingerprint(texts.join("\0").as_bytes()));
        self.keep(&name, make)
    }

    /// The folder `name`, made by `make` if it is not there.
    pub(crate) fn keep(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let folder = self.0.join(name);
        if folder.is_dir() {
            return Ok(folder);
        }
        fs::create_dir_all(&self.0).doing(|| format!("make {}", self.0.display()))?;
        let lock = self.0.join(format!("{name}.lock"));
        let lock = File::create(&lock).doing(|| format!("make {}", lock.display()))?;
        lock.lock().doing(|| format!("lock {name}"))?;
        if folder.is_dir() {
            return Ok(folder);
        }
        // Left behind by a process that was killed while it held the lock.
        let part = self.0.join(format!("{name}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).doing(|| format!("remove {}", part.display()))?;
        }
        fs::create_dir(&part).doing(|| format!("make {}", part.display()))?;
        make(&part)?;
        fs::rename(&part, &folder).doing(|| format!("rename {}", part.display()))?;
        Ok(folder)
    }
}

/// FNV-1a: tells two contents apart, and is the same in every build.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;
    use crate::error::write;
    use crate::scratch::Scratch;

    #[test]
    fn a_folder_is_made_once_by_many_and_never_seen_half() {
        let scratch = Scratch::new("cache").unwrap();
        let cache = Cache::at(scratch.path());
        let made = AtomicU32::new(0);
        let make = |folder: &Path| {
            made.fetch_add(1, Ordering::Relaxed);
            write(folder.join("first"), "1")?;
            write(folder.join("second"), "2").map(drop)
        };
        thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    let folder = cache.keep("thing", make).unwrap();
                    assert!(folder.join("second").is_file());
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_made_anew() {
        let scratch = Scratch::new("cache").unwrap();
        fs::create_dir(scratch.path().join("thing.part")).unwrap();
        fs::write(scratch.path().join("thing.part/junk"), "").unwrap();
        let folder = Cache::at(scratch.path()).keep("thing", |_| Ok(())).unwrap();
        assert!(!folder.join("junk").exists());
    }

    #[test]
    fn a_failure_leaves_nothing_that_looks_whole() {
        let scratch = Scratch::new("cache").unwrap();
        let cache = Cache::at(scratch.path());
        let error = Error::Argument("no network".to_owned());
        cache.keep("thing", |_| Err(error)).unwrap_err();
        assert!(!scratch.path().join("thing").exists());
        cache.keep("thing", |_| Ok(())).unwrap();
    }

    #[test]
    fn other_contents_are_another_folder() {
        let scratch = Scratch::new("cache").unwrap();
        let cache = Cache::at(scratch.path());
        let of = |texts: &[&str]| cache.of("thing", texts, |_| Ok(())).unwrap();
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "b"]), of(&["a", "c"]));
    }
}
