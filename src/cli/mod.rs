//! The command line: the only code that prints.
//!
//! stdout carries data, stderr everything else. A command parses its flags into the library's
//! config types, calls the library, and shows what comes back.

mod chat;
mod chosen;
mod compress;
mod display;
mod doctor;
pub mod embedded;
pub mod error;
mod eval;
mod export;
mod from;
mod generate;
mod given;
mod import;
mod latent;
mod machine;
pub mod memory;
mod mixing;
mod novelty;
pub mod output;
mod page;
mod prepare;
mod progress;
mod reading;
mod report;
mod runs;
mod score;
mod settings_file;
mod shell;
pub mod signals;
mod svg;
mod sweep;
mod target;
mod train;
pub mod trainer;
pub mod training;
mod unknown;
mod vocab;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::run::Runs;
use clap::builder::{Resettable, StyledStr};
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use given::Given;
use shell::{candidates, completions, groups, man};

/// Trains generators of text at the level of characters, and generates.
#[derive(Parser)]
#[command(name = "textgen", version, max_term_width = 100)]
#[command(after_help = "A first session:
  textgen vocab fairy-tales.txt           look at a corpus, here the bundled one
  textgen train --model char-lstm         train a language model on it
  textgen generate --temperature 0.5      write a text with the newest run
  textgen train --model word-vae          train a model that invents words
  textgen generate --count 20             invent words

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 128 + N stopped by
signal N (130 by Ctrl-C, 143 by SIGTERM).")]
struct Cli {
    /// Folder of the runs.
    #[arg(
        long,
        global = true,
        env = Runs::DIR_VARIABLE,
        default_value = Runs::DEFAULT_DIR,
        value_name = "DIR"
    )]
    runs_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report the characters of a corpus and write its vocabulary.
    Vocab(vocab::VocabArgs),
    /// Train a model on a text or on words.
    #[command(after_long_help = train::long_help())]
    Train(Box<train::TrainArgs>),
    /// Train several models that differ in one setting, and compare them.
    Sweep(sweep::SweepArgs),
    /// Generate text or words with a trained model.
    Generate(Box<generate::GenerateArgs>),
    /// Write a text together with a char-lstm, taking turns.
    Chat(chat::ChatArgs),
    /// Print the latent vectors of words.
    Encode(latent::encode::EncodeArgs),
    /// Encode words with a word-vae and decode them again.
    Reconstruct(latent::reconstruct::ReconstructArgs),
    /// Interpolate between two words.
    Interpolate(latent::interpolate::InterpolateArgs),
    /// Answer what C is to, if A is to B.
    Analogy(latent::analogy::AnalogyArgs),
    /// List the words nearest to a word in the latent space.
    Neighbours(latent::neighbours::NeighboursArgs),
    /// Invent words that are similar to a word.
    Vary(latent::vary::VaryArgs),
    /// Draw the latent space of a word-vae as a picture.
    Map(latent::map::MapArgs),
    /// Measure a model on held-out or other text.
    Eval(eval::EvalArgs),
    /// Score characters, lines or words: what is unusual, who wrote it?
    Score(score::ScoreArgs),
    /// Compress a file without loss, at the model's bits per character.
    Compress(compress::pack::CompressArgs),
    /// Restore a compressed file, byte for byte.
    Decompress(compress::unpack::DecompressArgs),
    /// Measure how much of what a model writes is copied.
    Novelty(novelty::NoveltyArgs),
    /// Write a model to one file, in full or in eight bits.
    Export(export::ExportArgs),
    /// Make a model of a PyTorch checkpoint or a safetensors file.
    Import(import::ImportArgs),
    /// List runs, their progress and their losses.
    Runs(runs::RunsArgs),
    /// Show what trainings did and what their models learnt, as one page.
    Report(report::ReportArgs),
    /// Print the settings of a command, as a file for --config.
    Config(settings_file::ConfigArgs),
    /// Print the script that completes command lines in a shell.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    Man(man::ManArgs),
    /// Describe this installation and what it found on the machine.
    Doctor(doctor::DoctorArgs),
    /// Print what may come next on a command line, for the scripts of `completions`.
    #[command(name = "__complete", hide = true)]
    Complete(candidates::CompleteArgs),
}

/// Clap's matches of the command line, and the command that they were matched against.
fn matches<S: Into<OsString> + Clone>(
    line: impl IntoIterator<Item = S>,
) -> Result<(clap::Command, ArgMatches), clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(line)?;
    Ok((command, matches))
}

/// The command line, as it is parsed.
fn command() -> clap::Command {
    let command = with_paragraphs(with_negative_numbers(Cli::command()));
    groups::grouped(settings_file::with_flag(command))
}

/// Parses a command line, with the flags of a settings file if it names one.
fn parse(line: &[OsString]) -> anyhow::Result<(Cli, Given)> {
    let (mut command, mut matches) = matches(line)?;
    if let Some((line, file)) = settings_file::expanded(line.to_vec(), &command, &matches)? {
        (command, matches) = self::matches(&line).inspect_err(|_| settings_file::explain(&file))?;
    }
    let given = Given::of_subcommand(&command, &matches);
    let cli = Cli::from_arg_matches_mut(&mut matches);
    Ok((cli.map_err(|error| error.format(&mut command))?, given))
}

/// Reads a negative number as a value and not as a flag, so that the error is about the value.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let with = |arg: clap::Arg| {
        let takes = arg.get_action().takes_values() && !arg.is_require_equals_set();
        arg.allow_negative_numbers(takes)
    };
    command
        .mut_args(with)
        .mut_subcommands(with_negative_numbers)
}

/// Joins the lines of each paragraph below the options, so that clap wraps it where the terminal ends and not where
/// the source does.
fn with_paragraphs(command: clap::Command) -> clap::Command {
    let whole = |text: Option<&StyledStr>| {
        Resettable::from(text.map(|text| StyledStr::from(joined(&text.to_string()))))
    };
    let short = whole(command.get_after_help());
    let long = whole(command.get_after_long_help());
    command
        .after_help(short)
        .after_long_help(long)
        .mut_subcommands(with_paragraphs)
}

/// The text with each paragraph on one line. Indented lines, which are lists and examples, stay as they are.
fn joined(text: &str) -> String {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut joined = String::with_capacity(text.len());
    let mut last = "";
    for (index, line) in text.lines().enumerate() {
        if index > 0 {
            joined.push(if is_prose(last) && is_prose(line) {
                ' '
            } else {
                '\n'
            });
        }
        joined.push_str(line);
        last = line;
    }
    joined
}

/// The program: runs the command line that it was started with.
pub fn main() -> ExitCode {
    let line: Vec<OsString> = std::env::args_os().collect();
    ExitCode::from(run(&line))
}

/// Parses a command line, which begins with the name of the program, runs the command, reports its error, and returns the
/// exit code.
pub fn run(line: &[OsString]) -> u8 {
    signals::fail_at_the_size_limit();
    let (cli, given) = match parse(line) {
        Ok(parsed) => parsed,
        Err(error) => {
            return match error.downcast() {
                Ok(misuse) => error::misuse(misuse, &command(), line),
                Err(error) => error::code(&error),
            };
        }
    };
    let runs = Runs::new(&cli.runs_dir);
    let outcome = match &cli.command {
        Command::Vocab(args) => vocab::run(args, runs.dir()),
        Command::Train(args) => train::run(args, &runs),
        Command::Sweep(args) => sweep::run(args, &runs),
        Command::Generate(args) => generate::run(args, &runs, &given),
        Command::Chat(args) => chat::run(args, &runs),
        Command::Encode(args) => latent::encode::run(args, &runs),
        Command::Reconstruct(args) => latent::reconstruct::run(args, &runs),
        Command::Interpolate(args) => latent::interpolate::run(args, &runs),
        Command::Analogy(args) => latent::analogy::run(args, &runs),
        Command::Neighbours(args) => latent::neighbours::run(args, &runs),
        Command::Vary(args) => latent::vary::run(args, &runs),
        Command::Map(args) => latent::map::run(args, &runs),
        Command::Eval(args) => eval::run(args, &runs, &given),
        Command::Score(args) => score::run(args, &runs, &given),
        Command::Compress(args) => compress::pack::run(args, &runs),
        Command::Decompress(args) => compress::unpack::run(args, &runs),
        Command::Novelty(args) => novelty::run(args, &runs, &given),
        Command::Export(args) => export::run(args, &runs),
        Command::Import(args) => import::run(args, &runs),
        Command::Runs(args) => runs::run(args, &runs),
        Command::Report(args) => report::run(args, &runs),
        Command::Config(args) => settings_file::run(args, command()),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args, command()),
        Command::Doctor(args) => doctor::run(args, &runs),
        Command::Complete(args) => candidates::run(args, command(), &runs),
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => error::code(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_of_help_is_one_line_and_lists_and_examples_stay() {
        let text = "One\ntwo.\n\nA list:\n  a  one\n  b  two\nThen\nmore.\n";
        assert_eq!(
            joined(text),
            "One two.\n\nA list:\n  a  one\n  b  two\nThen more."
        );
    }

    #[test]
    fn no_word_of_a_help_stands_alone() {
        let mut command = command();
        command.build();
        for width in [60, 80, 100] {
            for one in command.get_subcommands_mut() {
                let help = one.clone().term_width(width).render_long_help().to_string();
                let lines: Vec<&str> = help.lines().collect();
                for pair in lines.windows(2) {
                    let is_prose = |line: &str| line.starts_with(char::is_alphanumeric);
                    let [line, next] = pair else { continue };
                    let word = next.split_whitespace().next().unwrap_or_default();
                    let fits = line.chars().count() + 1 + word.chars().count() < width;
                    assert!(
                        !(is_prose(line) && is_prose(next) && fits),
                        "{}: {line:?}, {next:?}",
                        one.get_name()
                    );
                }
            }
        }
    }
}
