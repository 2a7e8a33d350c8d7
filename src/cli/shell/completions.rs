//! `textgen completions`: the scripts with which shells complete command lines. They ask the hidden command `__complete`
//! what may come next, so they need not be made anew with each version, and know the runs of the moment.

use std::io::Write as _;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::cli::output::stdout;

#[derive(Args)]
#[command(after_help = "\
Commands, flags, their values, runs, model files and corpora are completed. To install it:

  bash   textgen completions bash > ~/.local/share/bash-completion/completions/textgen
         (needs the package bash-completion), or, in ~/.bashrc:
         source <(textgen completions bash)
  zsh    textgen completions zsh > DIR/_textgen
         with a DIR of your fpath, before compinit is called, or, in ~/.zshrc, after it:
         source <(textgen completions zsh)
  fish   textgen completions fish > ~/.config/fish/completions/textgen.fish

A new shell has it. The scripts call the textgen that is on PATH.

Examples:
  textgen completions bash
  source <(textgen completions bash)")]
pub struct CompletionsArgs {
    /// The shell that the script is for
    shell: Shell,
}

/// A shell whose command lines can be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub fn run(args: &CompletionsArgs) -> Result<()> {
    let script = match args.shell {
        Shell::Bash => include_str!("completions/textgen.bash"),
        Shell::Zsh => include_str!("completions/textgen.zsh"),
        Shell::Fish => include_str!("completions/textgen.fish"),
    };
    let mut out = stdout();
    out.write_all(script.as_bytes())?;
    Ok(out.flush()?)
}
