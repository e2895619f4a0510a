//! `cargo bench -p twinlog-benches --bench link`: see the module of that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinlog_benches::link::main()
}
