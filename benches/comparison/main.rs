//! `cargo bench -p twinlog-benches --bench comparison`: see the module of that name.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinlog_benches::comparison::main()
}
