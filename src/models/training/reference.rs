//! The training losses once more, slowly and plainly in f64: what the tests of every gradient compare with.
//!
//! A loss is a function of one vector of parameters, laid out as
//! [`expected_shapes`](crate::models::weights::expected_shapes) lists them, without `article.*` and, if
//! weights are tied, without `head.weight`. Words and streams are computed one at a time, in
//! the order in which the caller gives them. Dropout is a factor per number.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::config::{Cell, NetworkConfig};
use crate::models::weights::expected_shapes;

/// The bound of log σ².
const LOG_VAR_LIMIT: f64 = 10.0;
/// Half the distance between the two losses of a difference quotient.
const DIFFERENCE: f64 = 1e-5;

/// The factor of a number: (layer, row, time, unit).
pub type Factor<'a> = &'a dyn Fn(usize, usize, usize, usize) -> f64;

/// No dropout.
pub const WHOLE: Factor = &|_, _, _, _| 1.0;

/// A network and the places of its parameters in one vector.
pub struct Reference {
    config: NetworkConfig,
    ranges: BTreeMap<String, Range<usize>>,
    count: usize,
}

/// A batch of text.
pub struct Text<'a> {
    /// Rows of the batch, B.
    pub rows: usize,
    /// (T, B).
    pub inputs: &'a [i64],
    /// (T, B).
    pub targets: &'a [i64],
    /// Whether the loss is that of the last step alone.
    pub last_only: bool,
    /// The state before the first step, by layer: h and, for an LSTM, c (B, H); empty is zeros.
    pub state: &'a [[Vec<f64>; 2]],
    /// Factors of the outputs of every layer, also of the last.
    pub outputs: Factor<'a>,
    /// Factors of the input's vectors; layer and unit are 0.
    pub input: Factor<'a>,
    /// The factor of a weight of W_hh: (layer, index).
    pub recurrent: &'a dyn Fn(usize, usize) -> f64,
}

/// A batch of words.
pub struct Words<'a> {
    /// What the encoder reads, by word.
    pub letters: &'a [Vec<u32>],
    /// What the decoder reads, by word.
    pub inputs: &'a [Vec<u32>],
    /// What it predicts, by word.
    pub targets: &'a [Vec<u32>],
    /// ε (B, Z).
    pub noise: &'a [f64],
    /// The weight of the divergence, β.
    pub kl_weight: f64,
    /// λ: nats per dimension that cost nothing to reduce.
    pub free_bits: f64,
    /// Factors of the outputs of the encoder's layers but the last (D·H units).
    pub encoder: Factor<'a>,
    /// Factors of the outputs of every layer of the decoder.
    pub decoder: Factor<'a>,
}

/// The terms of the loss of a batch of words.
pub struct WordTerms {
    /// −log p of every target, by word.
    pub nats: Vec<Vec<f64>>,
    /// R_j (B, Z).
    pub rates: Vec<f64>,
    /// μ (B, Z).
    pub means: Vec<f64>,
}

/// A recurrent layer of one direction, for one row.
struct Layer<'a> {
    cell: Cell,
    hidden: usize,
    weight_ih: &'a [f64],
    weight_hh: &'a [f64],
    bias_ih: &'a [f64],
    bias_hh: &'a [f64],
}

impl Reference {
    /// The layout of `config`'s parameters.
    pub fn new(config: &NetworkConfig, tied: bool) -> Self {
        let mut ranges = BTreeMap::new();
        let mut count = 0;
        for (name, shape) in expected_shapes(config) {
            if name.starts_with("article.") || tied && name == "head.weight" {
                continue;
            }
            let end = count + shape.iter().product::<usize>();
            ranges.insert(name, count..end);
            count = end;
        }
        if tied {
            let shared = ranges["embedding.weight"].clone();
            ranges.insert("head.weight".to_owned(), shared);
        }
        Self {
            config: config.clone(),
            ranges,
            count,
        }
    }

    /// The number of parameters.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Where a parameter is.
    pub fn range(&self, name: &str) -> Range<usize> {
        self.ranges[name].clone()
    }

    fn get<'a>(&self, parameters: &'a [f64], name: &str) -> &'a [f64] {
        &parameters[self.range(name)]
    }

    /// `weight · x + bias` of the linear layer `name`.
    fn linear(&self, parameters: &[f64], name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.get(parameters, &format!("{name}.weight"));
        affine(weight, self.get(parameters, &format!("{name}.bias")), x)
    }

    fn layer<'a>(&self, parameters: &'a [f64], prefix: &str, suffix: &str) -> Layer<'a> {
        let get = |part: &str| self.get(parameters, &format!("{prefix}.{part}_l{suffix}"));
        Layer {
            cell: self.config.cell,
            hidden: self.config.hidden,
            weight_ih: get("weight_ih"),
            weight_hh: get("weight_hh"),
            bias_ih: get("bias_ih"),
            bias_hh: get("bias_hh"),
        }
    }

    /// The row of a token in the embedding `name`.
    fn embedded(&self, parameters: &[f64], name: &str, token: usize) -> Vec<f64> {
        let size = self.config.embedding;
        self.get(parameters, name)[token * size..][..size].to_vec()
    }

    /// −log p of the targets of a text (T, B), and the state after it, as in [`Text::state`].
    pub fn text(&self, parameters: &[f64], text: &Text) -> (Vec<f64>, Vec<[Vec<f64>; 2]>) {
        let NetworkConfig {
            hidden,
            layers,
            embedding,
            inputs,
            ..
        } = self.config;
        let steps = text.inputs.len() / text.rows;
        let mut nats = vec![0.0; text.inputs.len()];
        let mut state = match text.state {
            [] => vec![[0, 1].map(|_| vec![0.0; text.rows * hidden]); layers],
            state => state.to_vec(),
        };
        let dropped: Vec<Vec<f64>> = (0..layers)
            .map(|layer| {
                let weight = self.get(parameters, &format!("rnn.weight_hh_l{layer}"));
                let factors = (0..).map(|index| (text.recurrent)(layer, index));
                weight.iter().zip(factors).map(|(w, f)| w * f).collect()
            })
            .collect();
        for row in 0..text.rows {
            let vector = |t: usize| {
                let token = text.inputs[t * text.rows + row] as usize;
                let mut vector = if embedding > 0 {
                    self.embedded(parameters, "embedding.weight", token)
                } else {
                    (0..inputs).map(|i| f64::from(i == token)).collect()
                };
                scale(&mut vector, |_| (text.input)(0, row, t, 0));
                vector
            };
            let mut below: Vec<Vec<f64>> = (0..steps).map(vector).collect();
            for (k, weight_hh) in dropped.iter().enumerate() {
                let layer = Layer {
                    weight_hh,
                    ..self.layer(parameters, "rnn", &k.to_string())
                };
                let own = row * hidden..(row + 1) * hidden;
                let mut now = state[k].each_ref().map(|all| {
                    all.get(own.clone())
                        .map_or_else(|| vec![0.0; hidden], <[f64]>::to_vec)
                });
                let [h, c] = &mut now;
                let step = |t: usize| {
                    if Some(text.inputs[t * text.rows + row] as u32) == self.config.eos {
                        h.fill(0.0);
                        c.fill(0.0);
                    }
                    layer.run(&below[t..=t], h, c)
                };
                below = (0..steps).flat_map(step).collect();
                for (all, now) in state[k].iter_mut().zip(&now) {
                    if let Some(all) = all.get_mut(own.clone()) {
                        all.copy_from_slice(now);
                    }
                }
                for (t, outputs) in below.iter_mut().enumerate() {
                    scale(outputs, |unit| (text.outputs)(k, row, t, unit));
                }
            }
            for (t, outputs) in below.iter().enumerate() {
                let logits = self.linear(parameters, "head", outputs);
                let at = t * text.rows + row;
                nats[at] = surprisal(&logits, text.targets[at] as usize);
            }
        }
        (nats, state)
    }

    /// The mean cross-entropy of a text, nats per token.
    pub fn text_loss(&self, parameters: &[f64], text: &Text) -> f64 {
        let (nats, _) = self.text(parameters, text);
        let first = if text.last_only {
            nats.len() - text.rows
        } else {
            0
        };
        nats[first..].iter().sum::<f64>() / (nats.len() - first) as f64
    }

    /// The terms of the loss of a batch of words.
    pub fn words(&self, parameters: &[f64], words: &Words) -> WordTerms {
        let latent = self.config.latent();
        let mut terms = WordTerms {
            nats: Vec::new(),
            rates: Vec::new(),
            means: Vec::new(),
        };
        for (row, letters) in words.letters.iter().enumerate() {
            let (mean, log_var) = self.posterior(parameters, letters, row, words.encoder);
            let noise = &words.noise[row * latent..(row + 1) * latent];
            let pairs = mean.iter().zip(&log_var);
            let z: Vec<f64> = pairs
                .clone()
                .zip(noise)
                .map(|((mean, log_var), noise)| mean + (0.5 * log_var).exp() * noise)
                .collect();
            let rate = pairs.map(|(m, v)| 0.5 * (m * m + v.exp() - v - 1.0));
            terms.rates.extend(rate);
            terms.means.extend(&mean);
            let logits = self.decode(parameters, &words.inputs[row], &z, row, words.decoder);
            let pairs = logits.iter().zip(&words.targets[row]);
            let nats = pairs.map(|(logits, &target)| surprisal(logits, target as usize));
            terms.nats.push(nats.collect());
        }
        terms
    }

    /// D + β·Σ_j max(λ, mean over the batch of R_j), per word.
    pub fn words_loss(&self, parameters: &[f64], words: &Words) -> f64 {
        let terms = self.words(parameters, words);
        let (count, latent) = (words.letters.len() as f64, self.config.latent());
        let distortion: f64 = terms.nats.iter().flatten().sum();
        let rate = |j: usize| {
            let rates = terms.rates.iter().skip(j).step_by(latent);
            (rates.sum::<f64>() / count).max(words.free_bits)
        };
        distortion / count + words.kl_weight * (0..latent).map(rate).sum::<f64>()
    }

    /// μ and log σ² (Z) of a word; empty if there is no z.
    fn posterior(
        &self,
        parameters: &[f64],
        letters: &[u32],
        row: usize,
        factors: Factor,
    ) -> (Vec<f64>, Vec<f64>) {
        if self.config.latent() == 0 {
            return (Vec::new(), Vec::new());
        }
        let summary = self.summary(parameters, letters, row, factors);
        let mean = self.linear(parameters, "encoder.mean", &summary);
        let mut log_var = self.linear(parameters, "encoder.log_var", &summary);
        for value in &mut log_var {
            *value = value.clamp(-LOG_VAR_LIMIT, LOG_VAR_LIMIT);
        }
        (mean, log_var)
    }

    /// The last hidden states of the top layer (D·H).
    fn summary(
        &self,
        parameters: &[f64],
        letters: &[u32],
        row: usize,
        factors: Factor,
    ) -> Vec<f64> {
        let hidden = self.config.hidden;
        let embedded =
            |&letter: &u32| self.embedded(parameters, "encoder.embedding.weight", letter as usize);
        let mut below: Vec<Vec<f64>> = letters.iter().map(embedded).collect();
        let mut summary = Vec::new();
        for k in 0..self.config.layers {
            let run = |input: &[Vec<f64>], suffix: &str| {
                let layer = self.layer(parameters, "encoder.rnn", &format!("{k}{suffix}"));
                let mut end = vec![0.0; hidden];
                let outputs = layer.run(input, &mut end, &mut vec![0.0; hidden]);
                (outputs, end)
            };
            let (mut outputs, end) = run(&below, "");
            summary = end;
            if self.config.is_bidirectional() {
                below.reverse();
                let (mut backward, end) = run(&below, "_reverse");
                backward.reverse();
                for (outputs, backward) in outputs.iter_mut().zip(backward) {
                    outputs.extend(backward);
                }
                summary.extend(end);
            }
            for (t, outputs) in outputs.iter_mut().enumerate() {
                scale(outputs, |unit| factors(k, row, t, unit));
            }
            below = outputs;
        }
        summary
    }

    /// The logits after every token that the decoder reads, given z.
    fn decode(
        &self,
        parameters: &[f64],
        inputs: &[u32],
        z: &[f64],
        row: usize,
        factors: Factor,
    ) -> Vec<Vec<f64>> {
        let NetworkConfig { hidden, layers, .. } = self.config;
        let placement = self.config.z();
        let start = if !z.is_empty() && placement.at_start() {
            let start = self.linear(parameters, "decoder.init", z);
            start.into_iter().map(f64::tanh).collect()
        } else {
            vec![0.0; layers * hidden]
        };
        let vector = |&token: &u32| {
            let mut vector = self.embedded(parameters, "decoder.embedding.weight", token as usize);
            if placement.at_steps() {
                vector.extend(z);
            }
            vector
        };
        let below = inputs.iter().map(vector).collect();
        self.decoder_logits(parameters, below, &start, |k, t, unit| {
            factors(k, row, t, unit)
        })
    }

    /// The logits of the decoder's layers over `below`, from h = `start` (L·H).
    fn decoder_logits(
        &self,
        parameters: &[f64],
        mut below: Vec<Vec<f64>>,
        start: &[f64],
        factors: impl Fn(usize, usize, usize) -> f64,
    ) -> Vec<Vec<f64>> {
        let hidden = self.config.hidden;
        for (k, start) in start.chunks_exact(hidden).enumerate() {
            let layer = self.layer(parameters, "decoder.rnn", &k.to_string());
            below = layer.run(&below, &mut start.to_vec(), &mut vec![0.0; hidden]);
            for (t, outputs) in below.iter_mut().enumerate() {
                scale(outputs, |unit| factors(k, t, unit));
            }
        }
        let outputs = below.iter();
        outputs
            .map(|outputs| self.linear(parameters, "decoder.head", outputs))
            .collect()
    }

    /// The article's loss of one word with its end, `targets` (T), given ε (T, Z); and the word's mean
    /// and "std" (Z). The first one-hot row is set for every target, the others for none.
    pub fn article(
        &self,
        parameters: &[f64],
        letters: &[u32],
        targets: &[u32],
        noise: &[f64],
    ) -> (f64, [Vec<f64>; 2]) {
        let NetworkConfig {
            hidden,
            layers,
            outputs,
            ..
        } = self.config;
        let summary = self.summary(parameters, letters, 0, WHOLE);
        let mean = self.linear(parameters, "encoder.mean", &summary);
        let log_var = self.linear(parameters, "encoder.log_var", &summary);
        let std: Vec<f64> = log_var.into_iter().map(f64::exp).collect();
        let z = noise.chunks_exact(mean.len()).map(|noise| {
            let numbers = mean.iter().zip(&std).zip(noise);
            numbers.map(|((mean, std), e)| mean + std * e).collect()
        });
        let start = vec![0.0; layers * hidden];
        let logits = self.decoder_logits(parameters, z.collect(), &start, |_, _, _| 1.0);
        let distance = |(t, logits): (usize, &Vec<f64>)| {
            let squares = (0..outputs).map(|output| {
                let is_set = t == 0 && targets.contains(&(output as u32));
                (f64::from(is_set) + surprisal(logits, output)).powi(2)
            });
            squares.sum::<f64>().sqrt()
        };
        let distances: f64 = logits.iter().enumerate().map(distance).sum();
        let pairs = mean.iter().zip(&std);
        let divergence: f64 = pairs.map(|(m, s)| 0.5 * (m * m + s * s - s - 1.0)).sum();
        (distances - divergence * targets.len() as f64, [mean, std])
    }
}

impl Layer<'_> {
    /// The outputs (H) after every input; `h` and `c` go from the state before to the state after.
    fn run(&self, inputs: &[Vec<f64>], h: &mut [f64], c: &mut [f64]) -> Vec<Vec<f64>> {
        let step = |input: &Vec<f64>| {
            let x = affine(self.weight_ih, self.bias_ih, input);
            let r = affine(self.weight_hh, self.bias_hh, h);
            for unit in 0..self.hidden {
                let at = |gate: usize| gate * self.hidden + unit;
                let gate = |gate: usize| sigmoid(x[at(gate)] + r[at(gate)]);
                h[unit] = match self.cell {
                    Cell::Rnn => (x[unit] + r[unit]).tanh(),
                    Cell::Lstm => {
                        let candidate = (x[at(2)] + r[at(2)]).tanh();
                        c[unit] = gate(1) * c[unit] + gate(0) * candidate;
                        gate(3) * c[unit].tanh()
                    }
                    Cell::Gru => {
                        let candidate = (x[at(2)] + gate(0) * r[at(2)]).tanh();
                        (1.0 - gate(1)) * candidate + gate(1) * h[unit]
                    }
                };
            }
            h.to_vec()
        };
        inputs.iter().map(step).collect()
    }
}

/// Multiplies every number by its factor.
fn scale(values: &mut [f64], factor: impl Fn(usize) -> f64) {
    for (index, value) in values.iter_mut().enumerate() {
        *value *= factor(index);
    }
}

/// `weight · x + bias`.
fn affine(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weight.chunks_exact(x.len()).zip(bias);
    rows.map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias)
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// −log softmax(logits)[target].
fn surprisal(logits: &[f64], target: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    sum.ln() + largest - logits[target]
}

/// The gradient of `loss` by central differences.
pub fn gradient(parameters: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut moved = parameters.to_vec();
    let mut at = |index: usize, to: f64| {
        moved[index] = to;
        let loss = loss(&moved);
        moved[index] = parameters[index];
        loss
    };
    parameters
        .iter()
        .enumerate()
        .map(|(index, &value)| {
            let difference = at(index, value + DIFFERENCE) - at(index, value - DIFFERENCE);
            difference / (2.0 * DIFFERENCE)
        })
        .collect()
}

/// Fails if a number differs from the wanted one by more than `tolerance` of the largest.
#[track_caller]
pub fn assert_close(found: &[f32], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), want.len(), "{what}");
    let largest = want
        .iter()
        .fold(0.0, |most: f64, want| most.max(want.abs()));
    for (index, (&found, want)) in found.iter().zip(want).enumerate() {
        assert!(
            (f64::from(found) - want).abs() <= tolerance * largest.max(1e-3),
            "{what}[{index}]: {found} is not {want}"
        );
    }
}

/// Numbers in f64.
pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

mod tests {
    use super::*;
    use crate::models::golden::Golden;

    /// The file's weights in the layout of a reference.
    fn parameters(golden: &Golden, reference: &Reference) -> Vec<f64> {
        let mut parameters = vec![0.0; reference.count()];
        for (name, array) in &golden.weights {
            parameters[reference.range(name)].copy_from_slice(&widened(&array.data()));
        }
        parameters
    }

    #[test]
    fn it_computes_the_losses_of_pytorch() {
        for golden in Golden::all("char-lstm") {
            let reference = Reference::new(&golden.config, false);
            let wide = |name: &str| golden.tokens(name).into_iter().map(i64::from).collect();
            let (inputs, targets): (Vec<i64>, Vec<i64>) = (wide("input"), wide("target"));
            let text = Text {
                rows: 1,
                inputs: &inputs,
                targets: &targets,
                last_only: false,
                state: &[],
                outputs: WHOLE,
                input: WHOLE,
                recurrent: &|_, _| 1.0,
            };
            let loss = reference.text_loss(&parameters(&golden, &reference), &text);
            assert_close(golden.numbers("loss"), &[loss], 1e-5, "loss");
        }
        for golden in Golden::all("word-vae") {
            let reference = Reference::new(&golden.config, false);
            let lengths = golden.tokens("lengths");
            let padded = golden.tokens("words");
            let rows = padded.chunks(padded.len() / lengths.len()).zip(&lengths);
            let letters: Vec<Vec<u32>> = rows
                .map(|(row, &length)| row[..length as usize].to_vec())
                .collect();
            let inputs = letters
                .iter()
                .map(|word| [&[golden.special("bos")], &word[..]].concat());
            let targets = letters
                .iter()
                .map(|word| [&word[..], &[golden.special("eos")]].concat());
            let words = Words {
                letters: &letters,
                inputs: &inputs.collect::<Vec<_>>(),
                targets: &targets.collect::<Vec<_>>(),
                noise: &widened(golden.numbers("eps")),
                kl_weight: 1.0,
                free_bits: 0.0,
                encoder: WHOLE,
                decoder: WHOLE,
            };
            let terms = reference.words(&parameters(&golden, &reference), &words);
            assert_close(golden.numbers("mean"), &terms.means, 1e-5, "mean");
            let d: Vec<f64> = terms.nats.iter().map(|nats| nats.iter().sum()).collect();
            assert_close(golden.numbers("d"), &d, 1e-5, "d");
            let rates = terms.rates.chunks(golden.config.latent());
            let r: Vec<f64> = rates.map(|rates| rates.iter().sum()).collect();
            assert_close(golden.numbers("r"), &r, 1e-5, "r");
        }
    }
}
