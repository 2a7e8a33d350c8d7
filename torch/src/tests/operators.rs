//! Compares the native operators with libtorch's own: every output and every gradient.

use tch::{Device, Kind, Tensor};
use textgen::config::{Cell, Precision};

use crate::dropout::Dropout;
use crate::operators;
use crate::parameters::{floats, to_array};
use crate::recurrent::{Input, Shape};
use crate::steps::Steps;
use crate::testing::assert_close;

/// Sizes that fill no register, panel or tile evenly.
const HIDDEN: [i64; 5] = [1, 7, 33, 100, 129];
/// Active sequences at each step: of one length, of one sequence, of different lengths.
const COUNTS: [&[i64]; 4] = [&[5, 5, 5], &[1, 1, 1, 1], &[64, 64], &[9, 9, 7, 3, 3, 1]];
const TOKENS: i64 = 11;

fn uniform(size: &[i64], scale: f64) -> Tensor {
    let numbers = Tensor::rand(size, (Kind::Float, Device::Cpu)) * (2.0 * scale) - scale;
    numbers.set_requires_grad(true)
}

/// A network and its input, all of it leaves of the graph.
struct Case {
    shape: Shape,
    counts: &'static [i64],
    tokens: Tensor,
    vectors: Option<Tensor>,
    embedding: Option<Tensor>,
    latent: Option<Tensor>,
    state: Vec<Tensor>,
    weights: Vec<Tensor>,
    dropout: Dropout,
}

/// The input of the first layer of a [`Case`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    OneHot,
    EmbeddingAndVector,
    Vectors,
}

impl Case {
    fn new(cell: Cell, hidden: i64, layers: i64, counts: &'static [i64], reads: Reads) -> Self {
        tch::manual_seed(hidden);
        let positions = counts.iter().sum();
        let inputs = if reads == Reads::OneHot { TOKENS } else { 8 };
        let gates = cell.gates() as i64 * hidden;
        let scale = 1.0 / (hidden as f64).sqrt();
        let weights = (0..layers).flat_map(|layer| {
            let below = if layer == 0 { inputs } else { hidden };
            [
                vec![gates, below],
                vec![gates, hidden],
                vec![gates],
                vec![gates],
            ]
        });
        let states = if cell == Cell::Lstm { 2 } else { 1 };
        let leaf = |wanted: Reads, size: &[i64]| (reads == wanted).then(|| uniform(size, 1.0));
        Self {
            shape: Shape {
                cell,
                hidden: hidden as usize,
                layers: layers as usize,
                precision: Precision::F32,
            },
            counts,
            tokens: Tensor::randint(TOKENS, [positions], (Kind::Int64, Device::Cpu)),
            vectors: leaf(Reads::Vectors, &[positions, inputs]),
            embedding: leaf(Reads::EmbeddingAndVector, &[TOKENS, 5]),
            latent: leaf(Reads::EmbeddingAndVector, &[counts[0], 3]),
            state: (0..states)
                .map(|_| uniform(&[layers, counts[0], hidden], 0.9))
                .collect(),
            weights: weights.map(|size| uniform(&size, scale)).collect(),
            dropout: Dropout::default(),
        }
    }

    /// Outputs and final h, and the gradients of a loss that weighs each number differently.
    fn run(&self, native: bool) -> Vec<Vec<f32>> {
        let input = match &self.vectors {
            Some(vectors) => Input::Vectors(vectors),
            None => Input::Tokens {
                tokens: &self.tokens,
                embedding: self.embedding.as_ref(),
                latent: self.latent.as_ref(),
            },
        };
        let run = if native {
            Shape::run_native
        } else {
            Shape::run_libtorch
        };
        tch::manual_seed(5);
        let (outputs, ends) = run(
            &self.shape,
            input,
            &Steps::new(self.counts.to_vec()),
            &self.state,
            &self.weights,
            self.dropout,
            true,
        );
        // If sequences end at different steps, libtorch's path returns only the top layer's h.
        let ragged = self.counts.first() != self.counts.last();
        let last = ends[0].select(0, ends[0].size()[0] - 1);
        let mut results = vec![outputs, last];
        if !ragged {
            results.extend(ends);
        }
        let weigh = |x: &Tensor| {
            let count = x.numel() as i64;
            let weights = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 0.7;
            (x.reshape([-1]) * weights.sin()).sum(Kind::Float)
        };
        let loss: Tensor = results.iter().map(weigh).sum();
        let leaves: Vec<&Tensor> = [&self.vectors, &self.embedding, &self.latent]
            .into_iter()
            .flatten()
            .chain(&self.state)
            .chain(&self.weights)
            .collect();
        let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
        results.iter().chain(&gradients).map(floats).collect()
    }

    fn check(&self, reads: Reads) {
        let what = format!("{:?} {:?} {reads:?}", self.shape, self.counts);
        let (have, want) = (self.run(true), self.run(false));
        assert_eq!(have.len(), want.len());
        for (index, (have, want)) in have.iter().zip(&want).enumerate() {
            // Sums of hundreds of terms, in another order.
            assert_close(have, want, 2e-4, &format!("{what}: result {index}"));
        }
    }
}

#[test]
fn the_native_layers_compute_libtorchs_outputs_and_gradients() {
    let _alone = crate::testing::alone();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for hidden in HIDDEN {
            for counts in COUNTS {
                for reads in [Reads::OneHot, Reads::EmbeddingAndVector, Reads::Vectors] {
                    Case::new(cell, hidden, 1, counts, reads).check(reads);
                }
            }
        }
    }
}

#[test]
fn layers_above_each_other_compute_libtorchs_outputs_and_gradients() {
    let _alone = crate::testing::alone();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for counts in COUNTS {
            Case::new(cell, 33, 3, counts, Reads::OneHot).check(Reads::OneHot);
        }
    }
}

#[test]
fn the_same_units_are_taken_away_between_layers_on_either_path() {
    let _alone = crate::testing::alone();
    for cell in [Cell::Lstm, Cell::Gru] {
        let mut case = Case::new(cell, 33, 3, COUNTS[0], Reads::OneHot);
        let without = case.run(true);
        case.dropout = Dropout {
            rate: 0.5,
            variational: true,
        };
        case.check(Reads::OneHot);
        assert_ne!(case.run(true), without);
    }
}

/// The CUDA path looks up one-hot vectors instead of making them at every step.
#[test]
fn an_identity_matrix_as_the_embedding_is_one_hot() {
    let _alone = crate::testing::alone();
    for counts in COUNTS {
        let case = Case::new(Cell::Gru, 7, 1, counts, Reads::OneHot);
        let run = |embedding: Option<&Tensor>| {
            let steps = Steps::new(counts.to_vec());
            let input = Input::tokens(&case.tokens, embedding);
            let (outputs, _) = case.shape.run_libtorch(
                input,
                &steps,
                &case.state,
                &case.weights,
                Dropout::default(),
                true,
            );
            to_array(&outputs)
        };
        let identity = Tensor::eye(TOKENS, (Kind::Float, Device::Cpu));
        assert_eq!(run(Some(&identity)), run(None), "{counts:?}");
    }
}

#[test]
fn a_frozen_network_and_an_unused_output_are_no_trouble() {
    let _alone = crate::testing::alone();
    let case = Case::new(Cell::Lstm, 7, 1, COUNTS[0], Reads::OneHot);
    let input = Input::tokens(&case.tokens, None);
    let run = || {
        let steps = Steps::new(case.counts.to_vec());
        let (outputs, ends) = case.shape.run_native(
            input,
            &steps,
            &case.state,
            &case.weights,
            Dropout::default(),
            true,
        );
        (to_array(&outputs), ends)
    };
    let (learnt, ends) = run();
    ends[1].sum(Kind::Float).backward();
    assert!(
        case.weights[1]
            .grad()
            .abs()
            .sum(Kind::Float)
            .double_value(&[])
            > 0.0
    );
    let (frozen, ends) = tch::no_grad(run);
    assert_eq!(learnt, frozen);
    assert!(!ends[0].requires_grad());
}

#[test]
fn a_prediction_costs_what_libtorch_says_and_so_do_its_gradients() {
    let _alone = crate::testing::alone();
    for (positions, hidden, outputs) in [(1, 1, 2), (64, 33, 94), (500, 129, 31)] {
        tch::manual_seed(positions);
        let leaves = [
            uniform(&[positions, hidden], 1.0),
            uniform(&[outputs, hidden], 0.5),
            uniform(&[outputs], 0.5),
        ];
        let targets = Tensor::randint(outputs, [positions], (Kind::Int64, Device::Cpu));
        let results = |nats: Tensor| {
            let weights = Tensor::arange(positions, (Kind::Float, Device::Cpu)).sin();
            let loss = (&nats * weights).sum(Kind::Float);
            let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
            let all = std::iter::once(&nats).chain(&gradients);
            all.map(floats).collect::<Vec<_>>()
        };
        let [x, weight, bias] = &leaves;
        let have = results(operators::predict(
            x,
            weight,
            bias,
            &targets,
            Precision::F32,
        ));
        let logits = x.linear(weight, Some(bias));
        let want = results(logits.cross_entropy_loss::<Tensor>(
            &targets,
            None,
            tch::Reduction::None,
            -100,
            0.0,
        ));
        for (have, want) in have.iter().zip(&want) {
            assert_close(have, want, 1e-4, &format!("{positions} {hidden} {outputs}"));
        }
    }
}
