//! `metrics.jsonl`: one line per evaluation, for people, plots and `textgen runs`.

use std::fs::OpenOptions;
use std::io::Write;
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

    /// Appends the line to the log at `path`.
    pub fn append(&self, path: &Path) -> Result<(), RunError> {
        let mut line =
            serde_json::to_string(self).map_err(|error| RunError::damaged(path, error))?;
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(RunError::write(path))
    }

    /// Every line of the log; a last line that a crash cut short is skipped.
    pub fn read(path: &Path) -> Result<Vec<Self>, RunError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(RunError::io(path)(error)),
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut metrics = Vec::with_capacity(lines.len());
        for (number, line) in lines.iter().enumerate() {
            match serde_json::from_str(line) {
                Ok(parsed) => metrics.push(parsed),
                Err(_) if number + 1 == lines.len() => {}
                Err(error) => {
                    let shown = PathBuf::from(format!("{}:{}", path.display(), number + 1));
                    return Err(RunError::damaged(&shown, error));
                }
            }
        }
        Ok(metrics)
    }

    /// Drops the lines after `step`, which resumed training will write again.
    pub fn truncate_after(path: &Path, step: u64) -> Result<(), RunError> {
        let mut text = String::new();
        for metrics in Self::read(path)?.iter().filter(|line| line.step <= step) {
            text.push_str(
                &serde_json::to_string(metrics).map_err(|error| RunError::damaged(path, error))?,
            );
            text.push('\n');
        }
        atomic::write(path, &[text.as_bytes()])
    }
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
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"{\"step\":3,").expect("written");
        assert_eq!(Metrics::read(&path).expect("read"), [line(1), line(2)]);
        Metrics::truncate_after(&path, 1).expect("cut");
        assert_eq!(Metrics::read(&path).expect("read"), [line(1)]);
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
