//! What a ratio does not show; see the library's module.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinlog_benches::marks::main()
}
