//! Every change of a file that a run makes goes wrong once, in every way; and the power fails at each. What the user
//! does then, which is to type the same commands again, leads to what it would have led to without.
//!
//! A part of the points is tried in every test; `make torture` tries all of them.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use super::interrupted::{counters, ended_alike};
use super::*;
use crate::run::RunError;
use crate::run::disk::faults::{Done, Fault, Platter, Tree, Watched, lay};
use crate::train::TrainError;

/// Steps of a training, and when it has been extended.
const BUDGETS: [u64; 2] = [8, 16];
/// Without `TEXTGEN_TORTURE`, one point of so many is tried.
const SAMPLED: usize = 31;

/// Whether a point of a case is tried.
fn is_tried(point: usize, case: usize) -> bool {
    let is_all = std::env::var_os("TEXTGEN_TORTURE").is_some();
    is_all || (point + 5 * case).is_multiple_of(SAMPLED)
}

/// A training with everything that depends on an evaluation, and a point at which it is saved between two of them.
struct Case {
    config: TrainConfig,
    /// Whether a recent state is saved after every step.
    is_recent: bool,
}

fn cases() -> Vec<Case> {
    let changes =
        "schedule=plateau decay=0.5 ema=0.9 sample-every=1 eval-every=4 lr=0.5 hidden=8 layers=1";
    let case = |config: &TrainConfig, more: &str, is_recent| Case {
        config: with(&with(config, changes), more),
        is_recent,
    };
    let words = with(&word_config(), "latent=2 embedding=4");
    vec![
        case(&text_config(), "patience=0", false),
        case(&text_config(), "patience=2", true),
        case(&words, "patience=2", false),
        case(&words, "save-every=3 patience=0", false),
    ]
}

fn corpus(config: &TrainConfig) -> &'static CorpusData {
    static TEXT: OnceLock<CorpusData> = OnceLock::new();
    static WORDS: OnceLock<CorpusData> = OnceLock::new();
    match config.kind() {
        ModelKind::CharRnn => TEXT.get_or_init(|| CorpusData::Text(text_data(1500))),
        ModelKind::WordVae => WORDS.get_or_init(|| CorpusData::Words(word_data(config))),
    }
}

/// What `textgen train --resume` does.
fn resume(run: &RunDir, case: &Case) -> Result<(), TrainError> {
    let _lock = run.lock()?;
    let train = || {
        let mut trainer = Trainer::new(run, &native, |_| ())?;
        if case.is_recent {
            trainer.unsaved = Duration::ZERO;
        }
        trainer.resume()?;
        run.forget_failure()?;
        trainer.train(&GO)
    };
    let outcome = train();
    if let Err(error) = &outcome {
        run.record_failure(&error.to_string());
        run.discard_unstarted();
    }
    outcome.map(|_| ())
}

/// What a user does: creates a run, trains it, and trains it for longer. What is done already is left out.
fn live(folder: &Path, case: &Case) -> Result<(), TrainError> {
    let runs = Runs::new(folder.join("runs"));
    let run = match runs.open("a") {
        Err(RunError::NoSuchRun { .. }) => {
            let config = constant(&case.config, BUDGETS[0]);
            let corpus = match corpus(&config) {
                // As from a file, which the run then shares.
                CorpusData::Text(text) => {
                    let (vocabulary, len) = (text.vocabulary.clone(), text.tokens.len());
                    CorpusData::Text(TextData::written(runs.dir(), vocabulary, len, |writer| {
                        let pack = writer.packer();
                        writer.push(&pack(&text.tokens.all()?))
                    })?)
                }
                words @ CorpusData::Words(_) => words.clone(),
            };
            runs.create("a", &config, &corpus, None)?
        }
        opened => opened?,
    };
    for steps in BUDGETS {
        let config = constant(&case.config, steps);
        let now = run.config()?;
        if now.budget == Budget::Steps(BUDGETS[1]) && steps < BUDGETS[1] {
            continue;
        }
        if now != config {
            run.set_config(&config)?;
        }
        if !run.has_finished()? {
            resume(&run, case)?;
        }
    }
    Ok(())
}

/// The settings with another budget.
fn constant(config: &TrainConfig, steps: u64) -> TrainConfig {
    TrainConfig {
        budget: Budget::Steps(steps),
        ..config.clone()
    }
}

/// A folder that nothing has gone wrong in.
struct Whole {
    folder: tempfile::TempDir,
    journal: Vec<Done>,
}

fn run_in(folder: &Path) -> RunDir {
    Runs::new(folder.join("runs")).open("a").expect("a run")
}

impl Whole {
    fn new(case: &Case) -> Self {
        let (folder, path) = empty();
        let watched = Watched::new(&path, None);
        live(&path, case).expect("trained");
        let journal = watched.journal();
        Self { folder, journal }
    }

    /// Asserts that a folder, once the user goes on in it, has the same run in the end.
    #[track_caller]
    fn is_reached_from(&self, folder: &Path, case: &Case, what: &str) {
        if let Err(error) = live(folder, case) {
            panic!("{what}: {}", chain(&error));
        }
        let [run, whole] = [folder, self.folder.path()].map(run_in);
        println!("{what}");
        ended_alike(&run, &whole);
        assert_eq!(counters(&run), counters(&whole), "{what}");
        assert_eq!(run.failure(), None, "{what}");
    }
}

fn empty() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().canonicalize().expect("there");
    (folder, path)
}

/// An error as a user reads it.
fn chain(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn whatever_change_of_a_file_goes_wrong_the_same_commands_lead_to_the_same_end() {
    let (mut dead, mut failed, mut passed) = (0, 0, 0);
    for (number, case) in cases().iter().enumerate() {
        let whole = Whole::new(case);
        for point in (0..).filter(|&point| is_tried(point, number)) {
            let mut is_over = true;
            for fault in [Fault::Dies, Fault::Short, Fault::Broken, Fault::Full] {
                let what = format!("case {number}, change {point}, {fault:?}");
                let (_folder, path) = empty();
                let watched = Watched::new(&path, Some((point, fault)));
                let outcome = live(&path, case);
                is_over &= !watched.has_failed();
                drop(watched);
                match (&outcome, fault) {
                    (_, Fault::Dies | Fault::Short) => dead += 1,
                    (Ok(()), _) => passed += 1,
                    (Err(error), _) => {
                        failed += 1;
                        let message = chain(error);
                        assert!(
                            message.contains(&*path.to_string_lossy())
                                && !message.contains(".textgen-")
                                && !message.contains('\n'),
                            "{what}: {message}"
                        );
                        println!("{what}: {message}");
                        leaves_no_draft(&path, &what);
                    }
                }
                whole.is_reached_from(&path, case, &what);
            }
            if is_over {
                break;
            }
        }
    }
    println!("{dead} deaths, {failed} errors and {passed} faults that did no harm");
    assert!(dead > 10 && failed > 5);
}

/// Asserts that there are no temporary files.
#[track_caller]
fn leaves_no_draft(folder: &Path, what: &str) {
    for folder in [folder.join("runs"), folder.join("runs/a")] {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let left = names.find(|name| name.starts_with(".textgen-"));
        assert_eq!(left, None, "{what}");
    }
}

/// What a power failure may leave after these changes: of those that are not synced nothing, each but one, only one, and
/// some by chance.
fn left_after(changes: &[Done]) -> Vec<Tree> {
    let disk = Platter::after(changes);
    let pending = disk.pending();
    let mut left = vec![disk.lose(|_| false), disk.lose(|_| true)];
    for edit in 0..pending {
        left.push(disk.lose(|other| other != edit));
        left.push(disk.lose(|other| other == edit));
    }
    // Multiplicative hashing (Knuth, The Art of Computer Programming 3, 6.4) by the point and the try.
    let chance = |seed: usize, edit: usize| (seed * 1000 + edit + 1) as u64 * 0x9E37_79B9_7F4A_7C15;
    let tries = changes.len() * 4..changes.len() * 4 + 4;
    left.extend(tries.map(|seed| disk.lose(|edit| chance(seed, edit) >> 63 == 0)));
    left
}

/// The tree without the content of drafts, which nobody reads.
fn essence(tree: &Tree) -> Tree {
    let is_draft = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(".textgen-")
    };
    let plain = |(path, bytes): (&std::path::PathBuf, &Option<Vec<u8>>)| {
        let bytes = bytes.clone().filter(|_| !is_draft(path));
        (path.clone(), bytes)
    };
    tree.iter().map(plain).collect()
}

#[test]
fn wherever_the_power_fails_the_same_commands_lead_to_the_same_end() {
    let (mut failures, mut different) = (0, 0);
    for (number, case) in cases().iter().enumerate() {
        let whole = Whole::new(case);
        let mut seen = BTreeSet::new();
        for point in (0..=whole.journal.len()).filter(|&point| is_tried(point, number)) {
            for (index, tree) in left_after(&whole.journal[..point]).iter().enumerate() {
                failures += 1;
                if !seen.insert(essence(tree)) {
                    continue;
                }
                different += 1;
                let (_folder, path) = empty();
                lay(tree, &path);
                let what = format!("case {number}, after {point} changes, loss {index}");
                whole.is_reached_from(&path, case, &what);
            }
        }
    }
    println!("{failures} power failures that left {different} different folders");
    assert!(different > 20);
}
