//! The command line of textgen.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
