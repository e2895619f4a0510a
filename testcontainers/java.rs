//! Finds Java, Maven and other programs, or says how to get them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Kafka 4 runs its brokers on Java 17 or newer.
const JAVA_MIN: u32 = 17;

/// Where programs are looked for.
#[derive(Debug, Clone, Default)]
pub struct Finder {
    java_home: Option<OsString>,
    path: OsString,
}

/// A Java that is new enough.
#[derive(Debug, Clone)]
pub struct Java {
    /// The `java` program.
    pub(crate) program: PathBuf,
}

impl Finder {
    /// Looks in `JAVA_HOME` and `PATH`.
    pub fn from_env() -> Self {
        let java_home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
        Self { java_home, path: std::env::var_os("PATH").unwrap_or_default() }
    }

    /// Looks in these folders only, separated as in `PATH`.
    pub fn in_path(path: impl Into<OsString>) -> Self {
        Self { java_home: None, path: path.into() }
    }

    /// A Java of version 17 or newer.
    pub fn java(&self) -> Result<Java> {
        let missing = |detail| Error::Missing {
            what: "Java 17 or newer",
            detail,
            install: "apt-get install openjdk-17-jdk-headless maven",
        };
        let home = self.java_home.as_ref().map(|home| Path::new(home).join("bin/java"));
        let program = home.filter(|java| java.is_file()).or_else(|| self.program("java"));
        let Some(program) = program else {
            return Err(missing("there is no `java` in JAVA_HOME or PATH".to_owned()));
        };
        let answer = Command::new(&program).arg("-version").stdin(Stdio::null()).output();
        let text = match answer {
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => return Err(missing(format!("{} fails: {error}", program.display()))),
        };
        match major(&text) {
            Some(version) if version >= JAVA_MIN => Ok(Java { program }),
            Some(version) => Err(missing(format!("{} is of version {version}", program.display()))),
            None => Err(missing(format!("{} tells no version: {text:?}", program.display()))),
        }
    }

    /// Java's compiler, beside Java itself.
    pub(crate) fn compiler(&self, java: &Java) -> Result<PathBuf> {
        // `java` is often a link: the compiler is beside the program it leads to.
        let real = java.program.canonicalize().unwrap_or_else(|_| java.program.clone());
        let beside = [&real, &java.program].map(|java| java.with_file_name("javac"));
        beside.into_iter().find(|javac| javac.is_file()).ok_or_else(|| Error::Missing {
            what: "Java's compiler",
            detail: format!("there is no `javac` beside {}", real.display()),
            install: "apt-get install openjdk-17-jdk-headless",
        })
    }

    /// Maven.
    pub(crate) fn maven(&self) -> Result<PathBuf> {
        self.program("mvn").ok_or_else(|| Error::Missing {
            what: "Maven",
            detail: "there is no `mvn` in PATH, and Kafka's jars are not in the cache".to_owned(),
            install: "apt-get install openjdk-17-jdk-headless maven",
        })
    }

    /// The program `name` in `PATH`; without one, an error that names it as `what` and says how to `install` it.
    pub fn needed(&self, name: &str, what: &'static str, install: &'static str) -> Result<PathBuf> {
        let detail = || format!("there is no `{name}` in PATH");
        self.program(name).ok_or_else(|| Error::Missing { what, detail: detail(), install })
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        let folders = std::env::split_paths(OsStr::new(&self.path));
        let mut files = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
        files.find(|file| file.is_file())
    }
}

/// The number before the first dot, or the one after it in versions such as 1.8.
fn major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    match numbers.next()?? {
        1 => numbers.next()?,
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use super::*;
    use crate::scratch::Scratch;

    fn fake_java(version: &str) -> (Arc<Scratch>, Finder) {
        let scratch = Arc::new(Scratch::new("java").unwrap());
        let file = scratch.path().join("java");
        std::fs::write(&file, format!("#!/bin/sh\necho 'java version {version}' >&2\n")).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let finder = Finder::in_path(scratch.path());
        (scratch, finder)
    }

    #[test]
    fn reads_old_new_and_early_versions() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major("java version \"1.8.0_381\""), Some(8));
        assert_eq!(major("openjdk version \"25-ea\" 2025-09-16"), Some(25));
        assert_eq!(major("openjdk version \"21\""), Some(21));
        assert_eq!(major("command not found"), None);
    }

    #[test]
    fn without_java_the_error_says_how_to_install_it() {
        let error = Finder::in_path("/nowhere").java().unwrap_err().to_string();
        assert!(error.contains("Java 17 or newer"), "{error}");
        assert!(error.contains("apt-get install openjdk-17-jdk-headless maven"), "{error}");
    }

    #[test]
    fn an_old_java_is_named_with_its_version() {
        let (_scratch, finder) = fake_java("\"11.0.2\"");
        let error = finder.java().unwrap_err().to_string();
        assert!(error.contains("is of version 11"), "{error}");
    }

    #[test]
    fn a_java_without_a_compiler_is_found_out() {
        let (_scratch, finder) = fake_java("\"21.0.2\"");
        let java = finder.java().unwrap();
        let error = finder.compiler(&java).unwrap_err().to_string();
        assert!(error.contains("apt-get install openjdk-17-jdk-headless"), "{error}");
    }

    #[test]
    fn any_other_missing_program_is_named_with_its_package() {
        let error = Finder::in_path("/nowhere").needed("kcat", "kcat", "apt-get install kcat").unwrap_err().to_string();
        assert!(error.contains("kcat is needed") && error.contains("`apt-get install kcat`"), "{error}");
    }

    #[test]
    fn without_maven_the_error_says_how_to_install_it() {
        let error = Finder::in_path("/nowhere").maven().unwrap_err().to_string();
        assert!(error.contains("Maven is needed"), "{error}");
        assert!(error.contains("apt-get install openjdk-17-jdk-headless maven"), "{error}");
    }
}
