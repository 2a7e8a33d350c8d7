//! Checks the word VAE's objective against closed forms, and that it is independent of what it must be.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};
use textgen::config::Precision;

use crate::parameters::{Parameters, floats, normal};
use crate::testing::{alone, assert_close, device, tolerance, with, word_config, word_data};
use crate::train::{Part, Task, WordTask};
use crate::word_vae::{WordBatch, WordTerms, WordVae};

fn model() -> WordVae {
    let (config, data) = (word_config(), word_data());
    let network = config.network(data.vocabulary.len(), data.vocabulary.outputs());
    WordVae {
        parameters: Parameters::init(&network, 3, device()),
        special: data.vocabulary.special_tokens().expect("words"),
        network,
        dropout: 0.0,
        decoder_dropout: 0.0,
        precision: Precision::F32,
    }
}

/// ½(μ² + σ² − log σ² − 1) is what log q(z) − log p(z) averages to.
#[test]
fn the_closed_form_divergence_is_the_monte_carlo_mean() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (mean, log_var) in [(0.0, 0.0), (1.5, -2.0), (-0.7, 0.9)] {
        let std = (0.5f64 * log_var).exp();
        let samples = 400_000;
        let sum: f64 = (0..samples)
            .map(|_| {
                let noise = f64::from(normal(&mut rng));
                let z = mean + std * noise;
                (-0.5 * noise * noise - 0.5 * log_var) - (-0.5 * z * z)
            })
            .sum();
        let closed = 0.5 * (mean * mean + log_var.exp() - log_var - 1.0);
        assert!(
            (sum / f64::from(samples) - closed).abs() < 0.01,
            "{mean} {log_var}"
        );
    }
    // And the model computes that closed form.
    let vae = model();
    let words: Vec<Vec<u32>> = word_data().letters[..8].to_vec();
    let letters: Vec<&[u32]> = words.iter().map(Vec::as_slice).collect();
    let batch = WordBatch::new(&letters, vae.special, device());
    let (mean, log_var) = vae.encode(&batch, false);
    let (mean, log_var) = (floats(&mean), floats(&log_var));
    let want: Vec<f32> = mean
        .iter()
        .zip(&log_var)
        .map(|(m, v)| 0.5 * (m * m + v.exp() - v - 1.0))
        .collect();
    let noise = Tensor::zeros([8, vae.network.latent() as i64], (Kind::Float, device()));
    assert_close(
        &floats(&vae.terms(&batch, &noise, false).rate),
        &want,
        tolerance(1e-6),
        "rate",
    );
}

fn losses(vae: &WordVae, words: &[&[u32]], noise: &[Vec<f32>]) -> Vec<f32> {
    let batch = WordBatch::new(words, vae.special, device());
    let noise = Tensor::from_slice(&noise.concat())
        .reshape([words.len() as i64, -1])
        .to_device(device());
    floats(&vae.terms(&batch, &noise, false).distortion(&batch))
}

#[test]
fn company_and_order_in_the_batch_change_no_words_loss() {
    let vae = model();
    let data = word_data();
    let mut words: Vec<&[u32]> = data.letters[..20].iter().map(Vec::as_slice).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut noise: Vec<Vec<f32>> = words
        .iter()
        .map(|_| {
            (0..vae.network.latent())
                .map(|_| normal(&mut rng))
                .collect()
        })
        .collect();
    let together = losses(&vae, &words, &noise);
    let alone: Vec<f32> = words
        .iter()
        .zip(&noise)
        .flat_map(|(word, e)| losses(&vae, &[word], std::slice::from_ref(e)))
        .collect();
    assert_close(&together, &alone, tolerance(1e-5), "alone");
    words.reverse();
    noise.reverse();
    let mut permuted = losses(&vae, &words, &noise);
    permuted.reverse();
    assert_close(&together, &permuted, tolerance(1e-5), "permuted");
}

#[test]
fn free_bits_and_the_weight_of_the_divergence_enter_as_written() {
    let tensor = |data: &[f32], rows: i64| Tensor::from_slice(data).reshape([rows, -1]);
    let terms = WordTerms {
        token_nll: Tensor::from_slice(&[1.0f32, 2.0, 3.0]),
        rate: tensor(&[0.1, 1.0, 0.3, 3.0], 2),
        mean: tensor(&[0.0; 4], 2),
    };
    let value = |beta: f64, free: f64| {
        let beta = Tensor::full([1], beta, (Kind::Float, device()));
        WordVae::objective(&terms, 2, &beta, free).double_value(&[])
    };
    assert!((value(1.0, 0.0) - (3.0 + 0.2 + 2.0)).abs() < 1e-6);
    assert!((value(0.5, 0.0) - (3.0 + 1.1)).abs() < 1e-6);
    assert!((value(1.0, 0.5) - (3.0 + 0.5 + 2.0)).abs() < 1e-6);
}

#[test]
fn a_decoder_that_ignores_z_learns_a_rate_of_zero_and_no_active_unit() {
    let _alone = alone();
    let config = with(
        &word_config(),
        "free-bits=0 kl-warmup=0 lr=0.01 warmup=0 dropout=0 decoder-dropout=0",
    );
    let mut task = WordTask::new(&config, word_data(), device()).expect("task");
    let cut_z = |task: &mut WordTask| {
        let _no_grad = tch::no_grad_guard();
        let (embedding, latent) = (
            config.embedding as i64,
            config.network(0, 0).latent() as i64,
        );
        let parameters = task.parameters();
        let _ = parameters
            .get("decoder.init.weight")
            .shallow_clone()
            .zero_();
        let _ = parameters
            .get("decoder.rnn.weight_ih_l0")
            .narrow(1, embedding, latent)
            .zero_();
    };
    let mut optimizer = crate::optimizer::Optimizer::new(&config, task.parameters());
    let mut progress = textgen::run::Progress::default();
    for step in 0..400 {
        cut_z(&mut task);
        tch::manual_seed(step);
        let (loss, _) = task.next_loss(&mut progress, 1.0);
        optimizer.drop_gradients().expect("dropped");
        loss.backward();
        optimizer.step(1e-2).expect("stepped");
        progress.step += 1;
    }
    cut_z(&mut task);
    let Some(textgen::run::Evaluation::Word(loss)) = task.evaluate(Part::Valid).expect("evaluated")
    else {
        unreachable!("a word-vae gives a word loss")
    };
    assert!(loss.rate_nats_per_word < 0.02, "{loss:?}");
    assert_eq!(loss.active_units, 0);
}
