//! twinlog keeps a second Kafka cluster as an exact twin of a first one.

mod bench;
mod cli;
mod control;
mod demo;
mod engine;
mod logging;

use std::process::ExitCode;

fn main() -> ExitCode {
    logging::begin();
    cli::main().into()
}
