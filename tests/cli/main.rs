//! Tests of what a user can see: the command line, the files, and what is left after a failure.
//! The unit tests beside the code know what is inside; these only run the program.
//!
//! What belongs where, under `cli/`:
//! - `common`: a folder for each test, the ways to run the programs, shared runs;
//! - `made_runs`: runs created without training, for tests of commands that only read them;
//! - `bad_input`: corpora, flags and prompts that are wrong;
//! - `model_files`: model files that are damaged, foreign or newer;
//! - `run_folders`: runs that are locked, incomplete, cannot be written, or meet a full disk;
//! - `limits`: what the system refuses: threads, files, descriptors, memory; `messages`: what is said, whatever is given;
//! - `installation`: what the program is linked with, and errors if a part is missing;
//! - `corpora`: what a corpus can be, for every command that reads one;
//! - `vocab`, `train`, `generate`, `eval`, `score`, `novelty`, `export`: each command as it should work;
//! - `typed`: escapes, prompts and stop texts of `generate`; `requests`: its lines of JSON;
//! - `compress`: files compressed and restored, and refusals;
//! - `eval_text`, `score_text`: the same for texts that no run holds, and several models;
//! - `steering`: `generate` with limits, expressions and penalties; `chat`: texts written in turns;
//! - `report`: the pages on runs, and event files;
//! - `shell`: the list of commands, completion, manual pages, settings files, and JSON for scripts;
//! - `sweep`: several trainings that differ in one setting;
//! - `latent`: the commands that traverse a word-vae's latent space;
//! - `latent_refusals`: what these refuse;
//! - `interrupted`: Ctrl-C, a killed trainer, and going on after both;
//! - `golden`: a committed model must generate the same text in every version; `old_runs`: runs and files of older versions;
//! - `page`: models as web pages and modules, in node and in browsers;
//! - `exchange`: `import`, and `export` to ONNX, PyTorch and the Hub, held against onnxruntime and PyTorch;
//! - `tour`: the commands of the README; `quality`: those of docs/quality.md.

mod bad_input;
mod bundled;
mod chat;
mod common;
mod compress;
mod corpora;
mod documents;
mod eval;
mod eval_text;
mod exchange;
mod export;
mod generate;
mod golden;
mod golden_words;
mod installation;
mod interrupted;
mod latent;
mod latent_refusals;
mod limits;
mod made_runs;
mod messages;
mod model_files;
mod novelty;
mod old_runs;
mod page;
mod quality;
mod report;
mod requests;
mod run_folders;
mod safetensors_file;
mod score;
mod score_text;
mod shell;
mod steering;
mod sweep;
mod tour;
mod train;
mod typed;
mod vocab;
