//! The encoder of a word-vae: from letters to a Gaussian over z.

use crate::config::NetworkConfig;
use crate::kernels::Kernels;
use crate::models::linear::Linear;
use crate::models::recurrent::{Columns, Layer, Read};
use crate::models::sequences::by_length;
use crate::models::variational::Posterior;
use crate::models::weights::{WeightError, Weights, values};

/// Recurrent layers, and the linear layers that compute a posterior from their last states.
#[derive(Clone, Debug)]
pub(super) struct WordEncoder {
    /// By layer, then by direction: forward and, if there is one, backward.
    layers: Vec<Vec<Layer>>,
    mean: Linear,
    log_var: Linear,
    hidden: usize,
    kernels: Kernels,
}

impl WordEncoder {
    /// From weights that [`check`](crate::models::weights::check) has passed.
    pub fn new(
        config: &NetworkConfig,
        weights: &Weights,
        kernels: Kernels,
    ) -> Result<Self, WeightError> {
        Ok(Self {
            layers: layers(config, weights, kernels)?,
            mean: Linear::new(weights, "encoder.mean")?,
            log_var: Linear::new(weights, "encoder.log_var")?,
            hidden: config.hidden,
            kernels,
        })
    }

    /// Latent size Z.
    pub const fn latent(&self) -> usize {
        self.mean.rows()
    }

    /// The posteriors of words (N), in the given order. All words are read in parallel.
    pub fn encode(&self, words: &[&[u32]]) -> Vec<Posterior> {
        if words.is_empty() {
            return Vec::new();
        }
        // Longest first, so that unfinished words are always the first rows.
        let lengths: Vec<usize> = words.iter().map(|word| word.len()).collect();
        let order = by_length(&lengths);
        let sorted: Vec<&[u32]> = order.iter().map(|&word| words[word]).collect();
        let summaries = self.summaries(&sorted);
        let means = self.mean.plain(self.kernels, &summaries);
        let log_vars = self.log_var.plain(self.kernels, &summaries);
        let mut posteriors = vec![Posterior::default(); words.len()];
        let latent = self.latent();
        let rows = means
            .chunks_exact(latent)
            .zip(log_vars.chunks_exact(latent));
        for (word, (mean, log_var)) in order.into_iter().zip(rows) {
            posteriors[word] = Posterior::new(mean, log_var);
        }
        posteriors
    }

    fn directions(&self) -> usize {
        self.layers.first().map_or(1, Vec::len)
    }

    /// The final hidden states of the top layer (N, D·H): forward after the last letter, backward
    /// after the first. Zeros if a word has no letter. The longest word comes first.
    fn summaries(&self, words: &[&[u32]]) -> Vec<f32> {
        let width = self.directions() * self.hidden;
        // The letters of all words, one word after the other.
        let starts: Vec<usize> = words
            .iter()
            .scan(0, |next, word| {
                let start = *next;
                *next += word.len();
                Some(start)
            })
            .collect();
        let letters: usize = words.iter().map(|word| word.len()).sum();
        let mut below: Vec<f32> = Vec::new();
        let mut summaries = vec![0.0; words.len() * width];
        for layer in &self.layers {
            let mut above = vec![0.0; letters * width];
            for (direction, cells) in layer.iter().enumerate() {
                let pass = Pass {
                    words,
                    starts: &starts,
                    below: &below,
                    width,
                    backward: direction == 1,
                    kernels: self.kernels,
                };
                pass.run(cells, direction * self.hidden, &mut above, &mut summaries);
            }
            below = above;
        }
        summaries
    }
}

/// One direction of one layer over words in parallel.
struct Pass<'a> {
    /// Words, longest first.
    words: &'a [&'a [u32]],
    /// The first row of each word in `below` and `above`.
    starts: &'a [usize],
    /// The outputs of the layer below (letters, width); empty for the first layer.
    below: &'a [f32],
    width: usize,
    backward: bool,
    kernels: Kernels,
}

impl Pass<'_> {
    /// Writes hidden states to `above` (letters, width) and the last ones to `summaries` (N, width),
    /// both at `offset` of each row.
    fn run(&self, cells: &Layer, offset: usize, above: &mut [f32], summaries: &mut [f32]) {
        let units = cells.units();
        let mut live = self.words;
        let mut state = cells.state(live.len());
        let longest = live.first().map_or(0, |word| word.len());
        let (mut tokens, mut vectors) = (Vec::new(), Vec::new());
        for step in 0..longest {
            while let Some((_, others)) = live.split_last().filter(|(last, _)| last.len() <= step) {
                live = others;
                state.swap_remove_row(live.len());
            }
            let position = |word: &[u32]| {
                if self.backward {
                    word.len() - 1 - step
                } else {
                    step
                }
            };
            let rows = || live.iter().zip(self.starts);
            let read = if self.below.is_empty() {
                tokens.clear();
                tokens.extend(live.iter().map(|word| word[position(word)]));
                Read::Tokens(&tokens)
            } else {
                vectors.clear();
                for (word, start) in rows() {
                    let row = (start + position(word)) * self.width;
                    vectors.extend_from_slice(&self.below[row..][..self.width]);
                }
                Read::Vectors(&vectors)
            };
            cells.step(self.kernels, read, &mut state);
            for (row, ((word, start), hidden)) in
                rows().zip(state.hidden.chunks_exact(units)).enumerate()
            {
                let to = (start + position(word)) * self.width + offset;
                above[to..][..units].copy_from_slice(hidden);
                if step + 1 == word.len() {
                    summaries[row * self.width + offset..][..units].copy_from_slice(hidden);
                }
            }
        }
    }
}

/// The layers: the first reads letters, the others read both directions of the layer below.
fn layers(
    config: &NetworkConfig,
    weights: &Weights,
    kernels: Kernels,
) -> Result<Vec<Vec<Layer>>, WeightError> {
    let embedding = values(weights, "encoder.embedding.weight")?;
    let suffixes: &[&str] = if config.is_bidirectional() {
        &["", "_reverse"]
    } else {
        &[""]
    };
    let direction = |layer: usize, suffix: &str| {
        let columns = match layer {
            0 => Columns::Embedding(&embedding, config.embedding),
            _ => Columns::Vector,
        };
        let name = ("encoder.rnn", &*format!("l{layer}{suffix}"));
        Layer::new(weights, name, config.cell, columns, kernels)
    };
    let layer = |layer| {
        suffixes
            .iter()
            .map(|suffix| direction(layer, suffix))
            .collect()
    };
    (0..config.layers).map(layer).collect()
}
