use super::super::reference::{Reference, Text, assert_close, gradient, widened};
use super::*;
use crate::generate::sampling::log_prob;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::kernels::training::{Alone, Buffers, Pool, Team};
use crate::models::Network;
use crate::models::char_rnn::CharRnn;
use crate::testing::{Numbers, assert_about, char_lstm};

const NOISE: (u64, u64) = (3, 11);

/// A network with its parameters, a batch and what is dropped.
struct Case {
    network: NetworkConfig,
    parameters: Parameters,
    dropout: TextDropout,
    batch: TextBatch,
    state: TextState,
}

/// A batch of arbitrary tokens.
fn batch(network: &NetworkConfig, steps: usize, rows: usize) -> TextBatch {
    let mut numbers = Numbers::new(5);
    let mut tokens = |below: usize| -> Vec<i64> {
        let uniform = numbers.vector(steps * rows, 0.5);
        let token = |x: f32| ((x + 0.5) * below as f32) as i64;
        uniform.into_iter().map(token).collect()
    };
    TextBatch {
        steps,
        rows,
        first: 2,
        inputs: tokens(network.inputs),
        targets: tokens(network.outputs),
        last_only: false,
        from_zero: false,
    }
}

impl Case {
    fn new(network: NetworkConfig, tied: bool, steps: usize, rows: usize) -> Self {
        let mut state = TextState::zero(&network, rows);
        let mut numbers = Numbers::new(9);
        for values in [&mut state.h, &mut state.c] {
            *values = numbers.vector(values.len(), 0.8);
        }
        Self {
            parameters: Parameters::init(&network, 4, tied),
            dropout: TextDropout::default(),
            batch: batch(&network, steps, rows),
            state,
            network,
        }
    }

    fn training(&self) -> CharRnnTraining {
        CharRnnTraining::new(&self.network, &self.parameters, self.dropout)
    }

    /// The nats, the state after them and the gradients of their mean.
    fn run(&self, workers: Workers) -> [Vec<f32>; 4] {
        let mut training = self.training();
        let mut gradients = vec![f32::NAN; self.parameters.count()];
        let mut out = None;
        // The second time, everything is left over from the first.
        for _ in 0..2 {
            let mut state = self.state.clone();
            let values = &self.parameters.values;
            let nats = training
                .forward(workers, values, &self.batch, &mut state, NOISE)
                .to_vec();
            let d_nats = 1.0 / nats.len() as f32;
            training.backward(workers, values, &self.batch, d_nats, &mut gradients);
            let now = [nats, state.h, state.c, gradients.clone()];
            assert!(out.as_ref().is_none_or(|out| *out == now));
            out = Some(now);
        }
        out.expect("two runs")
    }

    /// Compares with difference quotients of the reference.
    fn check(&self, workers: Workers) {
        let hidden = self.network.hidden;
        let &TextBatch { rows, steps, .. } = &self.batch;
        let ones = |noise: Noise, rate: f64, at: Option<u64>, count: usize| {
            let mut values = vec![1.0; count];
            let mask = Mask::new(noise, if rate > 0.0 { rate } else { 0.0 });
            match at {
                Some(at) => mask.apply(workers, |_| at, &mut values, count),
                None => mask.apply_to_array(workers, &mut values),
            }
            widened(&values)
        };
        let noise = |what| Noise::new(NOISE.0, what, NOISE.1);
        let dropout = self.dropout;
        let at = |row: usize, time: usize| position(self.batch.first + row, time);
        let units = |layer: usize, row: usize, time: usize| {
            let time = if dropout.variational { 0 } else { time };
            let noise = noise(Use::Dropout).sub(layer as u64);
            ones(noise, dropout.outputs, Some(at(row, time)), hidden)
        };
        let of_units: Vec<Vec<f64>> = (0..self.network.layers * rows * steps)
            .map(|k| units(k / (rows * steps), k / steps % rows, k % steps))
            .collect();
        let of_weights: Vec<Vec<f64>> = (0..self.network.layers)
            .map(|layer| {
                let noise = noise(Use::RecurrentDropout).sub(layer as u64);
                let count = self.network.cell.gates() * hidden * hidden;
                ones(noise, dropout.recurrent, None, count)
            })
            .collect();
        let of_input = |_: usize, row: usize, time: usize, _: usize| {
            let noise = noise(Use::InputDropout);
            if f64::from(noise.uniform(at(row, time))) < dropout.input {
                0.0
            } else {
                f64::from(1.0 / (1.0 - dropout.input as f32))
            }
        };
        let part = |values: &[f32], layer: usize| {
            let size = rows * hidden;
            widened(values.get(layer * size..(layer + 1) * size).unwrap_or(&[]))
        };
        let state: Vec<[Vec<f64>; 2]> = (0..self.network.layers)
            .map(|layer| [part(&self.state.h, layer), part(&self.state.c, layer)])
            .collect();
        let text = Text {
            rows,
            inputs: &self.batch.inputs,
            targets: &self.batch.targets,
            last_only: self.batch.last_only,
            state: if self.batch.from_zero { &[] } else { &state },
            outputs: &|layer, row, time, unit| of_units[(layer * rows + row) * steps + time][unit],
            input: &of_input,
            recurrent: &|layer, index| of_weights[layer][index],
        };
        let reference = Reference::new(&self.network, self.parameters.is_tied());
        let parameters = widened(&self.parameters.values);
        let (nats, after) = reference.text(&parameters, &text);
        let [found, h, c, gradients] = self.run(workers);
        let what = format!(
            "{:?} {} {:?} {:?}",
            self.network, steps, dropout, self.batch.last_only
        );
        assert_close(&found, &nats[nats.len() - found.len()..], 1e-5, &what);
        for (k, [want_h, want_c]) in after.iter().enumerate() {
            assert_eq!(part(&h, k).len(), want_h.len());
            for (found, want) in [(&h, want_h), (&c, want_c)] {
                if !found.is_empty() {
                    let size = rows * hidden;
                    assert_close(&found[k * size..][..size], want, 1e-5, &what);
                }
            }
        }
        let want = gradient(&parameters, |parameters| {
            reference.text_loss(parameters, &text)
        });
        for entry in self.parameters.entries() {
            let range = entry.range.clone();
            let what = format!("{} of {what}", entry.name);
            assert_close(&gradients[range.clone()], &want[range], 5e-5, &what);
        }
    }
}

const ALL: TextDropout = TextDropout {
    outputs: 0.4,
    variational: false,
    input: 0.3,
    recurrent: 0.25,
};

fn on<'a>(team: &'a dyn Team, buffers: &'a Buffers) -> Workers<'a> {
    Workers {
        team,
        kernels: Kernels::new(),
        buffers,
    }
}

/// Every cell, one-hot, embedded and tied, and with documents.
fn networks(hidden: usize) -> Vec<(NetworkConfig, bool)> {
    let mut networks = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for (layers, embedding, tied, eos) in [
            (2, 0, false, None),
            (1, 3, false, None),
            (2, hidden, true, None),
            (2, 0, false, Some(1)),
        ] {
            let network = NetworkConfig {
                embedding,
                eos,
                outputs: if tied { 7 } else { 6 },
                ..char_lstm(cell, hidden, layers, 7)
            };
            networks.push((network, tied));
        }
    }
    networks
}

#[test]
fn every_gradient_of_every_network_is_the_difference_quotient() {
    let buffers = Buffers::new();
    let workers = on(&Alone, &buffers);
    // More positions than tokens, then fewer.
    for (steps, rows) in [(4, 3), (3, 1)] {
        for (network, tied) in networks(5) {
            let mut case = Case::new(network, tied, steps, rows);
            case.check(workers);
            case.dropout = ALL;
            case.check(workers);
            case.batch.last_only = case.network.eos.is_none();
            case.dropout.variational = true;
            case.check(workers);
            case.batch.from_zero = true;
            case.dropout.outputs = 0.0;
            case.check(workers);
        }
    }
}

/// A batch whose rows are documents, some cut by its ends, costs what each of them costs alone; and the gradients are
/// the sums of theirs.
#[test]
fn documents_cost_what_each_costs_alone() {
    let buffers = Buffers::new();
    let workers = on(&Alone, &buffers);
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let alone = char_lstm(cell, 33, 2, 7);
        let network = NetworkConfig {
            eos: Some(6),
            ..alone.clone()
        };
        let mut case = Case::new(network, false, 12, 2);
        let rows = [
            [6, 1, 2, 6, 3, 3, 0, 6, 6, 5, 1, 2],
            [4, 5, 6, 0, 1, 1, 1, 2, 3, 6, 2, 2],
        ];
        case.batch.inputs = (0..24).map(|at| rows[at % 2][at / 2]).collect();
        let [nats, h, _, gradients] = case.run(workers);
        let mut sums = vec![0.0; gradients.len()];
        let mut training = CharRnnTraining::new(&alone, &case.parameters, case.dropout);
        for (row, tokens) in rows.iter().enumerate() {
            let mut start = 0;
            for document in tokens.chunk_by(|_, &next| next != 6) {
                let range = start..start + document.len();
                start = range.end;
                let targets = range
                    .clone()
                    .map(|t| case.batch.targets[t * 2 + row])
                    .collect();
                let batch = TextBatch {
                    steps: range.len(),
                    rows: 1,
                    inputs: document.to_vec(),
                    targets,
                    ..TextBatch::default()
                };
                let mut state = TextState::zero(&alone, 1);
                if document[0] != 6 {
                    let own = |all: &[f32]| -> Vec<f32> {
                        let layers = all.chunks_exact(33).skip(row).step_by(2);
                        layers.flatten().copied().collect()
                    };
                    state = TextState {
                        h: own(&case.state.h),
                        c: own(&case.state.c),
                    };
                }
                let values = &case.parameters.values;
                let found = training
                    .forward(workers, values, &batch, &mut state, NOISE)
                    .to_vec();
                for (t, want) in range.clone().zip(found) {
                    assert!(
                        (nats[t * 2 + row] - want).abs() < 1e-5,
                        "{cell}: {row}, {t}"
                    );
                }
                let mut own = vec![0.0; sums.len()];
                training.backward(workers, values, &batch, 1.0 / 24.0, &mut own);
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
                if range.end == 12 {
                    let last = h.chunks_exact(33).skip(row).step_by(2).flatten();
                    assert!(last.zip(&state.h).all(|(a, b)| (a - b).abs() < 1e-5));
                }
            }
        }
        assert_close(&gradients, &widened(&sums), 5e-5, "the gradients");
    }
}

#[test]
fn threads_and_levels_change_no_bit() {
    let buffers = Buffers::new();
    for (network, tied) in networks(65) {
        let mut case = Case::new(network, tied, 10, 24);
        case.dropout = ALL;
        let want = case.run(on(&Alone, &buffers));
        for level in Level::supported() {
            let kernels = Kernels::at(level).expect("supported");
            for threads in [1, 2, 3] {
                let pool = Pool::new(threads);
                let workers = Workers {
                    kernels,
                    ..on(&pool, &buffers)
                };
                assert!(case.run(workers) == want, "{level} {threads}");
            }
        }
    }
}

#[test]
fn gradients_in_bf16_are_those_of_f32_but_for_its_rounding() {
    let buffers = Buffers::new();
    let kernels = Kernels::at(Level::Portable).expect("everywhere").in_bf16();
    for (network, tied) in networks(33) {
        let mut case = Case::new(network, tied, 9, 6);
        case.dropout = ALL;
        let want = case.run(on(&Alone, &buffers));
        let in_bf16 = |team| Workers {
            kernels,
            ..on(team, &buffers)
        };
        let found = case.run(in_bf16(&Alone));
        assert!(case.run(in_bf16(&Pool::new(3))) == found);
        for (found, want) in found[..3].iter().zip(&want) {
            assert_about(found, want, &case.network.cell.to_string());
        }
        for entry in case.parameters.entries() {
            let (found, want) = (
                &found[3][entry.range.clone()],
                &want[3][entry.range.clone()],
            );
            assert!(found != want, "{}", entry.name);
            assert_about(found, want, &entry.name);
        }
    }
}

#[test]
fn a_shard_computes_the_bits_of_its_rows() {
    let buffers = Buffers::new();
    let workers = on(&Alone, &buffers);
    for (network, tied) in networks(9) {
        let mut case = Case::new(network, tied, 6, 5);
        case.dropout = ALL;
        let [whole, h, ..] = case.run(workers);
        let (layers, hidden) = (case.network.layers, case.network.hidden);
        for rows in [0..2, 2..5] {
            let columns = |values: &[i64]| -> Vec<i64> {
                let steps = values.chunks_exact(5);
                steps
                    .flat_map(|step| &step[rows.clone()])
                    .copied()
                    .collect()
            };
            let part = |values: &[f32]| -> Vec<f32> {
                let own = rows.start * hidden..rows.end * hidden;
                let layers = values.chunks_exact(5 * hidden);
                layers
                    .flat_map(|layer| &layer[own.clone()])
                    .copied()
                    .collect()
            };
            let shard = Case {
                batch: TextBatch {
                    rows: rows.len(),
                    first: case.batch.first + rows.start,
                    inputs: columns(&case.batch.inputs),
                    targets: columns(&case.batch.targets),
                    ..case.batch.clone()
                },
                state: TextState {
                    h: part(&case.state.h),
                    c: part(&case.state.c),
                },
                network: case.network.clone(),
                parameters: case.parameters.clone(),
                ..case
            };
            let [nats, after, ..] = shard.run(workers);
            let want = whole.chunks_exact(5).flat_map(|step| &step[rows.clone()]);
            assert!(nats.iter().eq(want));
            assert_eq!(after, part(&h));
            assert_eq!(after.len(), layers * rows.len() * hidden);
        }
    }
}

#[test]
fn an_evaluation_costs_what_the_network_says() {
    let (buffers, pool) = (Buffers::new(), Pool::new(2));
    for (network, tied) in networks(33) {
        let case = Case::new(network, tied, 9, 2);
        let zero = TextState::zero(&case.network, 2);
        let values = &case.parameters.values;
        let workers = on(&pool, &buffers);
        let mut training = case.training();
        let mut state = zero.clone();
        let costs = training
            .evaluate(workers, values, &case.batch, &mut state)
            .to_vec();
        let model = CharRnn::new(&case.network, &case.parameters.to_weights(""));
        let model = model.expect("a network");
        for row in 0..2 {
            let mut reader = model.state(1);
            for step in 0..9 {
                let index = step * 2 + row;
                model.step(&mut reader, &[case.batch.inputs[index] as u32]);
                let target = case.batch.targets[index] as u32;
                let want = -log_prob(reader.logits(0), target);
                assert!((f64::from(costs[index]) - want).abs() < 1e-5);
            }
        }
        // Saving for a backward pass changes nothing, and neither does a state passed on.
        let mut again = zero.clone();
        let nats = training.forward(workers, values, &case.batch, &mut again, NOISE);
        assert_eq!((nats, &again), (&costs[..], &state));
        let mut passed_on = zero;
        for steps in [0..4, 4..9] {
            let part = |tokens: &[i64]| tokens[2 * steps.start..2 * steps.end].to_vec();
            let batch = TextBatch {
                steps: steps.len(),
                inputs: part(&case.batch.inputs),
                targets: part(&case.batch.targets),
                ..case.batch
            };
            let nats = training.evaluate(workers, values, &batch, &mut passed_on);
            assert_eq!(nats, &costs[2 * steps.start..2 * steps.end]);
        }
        assert_eq!(passed_on, state);
    }
}
