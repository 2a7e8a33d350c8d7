//! The native engine beside libtorch's autograd: the gradients of every variant, evaluations, whole
//! trainings, and trainings that move from one engine to the other.
//!
//! Gradients are read from the first moments of Adam, m = (1 − β₁)·g after the first step. At a learning
//! rate of 0 the weights stay as they are, so that several steps can be compared.

use textgen::config::{ModelChoice, TrainConfig};
use textgen::models::batch::{ArticleBatch, WordBatch};
use textgen::models::noise::{Noise, Use};
use textgen::models::weights::Weights;
use textgen::train::{Batch, Costs, Engine, Step};

use crate::testing::{
    LETTERS, SPECIAL, assert_close, config, device, engines, text_batch, tolerance, word_batch,
    words,
};

/// Sums of some hundred products in f32, in two orders: each is off by some 2⁻²⁴ of the largest term for
/// each of some ten operations that follow each other, and gradients pass through all steps of a sequence.
pub(super) const CLOSE: f32 = 2e-5;

/// The batch of a step.
pub(super) fn batch(config: &TrainConfig, step: u64) -> Batch {
    use textgen::config::{LossOver, ModelConfig};
    match &config.model {
        ModelConfig::CharRnn(own) => {
            Batch::Text(text_batch(config, step, own.loss == LossOver::Last))
        }
        ModelConfig::WordVae(own) => {
            let words = words(config.batch, step);
            Batch::Words(WordBatch {
                without_z: own.pretrains(0.0),
                ..word_batch(&words, own.latent, SPECIAL, step)
            })
        }
        ModelConfig::Article(own) => {
            let word = &words(1, step)[0];
            let letters: Vec<i64> = word.iter().map(|&letter| i64::from(letter)).collect();
            let noise = Noise::new(4, Use::Latent, step);
            let numbers = (letters.len() + 1) * own.latent;
            Batch::Article(ArticleBatch {
                targets: [&letters[..], &[i64::from(LETTERS)]].concat(),
                letters,
                noise: (0..numbers as u64).map(|at| noise.normal(at)).collect(),
            })
        }
    }
}

/// Fails if arrays of two states differ by more than `tolerance` of the largest number of an array.
#[track_caller]
pub(super) fn assert_alike(
    have: &Weights,
    want: &Weights,
    prefix: &str,
    tolerance: f32,
    what: &str,
) {
    let names = |of: &Weights| of.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(have), names(want), "{what}");
    for (name, want) in want.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let have = &have[name];
        assert_eq!(have.shape, want.shape, "{what}: {name}");
        let (have, want) = (have.data(), want.data());
        let largest = want.iter().fold(1e-6_f32, |most, x| most.max(x.abs()));
        for (i, (have, want)) in have.iter().zip(&*want).enumerate() {
            assert!(
                (have - want).abs() <= tolerance * largest,
                "{what}: {name}[{i}]: {have} is not {want}, the largest is {largest}"
            );
        }
    }
}

/// The losses and gradients of three steps, of which only the first starts from zero.
fn compare(model: ModelChoice, changes: &str) {
    let config = config(model, changes);
    let (native, torch) = engines(&config);
    compare_engines(&config, native, torch, CLOSE, changes);
}

fn compare_engines(
    config: &TrainConfig,
    mut native: impl Engine,
    mut torch: impl Engine,
    close: f32,
    what: &str,
) {
    let close = tolerance(close);
    for number in 0..3 {
        let batch = batch(config, number);
        let step = Step {
            number,
            lr: 0.0,
            kl_weight: 0.7,
            ..Step::default()
        };
        native.step(&batch, &step).expect("a step");
        torch.step(&batch, &step).expect("a step");
        let (have, want) = (native.losses(true), torch.losses(true));
        assert_eq!((have.steps, want.steps), (1, 1));
        assert_close(&[have.sum as f32], &[want.sum as f32], close, what);
        let (have, want) = (
            native.state().expect("a state"),
            torch.state().expect("a state"),
        );
        assert_alike(&have, &want, "weights.", 0.0, what);
        for kind in ["optimizer.first.", "carried.", "article.", "rate."] {
            assert_alike(&have, &want, kind, close, what);
        }
        // Squares have twice the error.
        assert_alike(&have, &want, "optimizer.second.", 2.0 * close, what);
    }
}

/// What only the CPU can compare: on CUDA, libtorch's own generator decides what is dropped.
fn compare_dropout(model: ModelChoice, changes: &str) {
    if !device().is_cuda() {
        compare(model, changes);
    }
}

const CELLS: [&str; 3] = ["lstm", "gru", "rnn"];

#[test]
fn the_gradients_of_a_char_lstm_are_libtorchs_for_every_cell_depth_and_input() {
    for cell in CELLS {
        for layers in 1..=3 {
            for input in ["", "embedding=6", "embedding=13 tied=true"] {
                for loss in ["all", "last"] {
                    let changes = format!("cell={cell} layers={layers} {input} loss={loss}");
                    compare(ModelChoice::CharLstm, &changes);
                }
            }
        }
    }
    // More steps than a vocabulary, more units than a panel, and rows in shards.
    compare(ModelChoice::CharLstm, "hidden=70 layers=2 batch=17");
    compare(
        ModelChoice::CharLstm,
        "cell=gru hidden=33 layers=2 batch=9 shards=4",
    );
    compare(ModelChoice::CharLstm, "embedding=40 batch=1");
}

#[test]
fn the_gradients_of_documents_are_libtorchs() {
    for cell in CELLS {
        for more in ["", "embedding=6 shards=3", "batch=1"] {
            compare(
                ModelChoice::CharLstm,
                &format!("cell={cell} layers=2 documents=line {more}"),
            );
        }
        let dropout = "dropout=0.2 input-dropout=0.1 recurrent-dropout=0.3";
        for variational in ["", "variational=true"] {
            let changes = format!("cell={cell} layers=2 documents=line {dropout} {variational}");
            compare_dropout(ModelChoice::CharLstm, &changes);
        }
    }
    train(ModelChoice::CharLstm, "layers=2 documents=line");
}

#[test]
fn the_gradients_of_a_char_lstm_are_libtorchs_with_every_kind_of_dropout() {
    let kinds = [
        "dropout=0.3",
        "dropout=0.3 variational=true",
        "input-dropout=0.25",
        "recurrent-dropout=0.4",
        "dropout=0.2 variational=true input-dropout=0.1 recurrent-dropout=0.3 shards=3",
    ];
    for cell in CELLS {
        for input in ["", "embedding=6", "embedding=13 tied=true"] {
            for kind in kinds {
                let changes = format!("cell={cell} layers=2 {input} {kind}");
                compare_dropout(ModelChoice::CharLstm, &changes);
            }
        }
    }
}

#[test]
fn the_gradients_of_a_word_vae_are_libtorchs_for_every_cell_depth_direction_and_z() {
    for cell in CELLS {
        for layers in 1..=3 {
            for directions in [false, true] {
                for z in ["start", "steps", "both"] {
                    let changes =
                        format!("cell={cell} layers={layers} bidirectional={directions} z={z}");
                    compare(ModelChoice::WordVae, &changes);
                }
            }
        }
        compare(
            ModelChoice::WordVae,
            &format!("cell={cell} latent=0 free-bits=0"),
        );
    }
    compare(ModelChoice::WordVae, "hidden=70 batch=40 embedding=33");
}

#[test]
fn the_gradients_of_a_word_vae_are_libtorchs_with_dropout_free_bits_and_a_held_rate() {
    for cell in CELLS {
        for own in [
            "dropout=0.3",
            "decoder-dropout=0.4",
            "dropout=0.2 decoder-dropout=0.3 shards=3",
        ] {
            compare_dropout(ModelChoice::WordVae, &format!("cell={cell} layers=2 {own}"));
        }
    }
    for own in [
        "free-bits=0",
        "free-bits=0.02",
        "free-bits=0.5",
        "free-bits=0.02 shards=2",
        "rate=2 free-bits=0 kl-warmup=0",
        "pretrain-decoder=0.5 layers=2",
        "pretrain-decoder=0.5 rate=2 free-bits=0 kl-warmup=0 shards=2",
    ] {
        compare(ModelChoice::WordVae, own);
    }
}

#[test]
fn a_clamped_variance_has_libtorchs_gradient() {
    let config = config(ModelChoice::WordVae, "layers=2");
    let (mut native, mut torch) = engines(&config);
    let mut weights = native.weights();
    let name = "encoder.log_var.bias";
    let mut bias = weights[name].data().into_owned();
    // Beyond both bounds, and within them.
    bias[..3].copy_from_slice(&[-12.0, 10.5, 9.5]);
    let array = textgen::models::weights::Array::f32(weights[name].shape.clone(), bias);
    weights.insert(name.to_owned(), array);
    native.set_weights(&weights).expect("the same network");
    torch.set_weights(&weights).expect("the same network");
    // σ is 148: z saturates the decoder's tanh, and libtorch's 1 − tanh² cancels.
    compare_engines(&config, native, torch, 2e-4, "clamped");
}

#[test]
fn the_gradients_of_the_article_are_libtorchs() {
    compare(ModelChoice::WordVae, "recipe=article");
}

/// What both engines measure.
fn costs(native: &mut impl Engine, torch: &mut impl Engine, batch: &Batch, what: &str) {
    let have: Costs = native.evaluate(batch).expect("costs");
    let want: Costs = torch.evaluate(batch).expect("costs");
    let close = tolerance(1e-4);
    assert_close(&have.nats, &want.nats, close, what);
    assert_close(&have.rates, &want.rates, close, what);
    assert_close(&have.means, &want.means, close, what);
}

/// Losses of 200 steps within 10⁻⁴, then the averages or weights, and what they cost.
fn train(model: ModelChoice, changes: &str) {
    let settings = format!("{changes} optimizer=amsgrad clip=1 weight-decay=0.001 ema=0.9");
    let config = config(model, &settings);
    let (mut native, mut torch) = engines(&config);
    let mut losses = Vec::new();
    for number in 0..200 {
        let batch = batch(&config, number);
        let step = Step {
            number,
            lr: 3e-3,
            kl_weight: 0.5,
            ..Step::default()
        };
        native.step(&batch, &step).expect("a step");
        torch.step(&batch, &step).expect("a step");
        let (have, want) = (native.losses(true).sum, torch.losses(true).sum);
        assert!(
            (have - want).abs() <= f64::from(tolerance(1e-4)) * want.abs(),
            "{settings}: step {number}: {have} is not {want}"
        );
        losses.push(want);
        if number == 99 {
            // Each goes on from the state of the other.
            let (of_native, of_torch) = (
                native.state().expect("a state"),
                torch.state().expect("a state"),
            );
            native.restore(&of_torch, number + 1).expect("a state");
            torch.restore(&of_native, number + 1).expect("a state");
        }
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..20]), mean(&losses[180..]));
    assert!(last < 0.95 * first, "{settings}: {first} to {last}");
    assert_alike(
        &native.weights(),
        &torch.weights(),
        "",
        tolerance(1e-3),
        &settings,
    );
    for averaged in [false, true] {
        if averaged {
            native.use_average(true);
            torch.use_average(true);
        }
        for number in [200, 201] {
            costs(&mut native, &mut torch, &batch(&config, number), &settings);
        }
    }
    assert!(native.are_finite() && torch.are_finite());
    assert_eq!(native.parameters(), torch.parameters());
}

#[test]
fn two_hundred_steps_of_a_char_lstm_lose_what_they_lose_in_libtorch() {
    for cell in CELLS {
        train(ModelChoice::CharLstm, &format!("cell={cell} layers=2"));
    }
    train(ModelChoice::CharLstm, "embedding=13 tied=true shards=2");
    if !device().is_cuda() {
        let dropout = "dropout=0.2 variational=true input-dropout=0.1 recurrent-dropout=0.2";
        train(ModelChoice::CharLstm, &format!("layers=2 {dropout}"));
    }
}

#[test]
fn two_hundred_steps_of_a_word_vae_lose_what_they_lose_in_libtorch() {
    for cell in CELLS {
        train(ModelChoice::WordVae, &format!("cell={cell}"));
    }
    train(ModelChoice::WordVae, "latent=0 free-bits=0");
    train(ModelChoice::WordVae, "rate=2 free-bits=0 kl-warmup=0");
    if !device().is_cuda() {
        train(
            ModelChoice::WordVae,
            "layers=2 dropout=0.2 decoder-dropout=0.2",
        );
    }
}

#[test]
fn words_padded_to_one_length_have_the_same_gradients() {
    for changes in ["layers=2", "cell=lstm bidirectional=false"] {
        let config = config(ModelChoice::WordVae, changes);
        let (_, mut plain) = engines(&config);
        let (_, mut padded) = engines(&config);
        let own = config.word_vae().expect("a word-vae");
        let batch = word_batch(&words(config.batch, 1), own.latent, SPECIAL, 1);
        let step = Step {
            kl_weight: 0.5,
            ..Step::default()
        };
        let even = crate::word_vae::padded(&batch);
        assert_ne!(even, batch);
        padded.step(&Batch::Words(even), &step).expect("a step");
        plain.step(&Batch::Words(batch), &step).expect("a step");
        let [have, want] = [&mut padded, &mut plain].map(|engine| engine.losses(true).sum);
        assert!((have - want).abs() < 1e-5 * want, "{have} is not {want}");
        assert_alike(
            &padded.state().expect("a state"),
            &plain.state().expect("a state"),
            "optimizer.first.",
            CLOSE,
            changes,
        );
    }
}

#[test]
fn a_trial_changes_nothing() {
    for (model, changes) in [
        (ModelChoice::CharLstm, "ema=0.9"),
        (ModelChoice::WordVae, "rate=2 free-bits=0 kl-warmup=0"),
    ] {
        let config = config(model, changes);
        let (_, mut torch) = engines(&config);
        let step = Step {
            lr: 0.01,
            ..Step::default()
        };
        torch.step(&batch(&config, 0), &step).expect("a step");
        let before = torch.state().expect("a state");
        torch.trial(&batch(&config, 1), &step).expect("a trial");
        assert!(torch.state().expect("a state") == before, "{changes}");
        assert_eq!(torch.losses(true).steps, 1);
    }
}

#[test]
fn a_state_of_another_network_is_refused_by_both() {
    let own = config(ModelChoice::CharLstm, "");
    let (mut native, mut torch) = engines(&own);
    for changes in ["hidden=14", "layers=2", "batch=6", "cell=gru", "ema=0.9"] {
        let other = config(ModelChoice::CharLstm, changes);
        let (mut of_native, mut of_torch) = engines(&other);
        let states = [
            of_native.state().expect("a state"),
            of_torch.state().expect("a state"),
        ];
        assert_eq!(states[0].len(), states[1].len(), "{changes}");
        for state in &states {
            // A state that has more than is needed can be used.
            let fits = changes == "ema=0.9";
            assert_eq!(native.restore(state, 0).is_ok(), fits, "{changes}");
            assert_eq!(torch.restore(state, 0).is_ok(), fits, "{changes}");
        }
        let state = torch.state().expect("a state");
        assert!(of_native.restore(&state, 0).is_err(), "{changes}");
        assert!(of_torch.restore(&state, 0).is_err(), "{changes}");
    }
}
