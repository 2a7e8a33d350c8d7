//! The program `textgen`: everything it does is in [`textgen::cli`].

use std::process::ExitCode;

use textgen::cli::memory::OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

fn main() -> ExitCode {
    textgen::cli::main()
}
