//! Decodes latent vectors to words.

use super::in_groups;
use crate::config::{Decoding, Sampling};
use crate::generate::sampling::Sampler;
use crate::generate::{Numbered, Start, Word, WordForm, WordWriter, lockstep};
use crate::models::word_vae::WordVae;
use crate::parallel::Running;

#[derive(Clone, Copy, Debug)]
pub struct WordDecoder<'a> {
    pub vae: &'a WordVae,
    /// The token that the decoder reads first.
    pub bos: u32,
    /// The token that ends a word.
    pub eos: u32,
    /// Tokens that are never written.
    pub suppressed: &'a [u32],
    /// The pattern that every word matches.
    pub form: WordForm<'a>,
}

impl<'a> WordDecoder<'a> {
    /// The word of z (Z) whose letters `sampler` chooses.
    pub fn begin(&self, z: &[f32], sampler: Sampler) -> Start<WordWriter<'a>> {
        Start {
            state: self.vae.decoder(1, z),
            token: self.bos,
            writer: WordWriter::new(sampler, self.eos, self.form),
        }
    }

    /// The words of latent vectors (each Z), in the order given. Letters of word i are sampled from
    /// the stream (seed, i). `running.progress` counts words.
    ///
    /// # Panics
    /// If a vector is not of length Z.
    pub fn words(
        &self,
        vectors: &[Vec<f32>],
        decoding: Decoding,
        sampling: &Sampling,
        running: Running,
    ) -> Vec<Word> {
        let greedy = Sampling {
            temperature: 0.0,
            ..sampling.clone()
        };
        in_groups(vectors.len(), running, |group| match decoding {
            Decoding::Greedy => self.side_by_side(vectors, group, &greedy),
            Decoding::Sample => self.side_by_side(vectors, group, sampling),
            Decoding::Beam(width) => group.map(|i| self.beam(&vectors[i], width)).collect(),
        })
    }

    /// The words of a group of vectors, letter by letter.
    fn side_by_side(
        &self,
        vectors: &[Vec<f32>],
        group: std::ops::Range<usize>,
        sampling: &Sampling,
    ) -> Vec<Word> {
        let first = group.start;
        let mut words = vec![Word::default(); group.len()];
        let rows = group.len();
        let mut indices = group;
        let next = || {
            let index = indices.next()?;
            let sampler = Sampler::new(sampling, self.suppressed, index as u64);
            Some(self.begin(&vectors[index], sampler).numbered(index))
        };
        lockstep(self.vae, rows, next, |Numbered { index, writer }| {
            words[index - first] = writer.word;
        });
        words
    }
}
