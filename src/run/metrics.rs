//! `metrics.jsonl`: one line per evaluation, for people, plots and `textgen runs`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RunError, atomic};
use crate::config::TrainConfig;

/// The `format` number of a line.
pub const METRICS_FORMAT: u32 = 1;

/// How much of a held-out part a loss is of, if not of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// The characters (char-lstm) or words (word-vae) that were predicted,
    pub counted: u64,
    /// and those of the whole part.
    pub of: u64,
}

/// The loss of a char-lstm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CharLoss {
    /// Cross-entropy, nats per token.
    pub loss_nats_per_char: f64,
    /// Cross-entropy, bits per token.
    pub loss_bits_per_char: f64,
    /// The sample that it is of; `None` if it is of the whole part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sampled>,
}

impl CharLoss {
    /// Creates the loss from nats per token.
    pub fn from_nats(loss_nats_per_char: f64) -> Self {
        Self {
            loss_nats_per_char,
            loss_bits_per_char: loss_nats_per_char / std::f64::consts::LN_2,
            sample: None,
        }
    }
}

/// The loss of a word-vae, averaged over words, at β = 1 with λ = 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordLoss {
    /// Reconstruction D, nats per word, including the end of the word.
    pub distortion_nats_per_word: f64,
    /// Divergence R = KL(q(z|x) ‖ p(z)), nats per word.
    pub rate_nats_per_word: f64,
    /// −ELBO = D + R, nats per word.
    pub neg_elbo_nats_per_word: f64,
    /// −ELBO per token, including the end of the word.
    pub neg_elbo_nats_per_char: f64,
    /// Latent dimensions with Var_x(μ_j(x)) > 0.01.
    pub active_units: usize,
    /// The sample of words that it is of; `None` if it is of the whole part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sampled>,
}

/// The loss on one part of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Evaluation {
    /// The loss of a char-lstm or char-gru.
    Char(CharLoss),
    /// The loss of a word-vae.
    Word(WordLoss),
}

impl Evaluation {
    /// The main figure: nats per character, or −ELBO in nats per word.
    pub fn figure(&self) -> f64 {
        match self {
            Self::Char(loss) => loss.loss_nats_per_char,
            Self::Word(loss) => loss.neg_elbo_nats_per_word,
        }
    }

    /// The loss by which models are chosen, lower is better: the main figure, or for a word-vae D + β·R, where
    /// R counts as no less than the free bits. Else a decoder that ignores z, such as one that still learns
    /// alone, would be chosen. With a target rate the newest model is kept instead, see
    /// [`TrainConfig::keeps_newest`].
    pub fn selection(&self, config: &TrainConfig) -> f64 {
        match self {
            Self::Char(_) => self.figure(),
            Self::Word(loss) => {
                let (beta, free) = config.word_vae().map_or((1.0, 0.0), |own| {
                    (own.beta, own.free_bits * own.latent as f64)
                });
                loss.distortion_nats_per_word + beta * loss.rate_nats_per_word.max(free)
            }
        }
    }

    /// The sample that it is of; `None` if it is of the whole part.
    pub const fn sample(&self) -> Option<Sampled> {
        match self {
            Self::Char(loss) => loss.sample,
            Self::Word(loss) => loss.sample,
        }
    }

    /// The loss as one line of text.
    pub fn describe(&self) -> String {
        let of = match (self, self.sample()) {
            (_, None) => String::new(),
            (Self::Char(_), Some(Sampled { counted, of })) => {
                format!(" (of a sample: {counted} of {of} characters)")
            }
            (Self::Word(_), Some(Sampled { counted, of })) => {
                format!(" (of a sample: {counted} of {of} words)")
            }
        };
        let loss = match self {
            Self::Char(loss) => format!(
                "{:.4} nats/char, {:.4} bits/char",
                loss.loss_nats_per_char, loss.loss_bits_per_char
            ),
            Self::Word(loss) => format!(
                "-ELBO {:.3} nats/word ({:.3} nats/char), D {:.3}, R {:.3}, {} active units",
                loss.neg_elbo_nats_per_word,
                loss.neg_elbo_nats_per_char,
                loss.distortion_nats_per_word,
                loss.rate_nats_per_word,
                loss.active_units
            ),
        };
        loss + &of
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Format number of the line.
    pub format: u32,
    /// Optimizer steps done so far.
    pub step: u64,
    /// Passes over the training text done.
    pub epoch: f64,
    /// Tokens trained on so far.
    pub chars: u64,
    /// Seconds of training, over all sessions.
    pub seconds: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean training loss since the last line, nats per character (char-lstm) or word (word-vae).
    pub train_loss: f64,
    /// Loss on the validation part, if there is one.
    pub valid: Option<Evaluation>,
    /// Loss of the best model on the validation part, on all of it if that takes no long time; in the last
    /// line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Evaluation>,
    /// Loss of the best model on the test part, in the last line only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Evaluation>,
    /// Tokens trained on per second since the last line.
    pub chars_per_second: f64,
    /// Whether training ended here, by its budget or its patience.
    #[serde(default)]
    pub finished: bool,
}

impl Metrics {
    /// The validation loss of the model that was saved, according to these lines.
    pub fn kept(lines: &[Self], config: &TrainConfig) -> Option<Evaluation> {
        if let Some(best) = lines.last().and_then(|line| line.best) {
            return Some(best);
        }
        let mut losses = lines.iter().filter_map(|line| line.valid);
        if config.keeps_newest() {
            return losses.next_back();
        }
        losses.min_by(|a, b| a.selection(config).total_cmp(&b.selection(config)))
    }

    fn to_line(&self, path: &Path) -> Result<String, RunError> {
        let line = serde_json::to_string(self);
        Ok(line.map_err(|error| RunError::damaged(path, error))? + "\n")
    }

    /// Appends the line to the log at `path`, and waits until it is on the disk.
    pub fn append(&self, path: &Path) -> Result<(), RunError> {
        atomic::append(path, self.to_line(path)?.as_bytes())
    }

    /// The lines of the log at `path`, without those that are damaged.
    pub fn read(path: &Path) -> Result<Vec<Self>, RunError> {
        Ok(Log::read(path)?.lines)
    }
}

/// The lines of a log, as far as they can be read.
#[derive(Debug, Default)]
pub struct Log {
    /// The lines that are whole.
    pub lines: Vec<Metrics>,
    /// The number of the first line that is damaged, from 1. The last one may be cut short, as by a crash.
    pub damaged: Option<usize>,
}

impl Log {
    /// Reads the log at `path`; one that does not exist has no lines.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(RunError::io(path)(error)),
        };
        let mut log = Self::default();
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut lines = bytes.split(|&byte| byte == b'\n').enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            match serde_json::from_slice(line) {
                Ok(line) => log.lines.push(line),
                Err(_) if lines.peek().is_none() => {}
                Err(_) => log.damaged = log.damaged.or(Some(number + 1)),
            }
        }
        Ok(log)
    }

    /// Makes the log at `path` say what a saved training has done, neither more nor less: `evaluations`, the last of
    /// which was `last`. A log with a damaged line is set aside first.
    pub fn follow(
        path: &Path,
        last: Option<&Metrics>,
        evaluations: u64,
    ) -> Result<Mended, RunError> {
        let Self { mut lines, damaged } = Self::read(path)?;
        lines.retain(|line| last.is_some_and(|last| line.step < last.step));
        lines.extend(last.cloned());
        let lines: Vec<_> = lines
            .iter()
            .map(|line| line.to_line(path))
            .collect::<Result<_, _>>()?;
        let mut mended = Mended {
            lines: lines.len() as u64,
            evaluations,
            path: path.to_owned(),
            damaged: None,
        };
        let there = std::fs::read(path).unwrap_or_default();
        if let Some(line) = damaged {
            mended.damaged = Some((line, set_aside(path, &there)?));
        }
        let text = lines.concat();
        // One that says it already is left alone, and where there is nothing to say none is made.
        if there != text.as_bytes() {
            atomic::write(path, &[text.as_bytes()])?;
        }
        Ok(mended)
    }
}

/// Keeps what a file has under another name, which it returns. The file stays until a new one takes its place.
fn set_aside(path: &Path, there: &[u8]) -> Result<PathBuf, RunError> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        PathBuf::from(name)
    };
    let free = (1..=u32::MAX).map(name).find(|path| !path.exists());
    let free = free.unwrap_or_else(|| name(0));
    atomic::write(&free, &[there])?;
    Ok(free)
}

/// What there was to mend in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The log.
    pub path: PathBuf,
    /// The number of its first damaged line, from 1, and where it was set aside.
    pub damaged: Option<(usize, PathBuf)>,
    /// The lines that it has now,
    pub lines: u64,
    /// and the evaluations that it should have had a line for.
    pub evaluations: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Metrics {
        Metrics {
            format: METRICS_FORMAT,
            step,
            epoch: 0.5,
            chars: 100,
            seconds: 1.0,
            lr: 0.1,
            train_loss: 2.0,
            valid: Some(Evaluation::Char(CharLoss::from_nats(1.5))),
            best: None,
            test: None,
            chars_per_second: 10.0,
            finished: false,
        }
    }

    #[test]
    fn lines_read_back_and_a_torn_last_line_is_passed_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        line(1).append(&path).expect("written");
        line(2).append(&path).expect("written");
        for torn in [&b"{\"step\":3,"[..], b"\0\0\0", b"\xff\n"] {
            let whole = std::fs::read(&path).expect("readable");
            std::fs::write(&path, [&whole, torn].concat()).expect("written");
            let log = Log::read(&path).expect("read");
            assert_eq!((log.lines, log.damaged), (vec![line(1), line(2)], None));
            std::fs::write(&path, whole).expect("written");
        }
    }

    #[test]
    fn a_log_follows_the_state_whatever_it_said_before() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        let text = |lines: &[Metrics]| -> String {
            let lines = lines.iter().map(|line| line.to_line(&path).expect("JSON"));
            lines.collect()
        };
        let finished = Metrics {
            finished: true,
            ..line(3)
        };
        let (one, both) = (text(&[line(1)]), text(&[line(1), line(3)]));
        // Behind the state, as it, ahead of it, with a line twice, finished too early, and cut short.
        for before in [
            one.clone(),
            both.clone(),
            text(&[line(1), line(3), line(5), line(7)]),
            text(&[line(1), line(3), line(3)]),
            text(&[line(1), finished]),
            format!("{one}{{\"step\""),
        ] {
            std::fs::write(&path, &before).expect("written");
            let mended = Log::follow(&path, Some(&line(3)), 2).expect("followed");
            assert_eq!(
                std::fs::read_to_string(&path).expect("there"),
                both,
                "{before}"
            );
            assert_eq!((mended.damaged, mended.lines), (None, 2));
        }
        let mended = Log::follow(&path, None, 0).expect("followed");
        assert_eq!(
            (Metrics::read(&path).expect("read").len(), mended.lines),
            (0, 0)
        );
        // A log that is gone comes back as far as the state knows it.
        std::fs::remove_file(&path).expect("removed");
        let mended = Log::follow(&path, Some(&line(3)), 2).expect("followed");
        assert_eq!((mended.lines, mended.evaluations), (1, 2));
        assert_eq!(Metrics::read(&path).expect("read"), [line(3)]);
        std::fs::remove_file(&path).expect("removed");
        Log::follow(&path, None, 0).expect("followed");
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_log_is_set_aside_and_goes_on_with_what_is_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("metrics.jsonl");
        for number in 1..3 {
            let lines = [1, 3].map(|step| line(step).to_line(&path).expect("JSON"));
            let damaged = [lines[0].as_bytes(), b"{\xff\n", lines[1].as_bytes()].concat();
            std::fs::write(&path, &damaged).expect("written");
            assert_eq!(Metrics::read(&path).expect("read"), [line(1), line(3)]);
            let mended = Log::follow(&path, Some(&line(3)), 2).expect("followed");
            let aside = folder
                .path()
                .join(format!("metrics.jsonl.damaged-{number}"));
            assert_eq!(mended.damaged, Some((2, aside.clone())));
            assert_eq!(std::fs::read(aside).expect("there"), damaged);
            assert_eq!(
                std::fs::read(&path).expect("there"),
                lines.concat().as_bytes()
            );
        }
    }

    #[test]
    fn both_kinds_of_evaluation_survive_the_file() {
        let word = Evaluation::Word(WordLoss {
            distortion_nats_per_word: 12.0,
            rate_nats_per_word: 3.0,
            neg_elbo_nats_per_word: 15.0,
            neg_elbo_nats_per_char: 2.0,
            active_units: 7,
            sample: Some(Sampled {
                counted: 10,
                of: 200,
            }),
        });
        let text = serde_json::to_string(&word).expect("serialisable");
        assert_eq!(
            serde_json::from_str::<Evaluation>(&text).expect("readable"),
            word
        );
    }
}
