//! `textgen sweep`: several trainings that differ in one setting.

mod axis;
mod curve;
mod rate;

use crate::run::Runs;
use anyhow::Result;
use clap::{Args, Subcommand};

/// Flags of `sweep`.
#[derive(Args)]
pub struct SweepArgs {
    #[command(subcommand)]
    over: Over,
}

#[derive(Subcommand)]
enum Over {
    /// Train a word-vae at several rates, and draw what each nat that z carries saves.
    Rate(Box<rate::RateArgs>),
}

/// Trains and compares.
pub fn run(args: &SweepArgs, runs: &Runs) -> Result<()> {
    match &args.over {
        Over::Rate(args) => rate::run(args, runs),
    }
}
