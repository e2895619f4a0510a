//! Arguments in, exit code out. Each verb has its own file: its arguments, its question to the engine, its
//! answer as a table or as JSON. Data goes to stdout, words go to stderr.

mod bench;
mod check;
mod config;
mod demo;
mod doing;
mod exit;
mod groups;
mod lanes;
mod live;
mod numbers;
mod output;
mod reload;
mod resolve;
mod run;
mod signals;
mod status;
#[cfg(test)]
pub(crate) mod tests;
mod translate;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use twinlog_core::config::Config;
use twinlog_core::report::{Failure, FailureKind, Failures};

use crate::engine::NamedLink;
pub(crate) use exit::Exit;
use output::Format;

/// Keeps a second Kafka cluster as an exact twin of the first.
#[derive(Debug, Parser)]
#[command(name = "twinlog", version, disable_help_subcommand = true)]
struct Arguments {
    /// Configuration file [default: $TWINLOG_CONFIG, ./twinlog.yaml, /etc/twinlog/twinlog.yaml]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Form of the answer on stdout: for people, one JSON document, or one a line
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArguments),
    Status(status::StatusArguments),
    Groups(groups::GroupsArguments),
    Translate(translate::TranslateArguments),
    Verify(verify::VerifyArguments),
    Resolve(resolve::ResolveArguments),
    Lanes(lanes::LanesArguments),
    Check(check::CheckArguments),
    Config(config::ConfigArguments),
    Bench(bench::BenchArguments),
    Demo(demo::DemoArguments),
}

/// The verbs as `--help` groups them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("Run", &["run"]),
    ("Look", &["status", "groups", "translate", "verify"]),
    ("Decide", &["resolve", "lanes"]),
    ("Set up", &["config", "check", "bench", "demo"]),
];

/// What a verb needs besides its own arguments.
#[derive(Debug)]
struct Context {
    config: Config,
    format: Format,
}

impl Context {
    /// The links named, or all.
    fn links(&self, named: &[String]) -> Result<Vec<NamedLink<'_>>, Failures> {
        if named.is_empty() {
            return Ok(self
                .config
                .links
                .keys()
                .filter_map(|name| NamedLink::find(&self.config, name.as_str()))
                .collect());
        }
        let mut links = Vec::new();
        for name in named {
            let link = self.link(Some(name))?;
            // A name given twice is still one link.
            if links.iter().all(|other: &NamedLink<'_>| other.name != link.name) {
                links.push(link);
            }
        }
        Ok(links)
    }

    /// The link named, or the only one.
    fn link(&self, named: Option<&str>) -> Result<NamedLink<'_>, Failures> {
        let names: Vec<&str> = self.config.links.keys().map(|name| name.as_str()).collect();
        let name = match (named, names.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => *only,
            (None, _) => {
                let what = format!("the configuration has {} links: which one?", names.len());
                let failure = Failure::new(FailureKind::Usage, what);
                return Err(failure.advise(format!("name one: --link {}", names.join(", --link "))).into());
            }
        };
        NamedLink::find(&self.config, name).ok_or_else(|| {
            let failure = Failure::new(FailureKind::Usage, format!("there is no link `{name}`"));
            failure.advise(format!("links of this configuration: {}", names.join(", "))).into()
        })
    }
}

/// The command with its verbs in groups: the parser's own list would be one long column.
fn command() -> clap::Command {
    let command = Arguments::command();
    let mut verbs = String::new();
    for (title, names) in GROUPS {
        verbs.push_str(&format!("{title}:\n"));
        for verb in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            verbs.push_str(&format!("  {:<10} {about}\n", verb.get_name()));
        }
        verbs.push('\n');
    }
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}\n\n\
         Help on a verb, with examples: twinlog VERB --help\n\n{}\n",
        exit::EXIT_CODES_HELP
    );
    command.help_template(template)
}

pub(crate) fn main() -> Exit {
    // The parser prints its own errors, and ends with 2 for them.
    let matches = command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match start(arguments) {
        Ok(exit) => exit,
        Err(failures) => {
            let _broken_pipe = write!(std::io::stderr(), "{failures}");
            (&failures).into()
        }
    }
}

fn start(arguments: Arguments) -> Result<Exit, Failures> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        let failure = Failure::new(FailureKind::Refused, format!("cannot start the runtime: {error}"));
        failure.advise("raise the limits on threads and open files")
    })?;
    runtime.block_on(async {
        let (format, file) = (arguments.output, arguments.config.as_deref());
        let context = || {
            let config = twinlog_config::load(file)?.config;
            Ok::<_, Failures>(Context { config, format })
        };
        match &arguments.verb {
            Verb::Demo(arguments) => demo::run(arguments, format).await,
            Verb::Run(arguments) => run::run(twinlog_config::load(file)?, format, arguments).await,
            Verb::Status(arguments) => status::run(&context()?, arguments).await,
            Verb::Groups(arguments) => groups::run(&context()?, arguments).await,
            Verb::Translate(arguments) => translate::run(&context()?, arguments).await,
            Verb::Verify(arguments) => verify::run(&context()?, arguments).await,
            Verb::Resolve(arguments) => resolve::run(&context()?, arguments).await,
            Verb::Lanes(arguments) => lanes::run(&context()?, arguments).await,
            Verb::Config(config) => config::run(file, config),
            Verb::Check(arguments) => check::run(&context()?, arguments).await,
            Verb::Bench(arguments) => bench::run(&context()?, arguments).await,
        }
    })
}
