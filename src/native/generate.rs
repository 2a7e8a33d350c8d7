//! Whole words from a decoder; a text is drawn symbol by symbol where it is shown.

use super::sampling::Sampler;
use super::word_vae::WordVae;

/// Words are cut at so many letters, so that a decoder that never ends one cannot hang a program.
pub const LONGEST_WORD: usize = 64;

/// A word as drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// Its letters, without `<bos>` and `<eos>`.
    pub letters: Vec<u32>,
    /// log p(word | z) in nats at temperature 1, its end counted where it was reached.
    pub log_prob: f64,
}

/// A word from the prior: z ~ N(0, `z_temperature`²·I), then letters up to `eos` or [`LONGEST_WORD`].
pub fn word_from_prior(
    vae: &WordVae,
    sampler: &mut Sampler,
    z_temperature: f32,
    bos: u32,
    eos: u32,
) -> Word {
    let z: Vec<f32> = (0..vae.latent())
        .map(|_| sampler.normal() * z_temperature)
        .collect();
    let mut state = vae.decoder(&z);
    let mut word = Word {
        letters: Vec::new(),
        log_prob: 0.0,
    };
    let mut symbol = bos;
    while word.letters.len() < LONGEST_WORD {
        let draw = {
            vae.step(&mut state, &[symbol]);
            sampler.draw(state.logits(0))
        };
        word.log_prob += f64::from(draw.log_prob);
        if draw.symbol == eos {
            break;
        }
        symbol = draw.symbol;
        word.letters.push(symbol);
    }
    word
}
