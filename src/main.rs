//! The command line of textgen.

mod cli;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use textgen::text::TextError;

#[derive(Parser)]
#[command(name = "textgen", version)]
enum Command {
    /// Reports the characters of a corpus and writes its vocabulary for `train`.
    Vocab(cli::vocab::VocabArgs),
}

fn main() -> ExitCode {
    let Command::Vocab(args) = Command::parse();
    match cli::vocab::run(&args, Path::new("runs")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let closed = error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            if closed {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {error:#}");
            if let Some(hint) = error.downcast_ref::<TextError>().and_then(TextError::hint) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}
