//! Apache Kafka itself: its jars from Maven Central, in the cache that all tests of a machine share.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{Cache, fingerprint};
use crate::error::{Doing, Error, Result, tail, text_of, write};
use crate::java::{Finder, Java};
use crate::scratch::Scratch;
use crate::supervised::{Launch, Supervised};

const FETCH: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const FETCH_WITHIN: Duration = Duration::from_secs(600);
const FORMAT_WITHIN: Duration = Duration::from_secs(60);

/// A release of Apache Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KafkaVersion {
    /// 4.1.1: transactions of the second version (KIP-890), groups of KIP-848.
    #[default]
    V4_1_1,
    /// 3.9.1: the last line before 4, with the old wire versions.
    V3_9_1,
    /// 2.8.2 with ZooKeeper: keeps messages of the formats v0 and v1 in topics that ask for it.
    V2_8_2,
    /// 2.6.3 with ZooKeeper: the last line before Fetch v12 and topic ids.
    V2_6_3,
}

impl KafkaVersion {
    /// As in Maven's coordinates.
    pub fn text(self) -> &'static str {
        match self {
            Self::V4_1_1 => "4.1.1",
            Self::V3_9_1 => "3.9.1",
            Self::V2_8_2 => "2.8.2",
            Self::V2_6_3 => "2.6.3",
        }
    }

    /// Whether brokers are their own controllers (KRaft).
    pub(crate) fn has_kraft(self) -> bool {
        !matches!(self, Self::V2_8_2 | Self::V2_6_3)
    }

    /// What brokers and tools are made of.
    fn artifacts(self) -> &'static [&'static str] {
        match self {
            Self::V4_1_1 | Self::V3_9_1 => &["kafka_2.13", "kafka-tools", "connect-mirror", "connect-runtime"],
            Self::V2_8_2 | Self::V2_6_3 => &["kafka_2.13"],
        }
    }

    /// What writes the log. Kafka 3.9 brings reload4j itself and calls its classes; two bindings would quarrel.
    fn logging(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::V4_1_1 => &[
                ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.1"),
                ("org.apache.logging.log4j", "log4j-core", "2.25.1"),
            ],
            Self::V3_9_1 => &[],
            Self::V2_8_2 | Self::V2_6_3 => &[("org.slf4j", "slf4j-reload4j", "1.7.36")],
        }
    }
}

impl fmt::Display for KafkaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A release of Apache Kafka on this machine, with a Java to run it.
#[derive(Debug, Clone)]
pub struct Kit {
    version: KafkaVersion,
    finder: Finder,
    java: Java,
    folder: PathBuf,
    classpath: OsString,
}

impl Kit {
    /// Takes the release from the cache, or fetches it.
    pub fn install(version: KafkaVersion) -> Result<Arc<Self>> {
        Self::install_with(version, Finder::from_env(), &Cache::from_env()?)
    }

    /// The same with the programs of `finder` and the cache `cache`.
    pub fn install_with(version: KafkaVersion, finder: Finder, cache: &Cache) -> Result<Arc<Self>> {
        let java = finder.java()?;
        let pom = pom(version);
        let name = format!("kafka-{version}-{:08x}", fingerprint(pom.as_bytes()) as u32);
        let folder = cache.keep(&name, |folder| fetch(version, &pom, &finder, &java, folder))?;
        let classpath = classpath(&folder)?;
        Ok(Arc::new(Self { version, finder, java, folder, classpath }))
    }

    /// The release.
    pub fn version(&self) -> KafkaVersion {
        self.version
    }

    /// All jars, as Java's `-cp` wants them.
    pub fn classpath(&self) -> &OsString {
        &self.classpath
    }

    /// The same with a folder of classes before the jars.
    pub(crate) fn classpath_with(&self, classes: &Path) -> OsString {
        let mut path = OsString::from(classes);
        path.push(":");
        path.push(&self.classpath);
        path
    }

    /// The `java` program.
    pub fn java(&self) -> &Path {
        &self.java.program
    }

    /// The class whose `main` runs a broker, and all classes that it needs.
    pub(crate) fn broker(&self) -> Result<(&'static str, OsString)> {
        if self.version.has_kraft() {
            return Ok(("kafka.Kafka", self.classpath.clone()));
        }
        let source = include_str!("zookeeper/WithZooKeeper.java");
        let classes = self.compiled("zookeeper", &[("WithZooKeeper.java", source)])?;
        Ok(("WithZooKeeper", self.classpath_with(&classes)))
    }

    /// The records that a freshly formatted broker begins its metadata with. They name the newest features of the
    /// release and no node, so one format serves every broker, and saves a Java start for each.
    pub(crate) fn bootstrap_checkpoint(&self) -> PathBuf {
        self.folder.join("bootstrap.checkpoint")
    }

    /// The arguments that make `java` log to its standard output (a broker) or warnings to its standard error (a tool).
    pub(crate) fn logging(&self, file: &str) -> OsString {
        let option = match self.version {
            KafkaVersion::V4_1_1 => "-Dlog4j2.configurationFile=",
            KafkaVersion::V3_9_1 | KafkaVersion::V2_8_2 | KafkaVersion::V2_6_3 => "-Dlog4j.configuration=file:",
        };
        let mut option = OsString::from(option);
        option.push(self.folder.join(file));
        option
    }

    /// A folder of Java classes compiled from these sources against Kafka's jars, from the cache if it is there.
    pub(crate) fn compiled(&self, name: &str, sources: &[(&str, &str)]) -> Result<PathBuf> {
        let mut all = String::from(self.version.text());
        for (file, text) in sources {
            all.push_str(file);
            all.push_str(text);
        }
        let name = format!("{name}-{:016x}", fingerprint(all.as_bytes()));
        Cache::at(self.folder.parent().unwrap_or(&self.folder)).keep(&name, |folder| {
            let mut args: Vec<OsString> = vec!["-nowarn".into(), "-d".into(), folder.into()];
            args.extend(["-cp".into(), self.classpath.clone()]);
            for (file, text) in sources {
                args.push(write(folder.join(file), text)?.into());
            }
            run("javac", self.finder.compiler(&self.java)?, args, &self.java, FORMAT_WITHIN)
        })
    }
}

fn fetch(version: KafkaVersion, pom: &str, finder: &Finder, java: &Java, folder: &Path) -> Result<()> {
    let maven = finder.maven()?;
    let pom = write(folder.join("pom.xml"), pom)?;
    let mut output: OsString = "-DoutputDirectory=".into();
    output.push(folder.join("libs"));
    let args = vec!["-q".into(), "-B".into(), "-f".into(), pom.into(), FETCH.into(), output];
    run("mvn", maven, args, java, FETCH_WITHIN)?;
    for (file, text) in log_files(version) {
        write(folder.join(file), text)?;
    }
    if version.has_kraft() { format(folder, java) } else { Ok(()) }
}

/// Formats a node that is thrown away, for its bootstrap records.
fn format(folder: &Path, java: &Java) -> Result<()> {
    let data = folder.join("format");
    let properties = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:9\n\
         listeners=CONTROLLER://127.0.0.1:9,PLAINTEXT://127.0.0.1:10\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}\n",
        data.display()
    );
    let config = write(folder.join("format.properties"), properties)?;
    let mut args: Vec<OsString> = vec!["-cp".into(), classpath(folder)?];
    args.extend(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"].map(Into::into));
    args.push(config.into());
    run("kafka.tools.StorageTool", java.program.clone(), args, java, FORMAT_WITHIN)?;
    let made = data.join("bootstrap.checkpoint");
    fs::rename(&made, folder.join("bootstrap.checkpoint")).doing(|| format!("move {}", made.display()))?;
    fs::remove_dir_all(&data).doing(|| format!("remove {}", data.display()))
}

fn run(name: &str, program: PathBuf, args: Vec<OsString>, java: &Java, within: Duration) -> Result<()> {
    let scratch = Arc::new(Scratch::new("install")?);
    let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
    let home = std::env::var_os("HOME").unwrap_or_else(|| scratch.path().into());
    // Maven's script asks JAVA_HOME first: give it the Java that was checked.
    let real = java.program.canonicalize().unwrap_or_else(|_| java.program.clone());
    let java_home = real.parent().and_then(Path::parent).map(OsString::from).unwrap_or_default();
    let mut child = Supervised::start(Launch {
        program,
        args,
        env: vec![("JAVA_HOME", java_home), ("HOME", home)],
        input: Some("/dev/null".into()),
        output: Some(out.clone()),
        log: err.clone(),
        scratch,
    })?;
    let status = child.wait(within)?.ok_or_else(|| Error::TimedOut {
        what: format!("{name} ends"),
        within,
        log: tail(&text_of(&out)),
    })?;
    if status.success() {
        return Ok(());
    }
    let (stderr, stdout) = (text_of(&err), text_of(&out));
    Err(Error::Tool { tool: name.to_owned(), status: status.to_string(), stderr, stdout })
}

/// The jars in a fixed order: Java looks for a class in the first that has it.
fn classpath(folder: &Path) -> Result<OsString> {
    let libs = folder.join("libs");
    let entries = fs::read_dir(&libs).doing(|| format!("read {}", libs.display()))?;
    let mut jars = Vec::new();
    for entry in entries {
        jars.push(entry.doing(|| format!("read {}", libs.display()))?.path());
    }
    jars.sort();
    std::env::join_paths(jars).map_err(|error| Error::Argument(format!("{}: {error}", libs.display())))
}

fn pom(version: KafkaVersion) -> String {
    let number = version.text();
    let kafka = version.artifacts().iter().map(|artifact| ("org.apache.kafka", *artifact, number));
    let mut dependencies = String::new();
    for (group, artifact, version) in kafka.chain(version.logging().iter().copied()) {
        dependencies += &format!(
            "  <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>\n"
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n <modelVersion>4.0.0</modelVersion>\n \
         <groupId>twinlog</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>\n \
         <dependencies>\n{dependencies} </dependencies>\n</project>\n"
    )
}

fn log_files(version: KafkaVersion) -> [(&'static str, String); 2] {
    let of = |level: &str, stream: &str| match version {
        KafkaVersion::V4_1_1 => format!(
            "status=error\nappender.c.type=Console\nappender.c.name=C\nappender.c.target=SYSTEM_{stream}\n\
             appender.c.layout.type=PatternLayout\nappender.c.layout.pattern=[%d] %p %m (%c{{1}})%n\n\
             rootLogger.level={level}\nrootLogger.appenderRef.c.ref=C\n\
             logger.config.name=org.apache.kafka.common.config\nlogger.config.level=warn\n"
        ),
        KafkaVersion::V3_9_1 | KafkaVersion::V2_8_2 | KafkaVersion::V2_6_3 => format!(
            "log4j.rootLogger={level}, C\nlog4j.appender.C=org.apache.log4j.ConsoleAppender\n\
             log4j.appender.C.Target=System.{}\nlog4j.appender.C.layout=org.apache.log4j.PatternLayout\n\
             log4j.appender.C.layout.ConversionPattern=[%d] %p %m (%c{{1}})%n\n\
             log4j.logger.org.apache.kafka.common.config=WARN\nlog4j.logger.kafka.server.KafkaConfig=WARN\n",
            stream.to_lowercase()
        ),
    };
    [("broker.properties", of("info", "OUT")), ("tool.properties", of("warn", "ERR"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_maven_and_an_empty_cache_the_error_names_maven() {
        let scratch = Scratch::new("kit").unwrap();
        let java = Finder::from_env().java().unwrap();
        let finder = Finder::in_path(java.program.canonicalize().unwrap().parent().unwrap());
        let cache = Cache::at(scratch.path());
        let error = Kit::install_with(KafkaVersion::V4_1_1, finder, &cache).unwrap_err();
        assert!(error.to_string().contains("Maven is needed"), "{error}");
    }
}
