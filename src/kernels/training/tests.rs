//! Compares every gradient with finite differences of a plain network in f64, at every level and on
//! any number of threads.

use super::backward::backward_in;
use super::forward::forward_in;
use super::parts::{groups, groups_of};
use super::*;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::testing::{Numbers, assert_about};

/// Nothing may depend on what the buffers held.
pub(super) static BUFFERS: Buffers = Buffers::new();

/// Threads made for one call.
pub(super) struct Several(pub(super) usize);

impl Team for Several {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..self.0 {
                scope.spawn(move || (thread..jobs).step_by(self.0).for_each(job));
            }
        });
    }
}

/// Threads of which only the caller's ever comes.
struct Promised(usize);

impl Team for Promised {
    fn threads(&self) -> usize {
        self.0
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        Alone.run(jobs, job);
    }
}

fn on(team: &dyn Team) -> Workers<'_> {
    Workers {
        team,
        kernels: Kernels::new(),
        buffers: &BUFFERS,
    }
}

/// A layer's arrays, by name, in the order of [`NAMES`].
type Arrays = [Vec<f32>; 8];
const NAMES: [&str; 8] = [
    "input",
    "constant",
    "weight_ih",
    "weight_hh",
    "bias_ih",
    "bias_hh",
    "h0",
    "c0",
];

/// A layer, a batch, and the gradients of what the layer computes.
struct Case {
    cell: Cell,
    hidden: usize,
    inputs: usize,
    lengths: Vec<usize>,
    tokens: Option<Vec<i64>>,
    arrays: Arrays,
    d_outputs: Vec<f32>,
    d_h: Vec<f32>,
    d_c: Vec<f32>,
}

impl Case {
    fn new(cell: Cell, hidden: usize, lengths: &[usize], tokens: bool, constant: bool) -> Self {
        let mut numbers = Numbers::new(hidden as u32 + 17);
        let inputs = 5;
        let (batch, positions) = (lengths.len(), lengths.iter().sum::<usize>());
        let rows = cell.gates() * hidden;
        let mut vector = |len: usize, scale: f32| numbers.vector(len, scale);
        let scale = 1.0 / (hidden as f32).sqrt();
        let lstm = usize::from(cell == Cell::Lstm);
        let x = vector(positions * inputs, 1.0);
        Self {
            cell,
            hidden,
            inputs,
            lengths: lengths.to_vec(),
            tokens: tokens.then(|| {
                x[..positions]
                    .iter()
                    .map(|x| (x.abs() * 4.99) as i64)
                    .collect()
            }),
            arrays: [
                if tokens { Vec::new() } else { x },
                vector(usize::from(constant) * batch * rows, 0.5),
                vector(rows * inputs, 1.0),
                vector(rows * hidden, scale),
                vector(rows, 0.5),
                vector(rows, 0.5),
                vector(batch * hidden, 0.8),
                vector(lstm * batch * hidden, 0.8),
            ],
            d_outputs: vector(positions * hidden, 1.0),
            d_h: vector(batch * hidden, 1.0),
            d_c: vector(lstm * batch * hidden, 1.0),
        }
    }

    fn steps(&self) -> Steps {
        let under_way = |t| self.lengths.iter().filter(|&&length| length > t).count();
        Steps::new((0..self.lengths[0]).map(under_way).collect())
    }

    fn layer(&self) -> Layer<'_> {
        let [
            input,
            constant,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            h0,
            c0,
        ] = &self.arrays;
        Layer {
            cell: self.cell,
            hidden: self.hidden,
            inputs: self.inputs,
            input: match &self.tokens {
                Some(tokens) => Input::Tokens(tokens),
                None => Input::Vectors(input),
            },
            constant: (!constant.is_empty()).then_some(constant),
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            h0,
            c0,
        }
    }

    /// Outputs, h, c and the gradients of all arrays.
    fn run(&self, workers: Workers) -> ([Vec<f32>; 3], Arrays) {
        self.run_in(&groups(&self.layer(), &self.steps()), workers)
    }

    /// [`Case::run`] with the given groups of blocks.
    fn run_in(&self, groups: &[Range<usize>], workers: Workers) -> ([Vec<f32>; 3], Arrays) {
        let (layer, steps) = (self.layer(), self.steps());
        let (gates, units) = saved(self.cell, self.hidden);
        // Nothing may depend on what the buffers held.
        let scratch = |length: usize| vec![f32::NAN; length];
        let mut out = [
            scratch(self.d_outputs.len()),
            scratch(self.d_h.len()),
            scratch(self.d_c.len()),
        ];
        let (mut gates, mut units) = (
            scratch(steps.positions() * gates),
            scratch(steps.positions() * units),
        );
        let [outputs, h, c] = &mut out;
        let to = Outputs { outputs, h, c };
        let saved = Saved {
            gates: &mut gates,
            units: &mut units,
        };
        forward_in(groups, workers, &layer, &steps, to, Some(saved));
        let mut gradients = self.arrays.each_ref().map(|array| scratch(array.len()));
        let [
            input,
            constant,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            h0,
            c0,
        ] = &mut gradients;
        let to = LayerGradients {
            input,
            constant,
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
            h0,
            c0,
        };
        let of = OutputGradients {
            outputs: Some(&self.d_outputs),
            h: Some(&self.d_h),
            c: (self.cell == Cell::Lstm).then_some(&self.d_c),
        };
        let saved = Saved {
            gates: &mut gates,
            units: &mut units,
        };
        let outputs = &out[0];
        backward_in(groups, workers, &layer, &steps, outputs, saved, of, to);
        (out, gradients)
    }

    /// Outputs, h and c in f64, with one number of one array moved.
    fn reference(&self, moved: Option<(usize, usize, f64)>) -> [Vec<f64>; 3] {
        let arrays: Vec<Vec<f64>> = self
            .arrays
            .iter()
            .enumerate()
            .map(|(which, array)| {
                let mut wide: Vec<f64> = array.iter().map(|&x| f64::from(x)).collect();
                if let Some((_, index, by)) = moved.filter(|moved| moved.0 == which) {
                    wide[index] += by;
                }
                wide
            })
            .collect();
        let (n, gates) = (self.hidden, self.cell.gates());
        let steps = self.steps();
        let mut h = arrays[6].clone();
        let mut c = arrays[7].clone();
        let mut outputs = Vec::new();
        for t in 0..steps.len() {
            for row in 0..steps.count(t) {
                let position = steps.starts[t] + row;
                let input = |k: usize| match &self.tokens {
                    Some(tokens) => f64::from(u8::from(tokens[position] == k as i64)),
                    None => arrays[0][position * self.inputs + k],
                };
                let of_input: Vec<f64> = (0..gates * n)
                    .map(|i| {
                        let weights = &arrays[2][i * self.inputs..][..self.inputs];
                        let constant = arrays[1].get(row * gates * n + i).unwrap_or(&0.0);
                        let products = weights.iter().enumerate().map(|(k, w)| w * input(k));
                        products.sum::<f64>() + arrays[4][i] + constant
                    })
                    .collect();
                let before = h[row * n..][..n].to_vec();
                let of_state: Vec<f64> = (0..gates * n)
                    .map(|i| {
                        let weights = arrays[3][i * n..][..n].iter().zip(&before);
                        weights.map(|(w, h)| w * h).sum::<f64>() + arrays[5][i]
                    })
                    .collect();
                let sum = |gate: usize, k: usize| of_input[gate * n + k] + of_state[gate * n + k];
                let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                for k in 0..n {
                    h[row * n + k] = match self.cell {
                        Cell::Rnn => sum(0, k).tanh(),
                        Cell::Gru => {
                            let (r, z) = (sigmoid(sum(0, k)), sigmoid(sum(1, k)));
                            let new = (of_input[2 * n + k] + r * of_state[2 * n + k]).tanh();
                            (1.0 - z) * new + z * before[k]
                        }
                        Cell::Lstm => {
                            let cell = &mut c[row * n + k];
                            *cell =
                                sigmoid(sum(1, k)) * *cell + sigmoid(sum(0, k)) * sum(2, k).tanh();
                            sigmoid(sum(3, k)) * cell.tanh()
                        }
                    };
                }
                outputs.extend_from_slice(&h[row * n..][..n]);
            }
        }
        [outputs, h, c]
    }

    /// Σ gradient · result, whose gradients are what [`Case::run`] computes.
    fn loss(&self, moved: Option<(usize, usize, f64)>) -> f64 {
        let results = self.reference(moved);
        let gradients = [&self.d_outputs, &self.d_h, &self.d_c];
        let pairs = results.iter().zip(gradients);
        let dot = |(x, g): (&Vec<f64>, &Vec<f32>)| -> f64 {
            x.iter().zip(g).map(|(x, &g)| x * f64::from(g)).sum()
        };
        pairs.map(dot).sum()
    }

    fn check(&self) {
        let what = format!("{:?} {} {:?}", self.cell, self.hidden, self.lengths);
        let (results, gradients) = self.run(on(&Alone));
        for (have, want) in results
            .iter()
            .flatten()
            .zip(self.reference(None).iter().flatten())
        {
            assert!(
                (f64::from(*have) - want).abs() < 1e-5,
                "{what}: {have} is not {want}"
            );
        }
        let step = 1e-5;
        for (which, gradient) in gradients.iter().enumerate() {
            // Only some numbers of each array, since every one costs a pass.
            for index in (0..gradient.len()).step_by(gradient.len() / 23 + 1) {
                let moved = |by: f64| self.loss(Some((which, index, by)));
                let want = (moved(step) - moved(-step)) / (2.0 * step);
                let have = f64::from(gradient[index]);
                assert!(
                    (have - want).abs() < 1e-4 * (1.0 + want.abs()),
                    "{what}: {}[{index}] is {have}, not {want}",
                    NAMES[which]
                );
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for hidden in [1, 7, 33] {
            let ragged: &[usize] = &[6, 5, 5, 2, 1, 1, 1];
            cases.push(Case::new(cell, hidden, ragged, true, true));
            cases.push(Case::new(cell, hidden, ragged, false, false));
            cases.push(Case::new(cell, hidden, &[4; 5], true, false));
            cases.push(Case::new(cell, hidden, &[3], false, true));
        }
    }
    cases
}

#[test]
fn every_gradient_of_every_cell_is_the_difference_quotient() {
    cases().iter().for_each(Case::check);
}

#[test]
fn more_places_than_are_multiplied_at_once_change_nothing() {
    Case::new(Cell::Lstm, 9, &[70, 70, 70, 70, 31], false, false).check();
    Case::new(Cell::Gru, 9, &[70, 70, 70, 70, 31], true, false).check();
}

fn bits((results, gradients): ([Vec<f32>; 3], Arrays)) -> Vec<u32> {
    let numbers = results.iter().chain(&gradients).flatten();
    numbers.map(|x| x.to_bits()).collect()
}

/// Cases large enough for more than one thread.
fn large_cases(hidden: usize) -> impl Iterator<Item = Case> {
    let lengths: Vec<usize> = (10..40).rev().collect();
    let case = move |cell, tokens| Case::new(cell, hidden, &lengths, tokens, !tokens);
    [Cell::Lstm, Cell::Gru, Cell::Rnn]
        .into_iter()
        .flat_map(move |cell| [true, false].map(|tokens| case(cell, tokens)))
}

#[test]
fn levels_and_threads_change_no_bit() {
    for case in cases().into_iter().chain(large_cases(65)) {
        let want = bits(case.run(on(&Alone)));
        for level in Level::supported() {
            let kernels = Kernels::at(level).expect("supported");
            for threads in [1, 2, 3, 16] {
                let team = &Several(threads);
                let workers = Workers {
                    kernels,
                    ..on(team)
                };
                let have = bits(case.run(workers));
                assert!(have == want, "{:?} {level} {threads}", case.cell);
            }
        }
    }
}

/// All levels without instructions for bf16: a processor may treat subnormal numbers otherwise.
fn in_bf16() -> impl Iterator<Item = Kernels> {
    let levels = Level::supported().filter(|&level| level != Level::Bf16);
    levels.filter_map(Kernels::at).map(Kernels::in_bf16)
}

#[test]
fn bf16_moves_results_and_gradients_by_little_more_than_its_rounding() {
    for case in cases().into_iter().chain(large_cases(65)) {
        let (want, of_want) = case.run(on(&Alone));
        let kernels = in_bf16().last().expect("the portable level");
        let workers = Workers {
            kernels,
            ..on(&Alone)
        };
        let (found, of_found) = case.run(workers);
        assert!(found != want && of_found != of_want);
        let pairs = found
            .iter()
            .chain(&of_found)
            .zip(want.iter().chain(&of_want));
        for (which, (found, want)) in pairs.enumerate() {
            let what = format!("{:?} {} array {which}", case.cell, case.hidden);
            assert_about(found, want, &what);
        }
    }
}

#[test]
fn levels_threads_and_groups_change_no_bit_in_bf16() {
    // Without any level, the arithmetic is slow.
    let large = large_cases(65).map(|case| (case, in_bf16().count() - 1));
    for (case, from) in cases().into_iter().map(|case| (case, 0)).chain(large) {
        let mut first = None;
        for kernels in in_bf16().skip(from) {
            for threads in [1, 3] {
                for size in [1, usize::MAX] {
                    let team = &Several(threads);
                    let workers = Workers {
                        kernels,
                        ..on(team)
                    };
                    let found = bits(case.run_in(&groups_of(&case.layer(), size), workers));
                    let what = format!("{:?} {kernels:?} {threads} {size}", case.cell);
                    assert!(
                        *first.get_or_insert_with(|| found.clone()) == found,
                        "{what}"
                    );
                }
            }
        }
    }
}

#[test]
fn units_split_over_threads_give_the_bits_of_rows() {
    // Three blocks, the last of one unit, and four.
    for case in large_cases(65).chain(large_cases(127)) {
        let whole = groups_of(&case.layer(), usize::MAX);
        assert_eq!(whole.len(), 1);
        let want = bits(case.run_in(&whole, on(&Alone)));
        for blocks in [1, 2] {
            let groups = groups_of(&case.layer(), blocks);
            assert!(groups.len() > 1);
            let teams: [&dyn Team; 5] =
                [&Alone, &Several(2), &Several(3), &Several(16), &Promised(4)];
            for team in teams {
                let have = bits(case.run_in(&groups, on(team)));
                let threads = team.threads();
                assert!(have == want, "{:?} {} {threads}", case.cell, case.hidden);
            }
        }
    }
}

#[test]
fn one_text_and_layers_too_large_for_a_core_change_no_bit() {
    for (cell, lengths) in [
        (Cell::Lstm, &[4][..]),
        (Cell::Gru, &[3, 1]),
        (Cell::Rnn, &[4, 3, 2]),
    ] {
        for tokens in [true, false] {
            let case = Case::new(cell, 417, lengths, tokens, true);
            assert!(groups(&case.layer(), &case.steps()).len() > 1);
            let whole = groups_of(&case.layer(), usize::MAX);
            let want = bits(case.run_in(&whole, on(&Alone)));
            assert!(bits(case.run(on(&Several(2)))) == want, "{cell:?}");
        }
    }
}

#[test]
fn a_layer_that_keeps_nothing_computes_the_same_bits() {
    for case in cases() {
        let mut out = [
            vec![0.0; case.d_outputs.len()],
            vec![0.0; case.d_h.len()],
            vec![0.0; case.d_c.len()],
        ];
        let [outputs, h, c] = &mut out;
        let to = Outputs { outputs, h, c };
        let groups = groups_of(&case.layer(), 1);
        forward_in(&groups, on(&Alone), &case.layer(), &case.steps(), to, None);
        assert!(case.run(on(&Alone)).0 == out, "{:?}", case.cell);
    }
}

#[test]
fn shares_cover_the_batch_and_weigh_about_the_same() {
    let steps = Steps::new(vec![100, 60, 60, 7, 3, 1]);
    for parts in [1, 2, 3, 7, 100, 1000] {
        let slices = steps.slices(parts);
        assert!(slices.len() <= parts);
        assert_eq!(slices.iter().map(Range::len).sum::<usize>(), 100);
        assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
    let weights: Vec<usize> = steps
        .slices(2)
        .iter()
        .map(|rows| (0..6).map(|t| steps.count_in(t, rows)).sum())
        .collect();
    assert!(weights[0].abs_diff(weights[1]) <= 6, "{weights:?}");
}

/// A head's mean cross-entropy in f64.
fn head_loss(arrays: &[Vec<f64>; 3], targets: &[i64], d_nats: &[f32]) -> (Vec<f64>, f64) {
    let [hidden, weight, bias] = arrays;
    let units = weight.len() / bias.len();
    let nats: Vec<f64> = targets
        .iter()
        .zip(hidden.chunks(units))
        .map(|(&target, x)| {
            let logits: Vec<f64> = weight
                .chunks(units)
                .zip(bias)
                .map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b)
                .collect();
            logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[target as usize]
        })
        .collect();
    let loss = nats
        .iter()
        .zip(d_nats)
        .map(|(n, &d)| n * f64::from(d))
        .sum();
    (nats, loss)
}

#[test]
fn a_heads_loss_and_gradients_are_those_of_softmax_and_cross_entropy() {
    for (positions, units, outputs) in [(1, 1, 2), (7, 33, 94), (300, 5, 33), (3, 100, 129)] {
        let mut numbers = Numbers::new(3);
        let arrays = [
            numbers.vector(positions * units, 1.0),
            numbers.vector(outputs * units, 0.7),
            numbers.vector(outputs, 0.7),
        ];
        let uniform = numbers.vector(positions, 0.5);
        let targets: Vec<i64> = uniform
            .iter()
            .map(|x| ((x + 0.5) * outputs as f32) as i64)
            .collect();
        let d_nats = numbers.vector(positions, 1.0);
        let head = Head {
            hidden: &arrays[0],
            weight: &arrays[1],
            bias: &arrays[2],
            targets: &targets,
        };
        let mut probabilities = vec![f32::NAN; positions * head.layout().len()];
        let mut nats = vec![f32::NAN; positions];
        head.forward(on(&Several(2)), &mut probabilities, &mut nats);
        let wide = arrays
            .each_ref()
            .map(|array| -> Vec<f64> { array.iter().map(|&x| f64::from(x)).collect() });
        let (want, _) = head_loss(&wide, &targets, &d_nats);
        for (have, want) in nats.iter().zip(want) {
            assert!((f64::from(*have) - want).abs() < 1e-5, "{have} {want}");
        }
        let mut gradients = arrays.each_ref().map(|array| vec![f32::NAN; array.len()]);
        let [hidden, weight, bias] = &mut gradients;
        let to = HeadGradients {
            hidden,
            weight,
            bias,
        };
        head.backward(on(&Several(2)), &mut probabilities, &d_nats, to);
        for (which, gradient) in gradients.iter().enumerate() {
            for index in (0..gradient.len()).step_by(gradient.len() / 19 + 1) {
                let moved = |by: f64| {
                    let mut wide = wide.clone();
                    wide[which][index] += by;
                    head_loss(&wide, &targets, &d_nats).1
                };
                let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let have = f64::from(gradient[index]);
                assert!(
                    (have - want).abs() < 1e-4,
                    "{which}[{index}]: {have} {want}"
                );
            }
        }
    }
}

#[test]
fn a_prediction_that_is_certain_costs_nothing_and_an_impossible_one_is_finite() {
    let mut logits = vec![0.0; PANEL];
    logits[..3].copy_from_slice(&[90.0, -90.0, 0.0]);
    let mut twice = [logits.clone(), logits].concat();
    let mut nats = [0.0; 2];
    Kernels::new().cross_entropy(&mut twice, 3, &[0, 1], &mut nats);
    assert_eq!(nats, [0.0, 180.0]);
    assert_eq!(twice[..4], [1.0, 0.0, 0.0, 0.0]);
}
