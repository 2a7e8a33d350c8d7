//! Tests of what a user can see: the command line, the files, and what is left after a failure.
//! The unit tests beside the code know what is inside; these only run the two programs.
//!
//! What belongs where, under `cli/`:
//! - `common`: a folder of its own for every test, the ways to run the programs, shared runs;
//! - `made_runs`: runs that no training made, for tests of what only reads them;
//! - `bad_input`: corpora, flags and prompts that are wrong;
//! - `model_files`: model files that are damaged, foreign or newer;
//! - `run_folders`: runs that are locked, half written, cannot be written, or meet a full disk;
//! - `installation`: what the programs are linked with, and what happens where a part is missing;
//! - `vocab`, `train`, `generate`, `eval`, `score`, `novelty`, `export`: each command as it should work;
//! - `compress`: files made small and got back, and what is refused;
//! - `eval_text`, `score_text`: the same for texts that no run holds, and several models;
//! - `steering`: `generate` where more than the model has a say; `chat`: texts written in turn;
//! - `sweep`: several trainings that differ in one setting;
//! - `latent`: the commands that walk in a word-vae's latent space;
//! - `latent_refusals`: what these refuse;
//! - `interrupted`: Ctrl-C, a killed trainer, and going on after both;
//! - `golden`: a committed model must say the same for good;
//! - `tour`: the commands of the README; `quality`: those of docs/quality.md.
//!
//! `textgen-torch` must stand beside `textgen`, where `make build` puts it; `make test` sees to that.

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/chat.rs"]
mod chat;
#[path = "cli/common.rs"]
mod common;
#[path = "cli/compress.rs"]
mod compress;
#[path = "cli/eval.rs"]
mod eval;
#[path = "cli/eval_text.rs"]
mod eval_text;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/generate.rs"]
mod generate;
#[path = "cli/golden.rs"]
mod golden;
#[path = "cli/installation.rs"]
mod installation;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/latent.rs"]
mod latent;
#[path = "cli/latent_refusals.rs"]
mod latent_refusals;
#[path = "cli/made_runs.rs"]
mod made_runs;
#[path = "cli/model_files.rs"]
mod model_files;
#[path = "cli/novelty.rs"]
mod novelty;
#[path = "cli/quality.rs"]
mod quality;
#[path = "cli/run_folders.rs"]
mod run_folders;
#[path = "cli/safetensors_file.rs"]
mod safetensors_file;
#[path = "cli/score.rs"]
mod score;
#[path = "cli/score_text.rs"]
mod score_text;
#[path = "cli/steering.rs"]
mod steering;
#[path = "cli/sweep.rs"]
mod sweep;
#[path = "cli/tour.rs"]
mod tour;
#[path = "cli/train.rs"]
mod train;
#[path = "cli/vocab.rs"]
mod vocab;
