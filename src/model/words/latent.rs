//! Encodes words as latent vectors, and decodes them.
//!
//! The latent vector of a word is the mean μ (Z) of its posterior.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Activity, GeneratedWord, Word, WordModel, WordNetwork, within};
use crate::config::{Decoding, Sampling};
use crate::generate::WordForm;
use crate::generate::sampling::Sampler;
use crate::latent::{self, Interpolation, Plane, WordDecoder};
use crate::model::ModelError;
use crate::models::word_vae::{Posterior, WordVae};

/// The most steps of an interpolation.
const MOST_STEPS: usize = 100_000;
/// The most variations of a word.
const MOST_VARIATIONS: usize = 1_000_000;

/// The options of decoding latent vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeOptions {
    /// How letters are chosen.
    pub decoding: Decoding,
    /// How letters are sampled; the seed is also used for latent vectors.
    pub sampling: Sampling,
}

impl Default for DecodeOptions {
    /// Greedy decoding: always the most probable letter.
    fn default() -> Self {
        Self {
            decoding: Decoding::Greedy,
            sampling: Sampling::new(0),
        }
    }
}

/// Coordinates of words in two dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct WordMap {
    /// The coordinates of each word, in the order given.
    pub points: Vec<[f64; 2]>,
    /// The fractions of the latent vectors' variance that the two principal components explain;
    /// `None` if the latent space itself has two dimensions.
    pub explained: Option<[f64; 2]>,
}

impl WordModel {
    /// The network; an error if there is no latent space of words.
    fn vae(&self) -> Result<&WordVae, ModelError> {
        let model = match &self.network {
            WordNetwork::Vae(vae) if vae.latent() > 0 => return Ok(vae),
            WordNetwork::Vae(_) => "a word model of latent size 0",
            WordNetwork::Article(_) => {
                "the article's network, whose decoder ignores the word encoded"
            }
        };
        Err(ModelError::NoLatentSpace { model })
    }

    /// Returns an error if there is no latent space of words.
    pub(crate) fn check_latent_space(&self) -> Result<(), ModelError> {
        self.vae().map(|_| ())
    }

    /// The posteriors of words, in the order given.
    pub fn encode<'w>(
        &self,
        words: impl IntoIterator<Item = &'w Word>,
    ) -> Result<Vec<Posterior>, ModelError> {
        let vae = self.vae()?;
        let words: Vec<&[u32]> = words.into_iter().map(|word| &word.tokens[..]).collect();
        let posteriors = self.watched(Activity::Encode, words.len() as u64, |running| {
            latent::encode(vae, &words, running)
        });
        let numbers = |p: &Posterior| p.mean.iter().chain(&p.log_var).all(|x| x.is_finite());
        if posteriors.iter().all(numbers) {
            Ok(posteriors)
        } else {
            Err(ModelError::NotANumber {
                what: format!("{}: a word's latent vector", self.path.display()),
            })
        }
    }

    /// Encodes words as latent vectors (each Z), in the order given.
    pub fn latent_vectors<'w>(
        &self,
        words: impl IntoIterator<Item = &'w Word>,
    ) -> Result<Vec<Vec<f32>>, ModelError> {
        let posteriors = self.encode(words)?;
        Ok(posteriors.into_iter().map(|p| p.mean).collect())
    }

    /// Decodes latent vectors (each Z) to words, in the order given.
    pub fn decode(
        &self,
        vectors: &[Vec<f32>],
        options: &DecodeOptions,
    ) -> Result<Vec<GeneratedWord>, ModelError> {
        let vae = self.vae()?;
        options.sampling.validate()?;
        let expected = vae.latent();
        if let Some(vector) = vectors.iter().find(|vector| vector.len() != expected) {
            let found = vector.len();
            return Err(ModelError::LatentSize { found, expected });
        }
        let decoder = WordDecoder {
            vae,
            bos: self.special.bos,
            eos: self.special.eos,
            suppressed: &self.suppressed,
            form: WordForm::default(),
        };
        let words = self.watched(Activity::Decode, vectors.len() as u64, |running| {
            decoder.words(vectors, options.decoding, &options.sampling, running)
        });
        Ok(words.into_iter().map(|word| self.generated(word)).collect())
    }

    /// Encodes words and decodes them again.
    pub fn reconstruct<'w>(
        &self,
        words: impl IntoIterator<Item = &'w Word>,
        options: &DecodeOptions,
    ) -> Result<Vec<GeneratedWord>, ModelError> {
        self.decode(&self.latent_vectors(words)?, options)
    }

    /// Decodes `steps` latent vectors between those of two words, both ends included; returns each word
    /// with its t in 0…1.
    pub fn interpolate(
        &self,
        ends: [&Word; 2],
        steps: usize,
        how: Interpolation,
        options: &DecodeOptions,
    ) -> Result<Vec<(f64, GeneratedWord)>, ModelError> {
        let must = "must be 2 to 100000, both ends included";
        within("steps", &steps, (2..=MOST_STEPS).contains(&steps), must)?;
        let ends = self.latent_vectors(ends)?;
        let path = latent::interpolate(&ends[0], &ends[1], steps, how);
        let (t, vectors): (Vec<f64>, Vec<Vec<f32>>) = path.into_iter().unzip();
        Ok(t.into_iter().zip(self.decode(&vectors, options)?).collect())
    }

    /// The word that is to `c` as `b` is to `a`: decodes c + b − a.
    pub fn analogy(
        &self,
        [a, b, c]: [&Word; 3],
        options: &DecodeOptions,
    ) -> Result<GeneratedWord, ModelError> {
        let z = self.latent_vectors([a, b, c])?;
        let mut found = self.decode(&[latent::analogy(&z[0], &z[1], &z[2])], options)?;
        Ok(found.swap_remove(0))
    }

    /// The `count` words of `among` whose latent vectors are nearest to that of `word`, with their
    /// Euclidean distances; all of them if there are fewer. `word` itself is left out.
    pub fn neighbours<'w>(
        &self,
        word: &Word,
        among: &'w [Word],
        count: usize,
    ) -> Result<Vec<(f64, &'w Word)>, ModelError> {
        within("count", &count, count > 0, "must be at least 1")?;
        let others: Vec<&Word> = among
            .iter()
            .filter(|other| other.text != word.text)
            .collect();
        let here = self.latent_vectors([word])?;
        let vectors = self.latent_vectors(others.iter().copied())?;
        let found = latent::nearest(&here[0], vectors.iter().map(Vec::as_slice), count);
        let named = found
            .into_iter()
            .map(|(index, distance)| (distance, others[index]));
        Ok(named.collect())
    }

    /// Decodes `count` latent vectors in random directions around that of `word`; returns the words with
    /// their counts, the most frequent first. At `radius` 1, the distance is that of the encoder's own
    /// noise.
    pub fn vary(
        &self,
        word: &Word,
        radius: f64,
        count: usize,
        options: &DecodeOptions,
    ) -> Result<Vec<(usize, GeneratedWord)>, ModelError> {
        let valid = radius.is_finite() && radius >= 0.0;
        let must = "must be at least 0; 1 to 3 gives words that resemble it";
        within("radius", &radius, valid, must)?;
        let valid = (1..=MOST_VARIATIONS).contains(&count);
        within("count", &count, valid, "must be 1 to 1000000")?;
        let posterior = &self.encode([word])?[0];
        let around = |index| latent::around(posterior, radius, &mut sampler(options, index));
        let vectors: Vec<Vec<f32>> = (0..count as u64).map(around).collect();
        let mut found: Vec<(usize, GeneratedWord)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for word in self.decode(&vectors, options)? {
            let index = *known.entry(word.text.clone()).or_insert(found.len());
            match found.get_mut(index) {
                Some((times, _)) => *times += 1,
                None => found.push((1, word)),
            }
        }
        found.sort_by_key(|&(times, _)| Reverse(times));
        Ok(found)
    }

    /// Samples `count` latent vectors (each Z) from the prior.
    pub fn sample_prior(&self, count: usize, options: &DecodeOptions) -> Vec<Vec<f32>> {
        let vector = |index| {
            let mut sampler = sampler(options, index);
            (0..self.latent_size()).map(|_| sampler.normal()).collect()
        };
        (0..count as u64).map(vector).collect()
    }

    /// Projects words onto the two principal components of their latent vectors, or returns the vectors
    /// themselves if they have two dimensions.
    pub fn map<'w>(
        &self,
        words: impl IntoIterator<Item = &'w Word>,
    ) -> Result<WordMap, ModelError> {
        let vectors = self.latent_vectors(words)?;
        if self.latent_size() == 2 || vectors.is_empty() {
            let points = vectors.iter().map(|z| [f64::from(z[0]), f64::from(z[1])]);
            return Ok(WordMap {
                points: points.collect(),
                explained: None,
            });
        }
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let plane = Plane::of(&vectors);
        Ok(WordMap {
            points: vectors.iter().map(|z| plane.project(z)).collect(),
            explained: Some(plane.explained),
        })
    }
}

/// The random stream of latent vector `index`. Letters use the streams 0, 1, …, latent vectors those
/// from the other end.
fn sampler(options: &DecodeOptions, index: u64) -> Sampler {
    Sampler::new(&options.sampling, &[], u64::MAX - index)
}
