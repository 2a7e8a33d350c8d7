//! The output of the commands that explore a word-vae's latent space, recomputed with libtorch from
//! their formulas: `encode`, `reconstruct`, `interpolate`, `analogy`, `neighbours`, `vary`, `score`,
//! `map`, `generate` and beam search.

use tch::{Device, Kind, Tensor};
use textgen::config::{
    Cell, Decoding, LatentConfig, NetworkConfig, NetworkKind, Precision, Sampling, ZPlacement,
};

use textgen::evaluate::importance::importance;
use textgen::evaluate::{Word, WordReading};
use textgen::generate::sampling::Sampler;
use textgen::generate::{LONGEST_WORD, Prior, WordForm};
use textgen::latent::{Interpolation, Plane, WordDecoder, analogy, around, interpolate, nearest};
use textgen::parallel::Running;

use textgen::models::batch::WordBatch;
use textgen::models::sequences::Sequences;
use textgen::models::training::Parameters as Layout;
use textgen::text::SpecialTokens;

use crate::dropout::Pass;
use crate::graph::Uploads;
use crate::parameters::{Parameters, floats};
use crate::testing::{assert_close, one_thread, word_batch};
use crate::word_vae::{WordVae, Words};

const LATENT: usize = 6;
const LETTERS: u32 = 12;
const SPECIAL: SpecialTokens = SpecialTokens {
    bos: 14,
    eos: 12,
    unk: 13,
};
const SUPPRESSED: [u32; 1] = [SPECIAL.unk];
const QUIETLY: Running = Running {
    threads: 2,
    progress: &|_| (),
};
const READING: WordReading = WordReading {
    bos: SPECIAL.bos,
    eos: SPECIAL.eos,
    seed: 5,
};

/// The same network on both sides, with probabilities so peaked that no sample depends on the last bit.
struct Both {
    torch: WordVae,
    parameters: Parameters,
    native: textgen::models::word_vae::WordVae,
}

impl Both {
    fn new(cell: Cell) -> Self {
        one_thread();
        let network = NetworkConfig {
            kind: NetworkKind::WordVae(LatentConfig {
                latent: LATENT,
                z: ZPlacement::Both,
                bidirectional: true,
            }),
            embedding: 7,
            inputs: 15,
            ..NetworkConfig::char_rnn(cell, 20, 2, 14)
        };
        let parameters = Parameters::new(Layout::init(&network, 11, false), Device::Cpu);
        tch::no_grad(|| {
            for (name, factor) in [
                ("decoder.head.weight", 12.0),
                ("decoder.init.weight", 4.0),
                ("encoder.mean.weight", 8.0),
            ] {
                let _ = parameters.get(name).shallow_clone().g_mul_scalar_(factor);
            }
            // Words end after a few letters.
            let _ = parameters
                .get("decoder.head.bias")
                .get(i64::from(SPECIAL.eos))
                .g_add_scalar_(3.0);
        });
        let weights = parameters.named(parameters.tensors(), "");
        let native = textgen::models::word_vae::WordVae::new(&network, &weights).expect("fits");
        let torch = WordVae {
            network,
            dropout: 0.0,
            decoder_dropout: 0.0,
            precision: Precision::F32,
        };
        Self {
            torch,
            parameters,
            native,
        }
    }

    fn decoder(&self) -> WordDecoder<'_> {
        WordDecoder {
            vae: &self.native,
            bos: SPECIAL.bos,
            eos: SPECIAL.eos,
            suppressed: &SUPPRESSED,
            form: WordForm::default(),
        }
    }

    /// μ (N, Z) and σ (N, Z) by libtorch.
    fn posteriors(&self, words: &[Vec<u32>]) -> (Tensor, Tensor) {
        let batch = word_batch(words, LATENT, SPECIAL, 0);
        let words = Words::new(&batch, &mut Uploads::new(Device::Cpu));
        let [mean, log_var] = self
            .torch
            .encode(&self.parameters, &words, Pass::Evaluation);
        (mean, (log_var * 0.5).exp())
    }

    /// The logits (N, outputs) of what the decoder reads of a batch for `z` (B, Z).
    fn logits(&self, batch: &WordBatch, z: &Tensor) -> Tensor {
        let words = Words::new(batch, &mut Uploads::new(Device::Cpu));
        let outputs = self
            .torch
            .decode(&self.parameters, &words, z, Pass::Evaluation);
        self.parameters.linear(&outputs, "decoder.head")
    }

    /// The most probable letters of z (Z), decoded greedily by libtorch.
    fn greedy(&self, z: &Tensor) -> Vec<u32> {
        let mut letters: Vec<u32> = Vec::new();
        while letters.len() < LONGEST_WORD {
            let batch = decoded(&letters, 1);
            let logits = self.logits(&batch, &z.unsqueeze(0));
            let last = logits.select(0, -1);
            let _ = last.get(i64::from(SPECIAL.unk)).fill_(f64::NEG_INFINITY);
            let token = last.argmax(0, false).int64_value(&[]) as u32;
            if token == SPECIAL.eos {
                break;
            }
            letters.push(token);
        }
        letters
    }

    /// ln p(word | z) for every row of z (K, Z), by libtorch; `<unk>` is never written.
    fn log_prob(&self, word: &[u32], z: &Tensor, suppressed: bool) -> Tensor {
        let samples = z.size()[0] as usize;
        let batch = decoded(word, samples);
        let logits = self.logits(&batch, z);
        if suppressed {
            let _ = logits
                .select(1, i64::from(SPECIAL.unk))
                .fill_(f64::NEG_INFINITY);
        }
        let log_probs = logits.log_softmax(1, Kind::Double);
        let targets = Tensor::from_slice(&batch.targets).unsqueeze(1);
        let of_tokens = log_probs.gather(1, &targets, false);
        // All words have one length: step by step, one after the other.
        let of_words = of_tokens.reshape([-1, samples as i64]);
        of_words.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double)
    }

    /// Checks that the native engine decodes `vectors` as libtorch decodes `wanted` (N, Z).
    fn decodes_alike(&self, vectors: &[Vec<f32>], wanted: &Tensor, what: &str) {
        assert_close(&vectors.concat(), &flat(wanted), 1e-4, what);
        let sampling = Sampling::new(0);
        let words = self
            .decoder()
            .words(vectors, Decoding::Greedy, &sampling, QUIETLY);
        for (row, word) in (0..).zip(words) {
            assert_eq!(word.letters, self.greedy(&wanted.get(row)), "{what} {row}");
        }
    }
}

/// A batch of one word several times, of which only the decoder's part is used.
fn decoded(word: &[u32], times: usize) -> WordBatch {
    let input = [&[SPECIAL.bos], word].concat();
    let target = [word, &[SPECIAL.eos]].concat();
    let inputs = Sequences::new(&vec![input; times]);
    WordBatch {
        first: 0,
        letters: inputs.clone(),
        targets: Sequences::new(&vec![target; times]).tokens,
        noise: vec![0.0; times * LATENT],
        without_z: false,
        inputs,
    }
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    floats(tensor)
}

fn tensor(vector: &[f32]) -> Tensor {
    Tensor::from_slice(vector)
}

/// Words of 2 to 6 letters.
fn words(count: u32) -> Vec<Vec<u32>> {
    let letter =
        |word: u32, position: u32| (word * word + 5 * position * (word + 1) + position) % LETTERS;
    (0..count)
        .map(|word| {
            (0..2 + word % 5)
                .map(|position| letter(word, position))
                .collect()
        })
        .collect()
}

fn every_cell(check: impl Fn(&Both)) {
    for cell in [Cell::Gru, Cell::Lstm, Cell::Rnn] {
        check(&Both::new(cell));
    }
}

#[test]
fn words_are_encoded_and_latent_vectors_decoded_as_by_libtorch() {
    every_cell(|both| {
        let words = words(12);
        let (mean, deviation) = both.posteriors(&words);
        let letters: Vec<&[u32]> = words.iter().map(Vec::as_slice).collect();
        let posteriors = textgen::latent::encode(&both.native, &letters, QUIETLY);
        let means: Vec<Vec<f32>> = posteriors.iter().map(|word| word.mean.clone()).collect();
        let log_vars: Vec<f32> = posteriors
            .iter()
            .flat_map(|word| word.log_var.clone())
            .collect();
        assert_close(&log_vars, &flat(&(deviation.log() * 2.0)), 1e-4, "encode");
        both.decodes_alike(&means, &mean, "reconstruct");

        let (a, b, c) = (&means[1], &means[4], &means[7]);
        let [ta, tb, tc] = [1, 4, 7].map(|word| mean.get(word));
        let arc = |t: f64| {
            let cosine = (ta.dot(&tb) / (ta.norm() * tb.norm())).double_value(&[]);
            let angle = cosine.acos();
            &ta * (((1.0 - t) * angle).sin() / angle.sin())
                + &tb * ((t * angle).sin() / angle.sin())
        };
        let line = |t: f64| ta.lerp(&tb, t);
        let along = |f: &dyn Fn(f64) -> Tensor| {
            Tensor::stack(
                &(0..8).map(|i| f(f64::from(i) / 7.0)).collect::<Vec<_>>(),
                0,
            )
        };
        let vectors = |how| {
            interpolate(a, b, 8, how)
                .into_iter()
                .map(|(_, z)| z)
                .collect::<Vec<_>>()
        };
        both.decodes_alike(
            &vectors(Interpolation::Spherical),
            &along(&arc),
            "interpolate",
        );
        both.decodes_alike(
            &vectors(Interpolation::Linear),
            &along(&line),
            "interpolate --linear",
        );
        let wanted = (&tc + &tb - &ta).unsqueeze(0);
        both.decodes_alike(&[analogy(a, b, c)], &wanted, "analogy");

        let distances = (&mean - &ta)
            .square()
            .sum_dim_intlist(1, false, Kind::Float)
            .sqrt();
        let (want, order) = distances.topk(5, 0, false, true);
        let found = nearest(a, means.iter().map(Vec::as_slice), 5);
        let indices: Vec<i64> = found.iter().map(|(index, _)| *index as i64).collect();
        assert_eq!(indices, Vec::<i64>::try_from(&order).expect("indices"));
        let found: Vec<f32> = found.iter().map(|(_, distance)| *distance as f32).collect();
        assert_close(&found, &flat(&want), 1e-4, "neighbours");

        let config = Sampling::new(3);
        let sampler = || Sampler::new(&config, &[], 9);
        let varied = around(&posteriors[2], 1.5, &mut sampler());
        let mut noise = sampler();
        let noise: Vec<f32> = (0..LATENT).map(|_| noise.normal()).collect();
        let unit = tensor(&noise) / tensor(&noise).norm();
        let wanted = mean.get(2) + unit * deviation.get(2) * (1.5 * (LATENT as f64).sqrt());
        both.decodes_alike(&[varied], &wanted.unsqueeze(0), "vary");
    });
}

#[test]
fn words_cost_what_libtorch_says_over_many_draws() {
    const SAMPLES: usize = 40;
    every_cell(|both| {
        let words = words(6);
        let (mean, deviation) = both.posteriors(&words);
        let given: Vec<Word> = words
            .iter()
            .zip(0..)
            .map(|(letters, index)| Word { index, letters })
            .collect();
        let found = importance(&both.native, &given, &[SAMPLES], READING, QUIETLY).expect("finite");
        for (row, word) in (0..).zip(&words) {
            let config = Sampling::new(READING.seed);
            let mut sampler = Sampler::new(&config, &[], row as u64);
            let noise: Vec<f32> = (0..SAMPLES * LATENT).map(|_| sampler.normal()).collect();
            let noise = tensor(&noise).view([SAMPLES as i64, LATENT as i64]);
            let z = mean.get(row) + &noise * deviation.get(row);
            // ln N(z; 0, 1) − ln N(z; μ, σ²), in which the constants cancel.
            let ratio = (noise.square() - z.square()) * 0.5 + deviation.get(row).log();
            let ratio = ratio.sum_dim_intlist(1, false, Kind::Double);
            let weights = both.log_prob(word, &z, false) + ratio;
            let want = (SAMPLES as f64).ln() - weights.logsumexp(0, false).double_value(&[]);
            let have = found[row as usize][0];
            assert!((have - want).abs() < 1e-3, "{have} {want}");
        }
    });
}

#[test]
fn the_map_shows_the_plane_that_libtorch_finds() {
    let both = Both::new(Cell::Gru);
    let (mean, _) = both.posteriors(&words(60));
    let vectors: Vec<Vec<f32>> = (0..60).map(|row| flat(&mean.get(row))).collect();
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let plane = Plane::of(&vectors);
    let centred = &mean - mean.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let (_, lengths, axes) = centred.svd(true, true);
    let explained = lengths.square() / lengths.square().sum(Kind::Float);
    assert_close(
        &plane.explained.map(|part| part as f32),
        &flat(&explained.narrow(0, 0, 2)),
        1e-4,
        "explained",
    );
    // An axis may point either way.
    let wanted = centred.matmul(&axes.narrow(1, 0, 2)).abs();
    let found: Vec<f32> = vectors
        .iter()
        .flat_map(|vector| plane.project(vector).map(|x| x.abs() as f32))
        .collect();
    assert_close(&found, &flat(&wanted), 1e-3, "map");
}

#[test]
fn words_drawn_have_the_probabilities_that_libtorch_gives_them() {
    every_cell(|both| {
        let prior = Prior {
            vae: &both.native,
            z_temperature: 1.0,
            bos: SPECIAL.bos,
            eos: SPECIAL.eos,
        };
        let config = Sampling::new(8);
        let mut ended = 0;
        for index in 0..20 {
            let sampler = || Sampler::new(&config, &SUPPRESSED, index);
            let z = prior.place(&mut sampler());
            let z_tensor = tensor(&z).unsqueeze(0);
            for (word, what) in [
                (prior.word(sampler()), "generate"),
                (both.decoder().beam(&z, 4), "beam"),
            ] {
                if word.letters.len() == LONGEST_WORD {
                    continue;
                }
                ended += 1;
                let want = both
                    .log_prob(&word.letters, &z_tensor, true)
                    .double_value(&[0]);
                assert!(
                    (word.log_prob - want).abs() < 1e-3,
                    "{what}: {} {want}",
                    word.log_prob
                );
            }
        }
        assert!(ended > 10, "{ended} words that end");
    });
}
