//! twinlog keeps a second Kafka cluster as an exact twin of a first one.

mod bench;
mod cli;
mod control;
mod demo;
mod engine;
mod logging;

use std::process::ExitCode;

/// musl's own allocator takes several times as long, most of all where threads share it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let _logging = logging::begin();
    cli::main().into()
}
