//! Kafka's own tools, run against a cluster.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::{Error, Result, tail, text_of, write};
use crate::kit::{KafkaVersion, Kit};
use crate::scratch::Scratch;
use crate::supervised::{Launch, Supervised};

/// Kafka's own tools, run against a cluster. Each call is one Java process of about a second.
#[derive(Debug, Clone)]
pub struct KafkaTool {
    kit: Arc<Kit>,
    bootstrap: String,
    within: Duration,
}

/// What a tool wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl KafkaTool {
    /// The tools of the cluster's own release.
    pub fn new(cluster: &Cluster) -> Result<Self> {
        Ok(Self::at(Kit::install(cluster.version())?, cluster.bootstrap_text()))
    }

    /// The tools of this release, against any Kafka-compatible server, such as a proxy.
    pub fn at(kit: Arc<Kit>, bootstrap: impl Into<String>) -> Self {
        Self { kit, bootstrap: bootstrap.into(), within: Duration::from_secs(120) }
    }

    /// How long a tool may run; the default is two minutes.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs any main class with these arguments, as they are.
    pub fn run<A: AsRef<OsStr>>(&self, class: &str, args: &[A]) -> Result<Output> {
        self.run_with_input(class, args, "")
    }

    /// The same with this text as standard input.
    pub fn run_with_input<A>(&self, class: &str, args: &[A], input: &str) -> Result<Output>
    where
        A: AsRef<OsStr>,
    {
        let (status, output) = self.attempt(class, args, input)?;
        if status.success() {
            return Ok(output);
        }
        let Output { stdout, stderr } = output;
        Err(Error::Tool { tool: class.to_owned(), status: status.to_string(), stderr, stdout })
    }

    /// `kafka-topics.sh`: `--bootstrap-server` is added.
    pub fn topics<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        self.admin("org.apache.kafka.tools.TopicCommand", args)
    }

    /// `kafka-configs.sh`: `--bootstrap-server` is added.
    pub fn configs<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        self.admin("kafka.admin.ConfigCommand", args)
    }

    /// `kafka-consumer-groups.sh`: `--bootstrap-server` is added.
    pub fn consumer_groups<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        self.admin("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", args)
    }

    /// `kafka-get-offsets.sh`: `--bootstrap-server` is added.
    pub fn get_offsets<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        self.admin("org.apache.kafka.tools.GetOffsetShell", args)
    }

    /// `kafka-console-producer.sh`: each line is a record. Further arguments are such as
    /// `["--property", "parse.key=true"]`.
    pub fn console_produce<A>(&self, topic: &str, lines: &str, args: &[A]) -> Result<()>
    where
        A: AsRef<OsStr>,
    {
        let class = match self.kit.version() {
            KafkaVersion::V4_1_1 => "org.apache.kafka.tools.ConsoleProducer",
            KafkaVersion::V3_9_1 | KafkaVersion::V2_8_2 | KafkaVersion::V2_6_3 => "kafka.tools.ConsoleProducer",
        };
        let mut all = self.bootstrap_args();
        all.extend(["--topic".into(), topic.into()]);
        all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        let output = self.run_with_input(class, &all, lines)?;
        // It reports a record that was not accepted on standard error, and ends with success.
        if output.stderr.contains("ERROR") {
            let Output { stdout, stderr } = output;
            return Err(Error::Tool { tool: class.to_owned(), status: "success".into(), stderr, stdout });
        }
        Ok(())
    }

    /// `kafka-console-consumer.sh`, see [`ConsoleConsumer`].
    pub fn console_consume(&self, consumer: &ConsoleConsumer) -> Result<String> {
        let mut all = self.bootstrap_args();
        all.extend(consumer.args.iter().map(OsString::from));
        let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
        let (status, output) = self.attempt(class, &all, "")?;
        // With a time-out it ends with an error by design; its last words tell this end from others.
        if status.success() || (consumer.timeout && output.stderr.contains("Processed a total of")) {
            return Ok(output.stdout);
        }
        let Output { stdout, stderr } = output;
        Err(Error::Tool { tool: class.to_owned(), status: status.to_string(), stderr, stdout })
    }

    /// `kafka-producer-perf-test.sh` with these arguments, and `bootstrap.servers` added.
    pub fn producer_performance<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String> {
        let mut all: Vec<OsString> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let bootstrap = format!("bootstrap.servers={}", self.bootstrap);
        match all.iter().position(|arg| arg == "--producer-props") {
            Some(at) => all.insert(at + 1, bootstrap.into()),
            None => all.extend(["--producer-props".into(), bootstrap.into()]),
        }
        Ok(self.run("org.apache.kafka.tools.ProducerPerformance", &all)?.stdout)
    }

    /// `kafka-dump-log.sh` on one file, such as a partition's `00000000000000000000.log`.
    pub fn dump_log<A: AsRef<OsStr>>(&self, file: &Path, args: &[A]) -> Result<String> {
        let mut all = vec!["--files".into(), OsString::from(file)];
        all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        Ok(self.run("kafka.tools.DumpLogSegments", &all)?.stdout)
    }

    fn admin<A: AsRef<OsStr>>(&self, class: &str, args: &[A]) -> Result<String> {
        let mut all = self.bootstrap_args();
        all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        Ok(self.run(class, &all)?.stdout)
    }

    fn bootstrap_args(&self) -> Vec<OsString> {
        vec!["--bootstrap-server".into(), self.bootstrap.clone().into()]
    }

    fn attempt<A: AsRef<OsStr>>(
        &self,
        class: &str,
        args: &[A],
        input: &str,
    ) -> Result<(std::process::ExitStatus, Output)> {
        let scratch = Arc::new(Scratch::new("tool")?);
        let (out, err) = (scratch.path().join("out"), scratch.path().join("err"));
        let input = write(scratch.path().join("in"), input)?;
        let mut child = Supervised::start(Launch {
            program: self.kit.java().to_owned(),
            args: java_args(&self.kit, &scratch, class, args),
            env: Vec::new(),
            input: Some(input),
            output: Some(out.clone()),
            log: err.clone(),
            scratch: Arc::clone(&scratch),
        })?;
        let status = child.wait(self.within)?;
        let output = Output { stdout: text_of(&out), stderr: text_of(&err) };
        let status = status.ok_or_else(|| Error::TimedOut {
            what: format!("{class} ends"),
            within: self.within,
            log: tail(&format!("{}\n{}", output.stdout, output.stderr)),
        })?;
        Ok((status, output))
    }
}

/// The arguments that make `java` run a tool of Kafka's.
fn java_args<A: AsRef<OsStr>>(kit: &Kit, scratch: &Scratch, class: &str, args: &[A]) -> Vec<OsString> {
    let jvm = ["-Xmx512m", "-Xshare:auto", "-XX:-UsePerfData", "-XX:+UseSerialGC"];
    let mut all: Vec<OsString> = jvm.map(Into::into).to_vec();
    all.push("-XX:TieredStopAtLevel=1".into());
    all.push(scratch.jvm_tmpdir());
    all.push(kit.logging("tool.properties"));
    all.extend(["-cp".into(), kit.classpath().clone(), class.into()]);
    all.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
    all
}

/// What `kafka-console-consumer.sh` shall read and print: the values of a topic, unless told otherwise.
#[derive(Debug, Clone)]
#[must_use = "it is read by KafkaTool::console_consume"]
pub struct ConsoleConsumer {
    args: Vec<String>,
    timeout: bool,
}

impl ConsoleConsumer {
    /// Reads this topic from its end.
    pub fn new(topic: &str) -> Self {
        Self { args: vec!["--topic".to_owned(), topic.to_owned()], timeout: false }
    }

    /// Reads from the beginning.
    pub fn from_beginning(self) -> Self {
        self.arg("--from-beginning")
    }

    /// Leaves out records of open and aborted transactions.
    pub fn read_committed(self) -> Self {
        self.arg("--isolation-level").arg("read_committed")
    }

    /// Ends after this many records.
    pub fn max_messages(self, count: u64) -> Self {
        self.arg("--max-messages").arg(count.to_string())
    }

    /// Ends when no record came for this long. What was read until then is the answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = true;
        self.arg("--timeout-ms").arg(timeout.as_millis().to_string())
    }

    /// Reads as a member of this group.
    pub fn group(self, group: &str) -> Self {
        self.arg("--group").arg(group)
    }

    /// Prints one thing more for each record: `key`, `headers`, `timestamp`, `offset` or `partition`.
    pub fn print(self, what: &str) -> Self {
        self.property(&format!("print.{what}"), "true")
    }

    /// A property of the formatter, such as `key.separator`.
    pub fn property(self, key: &str, value: &str) -> Self {
        self.arg("--property").arg(format!("{key}={value}"))
    }

    /// Any other argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }
}
