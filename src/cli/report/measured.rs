//! What is measured for a page: held-out text or words under the model, and under n-gram models.

use anyhow::Result;

use crate::cli::eval::NGramCosts;
use crate::cli::latent::map;
use crate::cli::mixing::{Training, best_order};
use crate::cli::progress::Progress;
use crate::cli::score::scored::{Reading as Read, Scored};
use crate::config::{Decoding, Sampling, TrainConfig};
use crate::evaluate::latent::{LatentReport, latent};
use crate::evaluate::reconstruction::edit_distance;
use crate::evaluate::{Part, Reading, Word, WordReading, ngram_nats, surprisals};
use crate::model::{DecodeOptions, OpenOptions, TextModel, WordModel, WordOptions};
use crate::parallel::Running;
use crate::run::{ModelFile, TextData, TokenSource as _, WordData};
use crate::text::{BOUNDARY, segments};

/// The held-out characters that are coloured.
const COLORED: usize = 2000;
/// The held-out words that are looked at; what z carries is a mean over them.
const LOOKED_AT: usize = 2000;
/// The words on the map, the invented ones, and the reconstructions.
const ON_MAP: usize = 300;
const INVENTED: usize = 60;
const RECONSTRUCTED: usize = 24;
/// The seed of what is sampled, so that a page is the same each time.
const SEED: u64 = 0;

/// The validation cost under n-gram models of the training part, in nats per character or word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NGramLevels {
    /// That of the frequencies; only of text.
    pub unigram: Option<f64>,
    pub order: usize,
    pub best: f64,
}

/// A character and its surprisal in bits; `None` if it was not predicted.
pub type Colored = (String, Option<f64>);

#[derive(Default)]
pub struct OfText {
    pub ngrams: Option<NGramLevels>,
    /// The beginning of the first held-out part.
    pub colored: Vec<Colored>,
}

/// What the n-gram models of the training part say of the validation part; `None` if there is none.
pub fn ngrams(
    config: &TrainConfig,
    data: &TextData,
    running: Running,
) -> Result<Option<NGramLevels>> {
    let training = Training {
        tokens: data.tokens.clone(),
        split: config.split(),
        valid: config.valid,
        test: config.test,
        outputs: data.vocabulary.outputs(),
        eos: data.vocabulary.document_end(),
    };
    let parts = training.parts()?;
    let valid = segments(&parts.valid, training.split);
    let predicted: usize = valid.iter().map(|range| range.len() - 1).sum();
    if predicted == 0 {
        return Ok(None);
    }
    let counted: usize = parts.train.iter().map(ExactSizeIterator::len).sum();
    let progress = Progress::of_ngrams((counted + predicted) as u64);
    let running = Running {
        progress: &|more| progress.add(more),
        ..running
    };
    let models = training.count(running).map_err(anyhow::Error::msg)?;
    let nats = ngram_nats(&models, &data.tokens.all()?, &valid, running);
    progress.end();
    let order = best_order(&nats);
    let per_char = |order: usize| nats[order - 1] / predicted as f64;
    Ok(Some(NGramLevels {
        unigram: Some(per_char(1)),
        order,
        best: per_char(order),
    }))
}

/// What the n-gram models of the training words say of the validation words; `None` if there are none.
pub fn word_ngrams(data: &WordData, valid: &[Word], eos: u32) -> Option<NGramLevels> {
    if valid.is_empty() {
        return None;
    }
    let costs = NGramCosts::new(data, valid, eos);
    Some(NGramLevels {
        unigram: None,
        order: costs.order,
        best: costs.mean(),
    })
}

/// The surprisal of the first held-out characters.
pub fn colored(
    file: &ModelFile,
    config: &TrainConfig,
    data: &TextData,
    running: Running,
) -> Result<Vec<Colored>> {
    let parts = data.split(config)?;
    let Some(held_out) = parts.valid.first().or(parts.test.first()) else {
        return Ok(Vec::new());
    };
    let end = held_out.end.min(held_out.start + COLORED);
    let tokens = data.tokens.read(held_out.start..end)?;
    let (vocabulary, mut bytes) = (&data.vocabulary, Vec::new());
    for &token in &*tokens {
        if Some(token) == vocabulary.document_end() {
            bytes.extend(BOUNDARY.to_string().into_bytes());
        } else if Some(token) == vocabulary.unk() {
            bytes.extend("\u{FFFD}".bytes());
        } else {
            vocabulary.push_bytes(token, &mut bytes);
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let model = TextModel::from_file(file.clone(), OpenOptions::default())?;
    let open = vocabulary.encode_open(&text);
    let read = open.readable(vocabulary.unk());
    let mut found = surprisals(
        &[Part::whole(model.network(), &read)],
        Reading::Exact,
        running,
    )?;
    let reading = Read {
        vocabulary,
        open,
        goes_on: false,
        surprisals: found.pop().unwrap_or_default(),
    };
    let scored = Scored::new(text, &[reading], true);
    let glyphs = scored.bits().map(|(glyph, bits)| (glyph.to_owned(), bits));
    Ok(glyphs.collect())
}

/// A held-out word, its reconstruction, and the letters in which they differ.
pub struct Reconstructed {
    pub word: String,
    pub back: String,
    pub edits: usize,
}

#[derive(Default)]
pub struct OfWords {
    pub ngrams: Option<NGramLevels>,
    pub carries: Option<LatentReport>,
    /// The map as SVG.
    pub map: Option<String>,
    pub invented: Vec<String>,
    pub back: Vec<Reconstructed>,
}

impl OfWords {
    /// What could be measured, and what could not.
    pub fn measure(
        model: Option<&WordModel>,
        data: &WordData,
        baselines: bool,
        running: Running,
    ) -> (Self, Result<()>) {
        let mut of_words = Self::default();
        let outcome = of_words.fill(model, data, baselines, running);
        (of_words, outcome)
    }

    fn fill(
        &mut self,
        model: Option<&WordModel>,
        data: &WordData,
        baselines: bool,
        running: Running,
    ) -> Result<()> {
        let special = data.vocabulary.special_tokens()?;
        let held_out = if data.valid.is_empty() {
            &data.test
        } else {
            &data.valid
        };
        let word = |&index: &usize| Word {
            index: index as u64,
            letters: &data.letters[index],
        };
        let words: Vec<Word> = held_out.iter().take(LOOKED_AT).map(word).collect();
        if baselines && !words.is_empty() {
            let valid: Vec<Word> = data.valid.iter().map(word).collect();
            self.ngrams = word_ngrams(data, &valid, special.eos);
        }
        let Some(model) = model else { return Ok(()) };
        self.invented = model
            .generate(&WordOptions::new(SEED), INVENTED)?
            .into_iter()
            .map(|word| word.text)
            .collect();
        let Some(network) = model.network().filter(|network| network.latent() > 0) else {
            return Ok(());
        };
        let reading = WordReading {
            bos: special.bos,
            eos: special.eos,
            seed: SEED,
        };
        self.carries = latent(network, &words, reading, running)?;
        let texts = held_out.iter().map(|&index| data.words[index].as_str());
        let known = model.known_words(texts.take(LOOKED_AT));
        let options = DecodeOptions {
            decoding: Decoding::Greedy,
            sampling: Sampling::new(SEED),
        };
        let some = &known[..known.len().min(RECONSTRUCTED)];
        let back = model.reconstruct(some, &options)?;
        let pairs = some.iter().zip(back);
        self.back = pairs
            .map(|(word, back)| Reconstructed {
                edits: edit_distance(&word.tokens, &back.tokens),
                word: word.text.clone(),
                back: back.text,
            })
            .collect();
        if !known.is_empty() {
            self.map = Some(map::of_held_out(model, known, ON_MAP, &options)?);
        }
        Ok(())
    }
}
