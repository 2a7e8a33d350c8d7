//! Selects the part of a text to evaluate, and finds how much of it was trained on.

use std::ops::Range;

use crate::config::{ModelChoice, Settings, SplitKind, TrainConfig};
use crate::run::{TextData, Tokens, split};
use anyhow::Result;

use super::flags::{Part, TextFlags};
use super::job::Job;

/// How a text is split, and the fractions of its parts.
pub struct Parts {
    pub split: SplitKind,
    pub valid: f64,
    pub test: f64,
    /// The token that ends a document.
    pub eos: Option<u32>,
}

impl Parts {
    /// How the text was split for training; if only the model file is known, the defaults.
    pub fn of_training(job: &Job, own: Option<(&TrainConfig, &TextData)>) -> Result<Self> {
        let defaults;
        let config = if let Some((config, _)) = own {
            config
        } else {
            defaults = TrainConfig::resolve(&Settings {
                model: Some(ModelChoice::CharLstm),
                split: Some(job.file.header.split.parse()?),
                ..Settings::default()
            })?;
            &defaults
        };
        Ok(Self {
            split: config.split(),
            valid: config.valid,
            test: config.test,
            eos: job.file.header.vocabulary.document_end(),
        })
    }

    /// Overrides the split with the flags.
    pub fn asked(&self, flags: &TextFlags) -> Self {
        Self {
            split: flags.protocol.unwrap_or(self.split),
            valid: flags.valid.unwrap_or(self.valid),
            test: flags.test.unwrap_or(self.test),
            eos: self.eos,
        }
    }

    /// The segments of a part of a text.
    pub fn part(&self, tokens: &Tokens, part: Part) -> Result<Vec<Range<usize>>> {
        let split = |valid, test| split(tokens, self.eos, self.split, valid, test);
        Ok(match part {
            Part::Valid => split(self.valid, self.test)?.valid,
            Part::Test => split(self.valid, self.test)?.test,
            Part::All => split(0.0, 0.0)?.train,
        })
    }

    /// The number of tokens predicted in `segments` of a text that are in the training part.
    pub fn trained_on(&self, tokens: &Tokens, segments: &[Range<usize>]) -> Result<u64> {
        let training = split(tokens, self.eos, self.split, self.valid, self.test)?.train;
        Ok(common(&training, segments))
    }
}

/// The number of tokens predicted in `segments` that are in `ranges`.
pub fn common(ranges: &[Range<usize>], segments: &[Range<usize>]) -> u64 {
    let within = |segment: &Range<usize>| {
        let within = |range: &Range<usize>| {
            let first = range.start.max(segment.start + 1);
            range.end.min(segment.end).saturating_sub(first) as u64
        };
        ranges.iter().map(within).sum::<u64>()
    };
    segments.iter().map(within).sum()
}
