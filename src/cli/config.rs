//! `twinlog config`: which keys there are, and what is in effect.

use clap::{Args, Subcommand};
use twinlog_core::report::Failures;

use super::Exit;
use super::output;

/// Which keys the configuration has, and what is in effect
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  twinlog config show --defaults
  twinlog config schema > twinlog.schema.json
  twinlog config reference")]
pub(super) struct ConfigArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The configuration as it stands in its file, after a check; what it refers to is not shown
    Show {
        /// With the keys that do not stand there and have a default
        #[arg(long)]
        defaults: bool,
    },
    /// The JSON Schema of the file, for editors and checks
    Schema,
    /// All keys with defaults, limits and meaning, as Markdown
    Reference,
}

pub(super) fn run(file: Option<&std::path::Path>, arguments: &ConfigArguments) -> Result<Exit, Failures> {
    let text = match arguments.what {
        What::Show { defaults } => twinlog_config::show(file, defaults)?,
        What::Schema => format!("{:#}\n", twinlog_config::schema()),
        What::Reference => twinlog_config::reference_page(),
    };
    output::print_text(&text)?;
    Ok(Exit::Fine)
}
