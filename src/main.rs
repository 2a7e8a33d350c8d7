//! The program `textgen`: everything it does is in [`textgen::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    textgen::cli::main()
}
