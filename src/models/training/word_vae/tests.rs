//! Compares every gradient with finite differences of the plain network in f64, and the forward pass with
//! PyTorch's numbers and with the network that generates.

use super::super::dropout::{Mask, position};
use super::super::reference::{self, Reference, assert_close, gradient, widened};
use super::*;
use crate::config::{Cell, LatentConfig, ZPlacement};
use crate::generate::sampling::log_prob;
use crate::kernels::Kernels;
use crate::kernels::simd::Level;
use crate::kernels::training::{Alone, Buffers, Pool, Team};
use crate::models::Network;
use crate::models::golden::Golden;
use crate::models::sequences::Sequences;
use crate::models::weights::add_z;
use crate::models::word_vae::WordVae;
use crate::testing::{Numbers, assert_about, with_latent, word_vae};

const SEED: u64 = 5;
const STEP: u64 = 3;

/// Computes on some threads at the level in use.
fn on<T>(team: &dyn Team, buffers: &Buffers, compute: impl FnOnce(Workers) -> T) -> T {
    compute(Workers {
        team,
        kernels: Kernels::new(),
        buffers,
    })
}

/// Words with their noise, from which batches are made.
struct Corpus {
    letters: Vec<Vec<u32>>,
    /// (B, Z).
    noise: Vec<f32>,
    latent: usize,
    /// `<bos>` and `<eos>`.
    ends: [u32; 2],
    without_z: bool,
}

impl Corpus {
    fn new(lengths: &[usize], latent: usize) -> Self {
        let mut numbers = Numbers::new(3);
        let word = |&length: &usize| {
            let values = numbers.vector(length, 4.0);
            values.iter().map(|x| (x + 4.0) as u32).collect()
        };
        let letters: Vec<Vec<u32>> = lengths.iter().map(word).collect();
        Self {
            noise: numbers.vector(letters.len() * latent, 2.0),
            letters,
            latent,
            // The first is a token that is never predicted.
            ends: [10, 8],
            without_z: false,
        }
    }

    fn inputs(&self) -> Vec<Vec<u32>> {
        let word = |word: &Vec<u32>| [&self.ends[..1], &word[..]].concat();
        self.letters.iter().map(word).collect()
    }

    fn targets(&self) -> Vec<Vec<u32>> {
        let word = |word: &Vec<u32>| [&word[..], &self.ends[1..]].concat();
        self.letters.iter().map(word).collect()
    }

    fn batch(&self, rows: std::ops::Range<usize>) -> WordBatch {
        WordBatch {
            first: rows.start,
            letters: Sequences::new(&self.letters[rows.clone()]),
            inputs: Sequences::new(&self.inputs()[rows.clone()]),
            targets: Sequences::new(&self.targets()[rows.clone()]).tokens,
            noise: self.noise[rows.start * self.latent..rows.end * self.latent].to_vec(),
            without_z: self.without_z,
        }
    }
}

/// The factors of dropout at `rate`.
fn factors(rate: f64, what: Use, width: usize) -> impl Fn(usize, usize, usize, usize) -> f64 {
    let noise = Noise::new(SEED, what, STEP);
    let of = |layer: usize, row: usize, time: usize| {
        let mut units = vec![1.0; width];
        let mask = Mask::new(noise.sub(layer as u64), rate);
        on(&Alone, &Buffers::new(), |workers| {
            mask.apply(workers, |_| position(row, time), &mut units, width);
        });
        units
    };
    let all: Vec<f32> = (0..3 * 4 * 5)
        .flat_map(|at| of(at / 20, at / 5 % 4, at % 5))
        .collect();
    move |layer, row, time, unit| {
        let factor = all[((layer * 4 + row) * 5 + time) * width + unit];
        f64::from(factor)
    }
}

/// The loss and the gradients of a batch in `shards` parts.
fn computed(
    workers: Workers,
    (network, parameters): (&NetworkConfig, &Parameters),
    corpus: &Corpus,
    (dropout, kl_weight, free_bits): (WordDropout, f32, f32),
    shards: usize,
) -> (f64, Vec<f32>, Vec<WordVaeTraining>) {
    let words = corpus.letters.len();
    let start = |shard: usize| words * shard / shards;
    let batches: Vec<WordBatch> = (0..shards)
        .map(|shard| corpus.batch(start(shard)..start(shard + 1)))
        .collect();
    let mut parts: Vec<WordVaeTraining> = batches
        .iter()
        .map(|_| WordVaeTraining::new(network, parameters, dropout))
        .collect();
    let noise = Some((SEED, STEP));
    for (part, batch) in parts.iter_mut().zip(&batches) {
        part.encode(workers, &parameters.values, batch, noise);
    }
    let mut objective = Objective::new(network.latent(), free_bits);
    objective.set(words, kl_weight, parts.iter().map(WordVaeTraining::rates));
    let mut distortion = 0.0;
    let mut sum = vec![0.0; parameters.count()];
    for (part, batch) in parts.iter_mut().zip(&batches) {
        let nats = part.decode(workers, &parameters.values, batch);
        distortion += nats.iter().map(|&nats| f64::from(nats)).sum::<f64>();
        // Whatever is left from a step before is overwritten.
        let mut gradients = vec![7.0; parameters.count()];
        part.backward(
            workers,
            &parameters.values,
            batch,
            &objective,
            &mut gradients,
        );
        for (sum, gradient) in sum.iter_mut().zip(gradients) {
            *sum += gradient;
        }
    }
    (objective.loss(distortion), sum, parts)
}

/// The networks of the tests: every cell, both numbers of directions, and every way for z.
fn networks() -> Vec<NetworkConfig> {
    let mut networks = Vec::new();
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for (layers, bidirectional, z, latent) in [
            (1, true, ZPlacement::Both, 3),
            (2, false, ZPlacement::Start, 2),
            (2, true, ZPlacement::Steps, 3),
            (3, true, ZPlacement::Both, 1),
            (2, true, ZPlacement::Both, 0),
        ] {
            networks.push(with_latent(&word_vae(cell, 4, layers), |own| {
                own.bidirectional = bidirectional;
                own.z = z;
                own.latent = latent;
            }));
        }
    }
    networks
}

#[test]
fn every_gradient_is_that_of_finite_differences() {
    let lengths = [3, 1, 4, 2];
    for network in networks() {
        let corpus = Corpus::new(&lengths, network.latent());
        let mut parameters = Parameters::init(&network, 1, false);
        if network.latent() > 1 {
            // One dimension beyond the lower bound, or about at it.
            let bias = parameters.range("encoder.log_var.bias");
            parameters.values[bias][1] = if network.layers > 1 { -10.0 } else { -11.0 };
        }
        let reference = Reference::new(&network, false);
        let wide = widened(&parameters.values);
        let half = WordDropout {
            encoder: 0.5,
            decoder: 0.25,
        };
        for (dropout, kl_weight, free_bits) in
            [(WordDropout::default(), 1.0, 0.0), (half, 0.5, 0.05)]
        {
            let what = format!("{network:?} {dropout:?}");
            let width = network.hidden * (1 + usize::from(network.is_bidirectional()));
            let encoder = factors(dropout.encoder, Use::EncoderDropout, width);
            let decoder = factors(dropout.decoder, Use::Dropout, network.hidden);
            let words = reference::Words {
                letters: &corpus.letters,
                inputs: &corpus.inputs(),
                targets: &corpus.targets(),
                noise: &widened(&corpus.noise),
                kl_weight: f64::from(kl_weight),
                free_bits: f64::from(free_bits),
                encoder: &encoder,
                decoder: &decoder,
            };
            let setting = (dropout, kl_weight, free_bits);
            let compute = |shards| {
                on(&Alone, &Buffers::new(), |workers| {
                    computed(workers, (&network, &parameters), &corpus, setting, shards)
                })
            };
            let (loss, found, _) = compute(1);
            let want = reference.words_loss(&wide, &words);
            assert!((loss / want - 1.0).abs() < 1e-5, "{what}: {loss} {want}");
            let want = gradient(&wide, |wide| reference.words_loss(wide, &words));
            for entry in parameters.entries() {
                let what = format!("{what} {}", entry.name);
                let range = entry.range.clone();
                assert_close(&found[range.clone()], &want[range], 1e-4, &what);
            }
            let (other, parts, _) = compute(3);
            assert!((other / loss - 1.0).abs() < 1e-6, "{what}: {other} {loss}");
            assert_close(&parts, &widened(&found), 1e-6, &what);
        }
    }
}

#[test]
fn a_decoder_that_learns_alone_has_the_gradients_of_one_without_z() {
    for network in networks().into_iter().filter(|own| own.latent() > 0) {
        let mut corpus = Corpus::new(&[3, 1, 4, 2], network.latent());
        let plain = with_latent(&network, |own| {
            *own = LatentConfig {
                latent: 0,
                z: ZPlacement::Both,
                bidirectional: false,
            };
        });
        let alone = Parameters::init(&plain, 1, false);
        let mut parameters = Parameters::init(&network, 2, false);
        let with_z = add_z(&alone.to_weights(""), &network, 3);
        parameters.load(&with_z, "").expect("the same network");
        let dropout = WordDropout {
            encoder: 0.5,
            decoder: 0.25,
        };
        let of = |network, parameters: &Parameters, corpus: &Corpus, shards| {
            on(&Alone, &Buffers::new(), |workers| {
                let setting = (dropout, 0.0, 0.1);
                computed(workers, (network, parameters), corpus, setting, shards)
            })
        };
        let (want, gradients, _) = of(&plain, &alone, &corpus, 1);
        corpus.without_z = true;
        for shards in [1, 3] {
            let (loss, found, _) = of(&network, &parameters, &corpus, shards);
            assert!((loss / want - 1.0).abs() < 1e-6, "{loss} {want}");
            let all = parameters.named(&found, "");
            for (name, found) in &all {
                let Some(entry) = alone.entries().iter().find(|entry| entry.name == *name) else {
                    let is_zero = found.data().iter().all(|&x| x == 0.0);
                    assert!(is_zero || name == "decoder.init.bias", "{name}");
                    continue;
                };
                let want = &gradients[entry.range.clone()];
                let (rows, width) = (found.shape[0], want.len() / found.shape[0]);
                let found = found.data();
                for (row, want) in want.chunks_exact(width).enumerate() {
                    let own = &found[row * found.len() / rows..];
                    assert_close(&own[..width], &widened(want), 1e-5, name);
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_and_every_level_compute_the_same_bits() {
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let network = word_vae(cell, 37, 2);
        let lengths: Vec<usize> = (0..70).map(|row| 1 + row * 7 % 9).collect();
        let corpus = Corpus::new(&lengths, network.latent());
        let parameters = Parameters::init(&network, 1, false);
        let dropout = WordDropout {
            encoder: 0.3,
            decoder: 0.3,
        };
        let setting = (dropout, 1.0, 0.1);
        let mut first: Option<(f64, Vec<f32>)> = None;
        for kernels in Level::ALL.into_iter().filter_map(Kernels::at) {
            for threads in [1, 2, 3] {
                let (pool, buffers) = (Pool::new(threads), Buffers::new());
                let workers = Workers {
                    team: &pool,
                    kernels,
                    buffers: &buffers,
                };
                let network = (&network, &parameters);
                let (loss, gradients, _) = computed(workers, network, &corpus, setting, 1);
                let (want, first) = first.get_or_insert_with(|| (loss, gradients.clone()));
                assert!(
                    *first == gradients,
                    "{cell}, {kernels:?}, {threads} threads"
                );
                assert!((*want / loss - 1.0).abs() < 1e-7, "{cell}, {kernels:?}");
            }
        }
    }
}

#[test]
fn gradients_in_bf16_are_those_of_f32_but_for_its_rounding() {
    let plain = Kernels::at(Level::Portable).expect("everywhere");
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        let network = word_vae(cell, 37, 2);
        let lengths: Vec<usize> = (0..40).map(|row| 1 + row * 7 % 9).collect();
        let corpus = Corpus::new(&lengths, network.latent());
        let parameters = Parameters::init(&network, 1, false);
        let compute = |kernels, threads, shards| {
            let (pool, buffers) = (Pool::new(threads), Buffers::new());
            let workers = Workers {
                team: &pool,
                kernels,
                buffers: &buffers,
            };
            let setting = (WordDropout::default(), 1.0, 0.1);
            computed(workers, (&network, &parameters), &corpus, setting, shards)
        };
        let (loss, want, _) = compute(plain, 1, 1);
        for shards in [1, 3] {
            let (found, gradients, _) = compute(plain.in_bf16(), 1, shards);
            assert!(compute(plain.in_bf16(), 3, shards).1 == gradients, "{cell}");
            assert!((found / loss - 1.0).abs() < 1e-3, "{found} {loss}");
            for entry in parameters.entries() {
                let range = entry.range.clone();
                assert_about(&gradients[range.clone()], &want[range], &entry.name);
            }
        }
    }
}

#[test]
fn a_shard_computes_the_bits_of_the_whole_batch() {
    let network = word_vae(Cell::Gru, 5, 2);
    // No shard has fewer letters than there are tokens, so that all look them up in a table.
    let corpus = Corpus::new(&[14, 13, 3, 9, 4, 12, 6], network.latent());
    let parameters = Parameters::init(&network, 1, false);
    let dropout = WordDropout {
        encoder: 0.5,
        decoder: 0.5,
    };
    let parts = |shards| {
        on(&Alone, &Buffers::new(), |workers| {
            let network = (&network, &parameters);
            computed(workers, network, &corpus, (dropout, 1.0, 0.0), shards).2
        })
    };
    let joined = |parts: &[WordVaeTraining], of: fn(&WordVaeTraining) -> &[f32]| -> Vec<f32> {
        parts.iter().flat_map(of).copied().collect()
    };
    let (whole, several) = (parts(1), parts(4));
    for of in [WordVaeTraining::rates, WordVaeTraining::means] {
        assert_eq!(joined(&whole, of), joined(&several, of));
    }
    let sorted = |parts: &[WordVaeTraining]| {
        let mut nats = joined(parts, |part| &part.decoder.nats);
        nats.sort_by(f32::total_cmp);
        nats
    };
    assert_eq!(sorted(&whole), sorted(&several));
}

/// An evaluation: −log p of every target, D of every word, and the model that computed them.
fn evaluated(
    network: &NetworkConfig,
    parameters: &Parameters,
    batch: &WordBatch,
) -> (Vec<f32>, WordVaeTraining) {
    on(&Alone, &Buffers::new(), |workers| {
        let dropout = WordDropout {
            encoder: 0.5,
            decoder: 0.5,
        };
        let mut model = WordVaeTraining::new(network, parameters, dropout);
        model.encode(workers, &parameters.values, batch, None);
        let mut distortions = vec![0.0; batch.inputs.batch()];
        let nats = model.decode(workers, &parameters.values, batch);
        for (&row, nats) in batch.inputs.rows.iter().zip(nats) {
            distortions[row as usize] += nats;
        }
        (distortions, model)
    })
}

#[test]
fn an_evaluation_computes_the_numbers_of_pytorch() {
    let files = Golden::all("word-vae-");
    assert_eq!(files.len(), 18);
    for golden in files {
        let network = &golden.config;
        let mut parameters = Parameters::init(network, 0, false);
        parameters
            .load(&golden.weights, "")
            .expect("the weights fit");
        let (lengths, padded) = (golden.tokens("lengths"), golden.tokens("words"));
        let rows = padded.chunks(padded.len() / lengths.len()).zip(&lengths);
        let letters = rows.map(|(row, &length)| row[..length as usize].to_vec());
        let corpus = Corpus {
            letters: letters.collect(),
            noise: golden.numbers("eps").to_vec(),
            latent: network.latent(),
            ends: [golden.special("bos"), golden.special("eos")],
            without_z: false,
        };
        let (d, model) = evaluated(network, &parameters, &corpus.batch(0..lengths.len()));
        let rates = model.rates().chunks(network.latent());
        let r: Vec<f32> = rates.map(|rates| rates.iter().sum()).collect();
        let found = [("mean", model.means()), ("d", &d), ("r", &r)];
        for (what, found) in found {
            assert_close(found, &widened(golden.numbers(what)), 1e-5, what);
        }
    }
}

#[test]
fn an_evaluation_computes_the_numbers_of_the_network_that_generates() {
    for network in networks() {
        let parameters = Parameters::init(&network, 1, false);
        let corpus = Corpus::new(&[3, 1, 5], network.latent());
        let vae = WordVae::new(&network, &parameters.to_weights("")).expect("a network");
        // Without noise, z is the mean.
        let mut batch = corpus.batch(0..3);
        batch.noise.fill(0.0);
        let (found, model) = evaluated(&network, &parameters, &batch);
        let mut want = Vec::new();
        for (row, word) in corpus.letters.iter().enumerate() {
            let posterior = vae.encode(word);
            let own = row * network.latent()..(row + 1) * network.latent();
            assert_close(&model.means()[own], &widened(&posterior.mean), 1e-5, "mean");
            let mut state = vae.decoder(1, &posterior.mean);
            let pairs = corpus.inputs()[row]
                .clone()
                .into_iter()
                .zip(corpus.targets()[row].clone());
            let nats = pairs.map(|(input, target)| {
                vae.step(&mut state, &[input]);
                -log_prob(state.logits(0), target)
            });
            want.push(nats.sum());
        }
        assert_close(&found, &want, 1e-5, &format!("{network:?}"));
    }
}

#[test]
fn company_and_order_in_the_batch_change_no_word() {
    let network = word_vae(Cell::Lstm, 9, 2);
    let parameters = Parameters::init(&network, 1, false);
    let mut corpus = Corpus::new(&[4, 2, 6, 6, 1], network.latent());
    let (together, _) = evaluated(&network, &parameters, &corpus.batch(0..5));
    for (row, &want) in together.iter().enumerate() {
        let (alone, _) = evaluated(&network, &parameters, &corpus.batch(row..row + 1));
        assert_close(&alone, &[f64::from(want)], 1e-6, "alone");
    }
    corpus.letters.reverse();
    let latents = corpus.noise.chunks(network.latent()).rev();
    corpus.noise = latents.flatten().copied().collect();
    let (mut reversed, _) = evaluated(&network, &parameters, &corpus.batch(0..5));
    reversed.reverse();
    assert_eq!(reversed, together);
}
