//! `train --from`: training that starts from a trained model.

use std::collections::HashSet;

use crate::config::{Documents, NetworkKind, Recipe, Settings, TrainConfig};
use crate::model::TextModel;
use crate::run::{
    CorpusData, ENGLISH, ModelFile, ModelHeader, Runs, Start, TokenSource as _, pieces,
};
use crate::text::{Token, Vocabulary};
use anyhow::Result;
use indicatif::HumanCount;

use super::error::CliError;
use crate::cli::output::{counted, note};

/// The model that training starts from.
pub struct From {
    model: ModelFile,
}

impl From {
    /// Opens the model of a run, or a model file.
    pub fn open(named: &str, runs: &Runs) -> Result<Self> {
        let (model, _) = runs.resolve(named)?.open()?;
        if model.header.network.is_article() {
            let message = format!("{named} is the article's network, which cannot be trained on");
            let hint = "textgen train --model word-vae begins with random weights";
            return Err(CliError::failed(message, hint).into());
        }
        Ok(Self { model })
    }

    /// The settings given, completed by those that the model determines: its network and how text
    /// becomes tokens. It is an error if a flag contradicts them.
    pub fn settings(&self, given: Settings) -> Result<Settings> {
        let ModelHeader { network, text, .. } = &self.model.header;
        // A decoder without z may get one, with an encoder of any kind.
        let adds_z = given.latent.is_some_and(|latent| latent > 0);
        let of_z = match network.kind {
            NetworkKind::WordVae(own) if own.latent > 0 || !adds_z => Settings {
                latent: Some(own.latent),
                z: Some(own.z),
                bidirectional: Some(own.bidirectional),
                ..Settings::default()
            },
            _ => Settings::default(),
        };
        let fixed = Settings {
            model: Some(network.model().into()),
            cell: Some(network.cell),
            hidden: Some(network.hidden),
            layers: Some(network.layers),
            embedding: Some(network.embedding),
            unit: Some(text.unit),
            normalize: Some(text.normalize),
            lowercase: Some(text.lowercase),
            tied: (network.kind == NetworkKind::CharRnn).then_some(false),
            recipe: Some(Recipe::Default),
            ..of_z
        };
        if let Some((flag, own)) = given.differing(&fixed).into_iter().next() {
            let (key, value) = (flag.key(), flag.value);
            let message = format!(
                "--from determines the network and the form of the text: --{key} is {own}, not {value}"
            );
            let hint = format!(
                "leave --{key} out, or train a new model; only --latent N for a word-vae without z changes a network"
            );
            return Err(CliError::misuse(message, hint).into());
        }
        if !text.documents.is_none() && given.documents.as_ref().is_some_and(Documents::is_none) {
            let message = format!(
                "--documents none: the model learnt documents, with --documents {}",
                text.documents
            );
            let hint = "leave it out, say what a document is now, or train a new model";
            return Err(CliError::misuse(message, hint).into());
        }
        // A model that learnt documents goes on with them, unless others are asked for.
        let usual = Settings {
            documents: Some(text.documents.clone()).filter(|documents| !documents.is_none()),
            ..Settings::default()
        };
        Ok(Settings {
            from: Some(self.model.path().display().to_string()),
            from_digest: Some(self.model.digest()),
            ..fixed.over(given).over(usual)
        })
    }

    /// Warns if the model was trained on words that are held out now.
    fn warn_of_held_out(&self, data: &CorpusData) -> Result<()> {
        let CorpusData::Words(words) = data else {
            return Ok(());
        };
        let known = self.model.training_words()?;
        let held_out = words.valid.iter().chain(&words.test);
        let decode = |&word: &usize| words.vocabulary.decode(&words.letters[word]);
        let (all, seen) = (
            held_out.clone().count(),
            held_out
                .filter(|word| known.contains(&decode(word)))
                .count(),
        );
        if seen > 0 {
            note!(
                "warning: the model was trained on {seen} of the {} held out now, so their figures are not of unseen words; the same --seed on the same list holds out the same ones",
                counted(all, "word")
            );
        }
        Ok(())
    }

    /// The tokens of the model, which come first in the new vocabulary.
    pub fn vocabulary(&self) -> Vocabulary {
        self.model.header.vocabulary.clone()
    }

    /// The model, extended by the new tokens of the corpus. Prints how many they are.
    pub fn start(&self, config: &TrainConfig, data: &CorpusData) -> Result<Start> {
        let old = &self.model.header;
        let vocabulary = data.vocabulary();
        let added = &vocabulary.tokens()[old.vocabulary.letters()..vocabulary.letters()];
        let shown = added.iter().take(NEW_SHOWN).map(Token::visible);
        let shown: Vec<String> = shown.collect();
        let more = if added.len() > NEW_SHOWN { " …" } else { "" };
        note!(
            "from: {}, {} known{}",
            self.model.path().display(),
            counted(old.vocabulary.letters(), "token"),
            if added.is_empty() {
                String::new()
            } else {
                format!(
                    ", {} new: {}{more}",
                    HumanCount(added.len() as u64),
                    shown.join(" ")
                )
            }
        );
        if let CorpusData::Text(text) = data {
            let new = old.vocabulary.letters() as u32..vocabulary.letters() as u32;
            let mut count = 0;
            for piece in pieces(&text.tokens, 0..text.tokens.len()) {
                count += piece?.iter().filter(|&token| new.contains(token)).count();
            }
            let share = count as f64 / text.tokens.len().max(1) as f64;
            if share > FOREIGN_SHARE {
                note!(
                    "warning: {:.0} % of the text are tokens that the model does not know; without --from, a new model may learn it sooner",
                    100.0 * share
                );
            }
        }
        let start = Start::new(&self.model, config, vocabulary)?;
        let latent = start.header.network.latent();
        if latent > old.network.latent() {
            note!(
                "z: {} for a decoder that had none",
                counted(latent, "dimension")
            );
        }
        self.warn_of_held_out(data)?;
        Ok(start)
    }
}

/// The most new tokens that are listed.
const NEW_SHOWN: usize = 20;
/// The share of new tokens above which a text is not what the model learnt.
const FOREIGN_SHARE: f64 = 0.05;
/// Texts above this many characters gain little from the bundled model.
const SMALL_TEXT: usize = 3_000_000;
/// Characters of the text that the bundled model reads.
const SAMPLE: usize = 1_000;
/// Nats per character above which it does not know the language. English costs it 1.3 to 1.8, other
/// languages in its letters above 2.5.
const FOREIGN: f64 = 2.1;

/// Mentions the bundled model if the text is small and in its language, and if the settings given are
/// none that it determines.
pub fn suggest_english(
    given: &Settings,
    config: &TrainConfig,
    data: &CorpusData,
    runs: &Runs,
) -> Result<()> {
    let CorpusData::Text(text) = data else {
        return Ok(());
    };
    let length = text.tokens.len();
    let is_own = runs.open(ENGLISH.name).is_ok();
    if config.recipe != Recipe::Default || length > SMALL_TEXT || is_own {
        return Ok(());
    }
    let from = From {
        model: ENGLISH.open()?,
    };
    if from.settings(given.clone()).is_err() {
        return Ok(());
    }
    let letters: HashSet<&Token> = from.model.header.vocabulary.tokens().iter().collect();
    let tokens = text.vocabulary.tokens().iter();
    let is_known: Vec<bool> = tokens.map(|token| letters.contains(token)).collect();
    let mut foreign = 0;
    for piece in pieces(&text.tokens, 0..length) {
        let known = |token: &&u32| is_known.get(**token as usize) == Some(&true);
        foreign += piece?.iter().filter(|token| !known(token)).count();
    }
    if foreign as f64 > FOREIGN_SHARE * length as f64 {
        return Ok(());
    }
    let middle = length / 2;
    let around = middle - middle.min(SAMPLE / 2)..length.min(middle + SAMPLE / 2);
    let sample = text.tokens.read(around)?;
    // A sample with characters that the model does not know is no reason to recommend it.
    let Ok(costs) = TextModel::english()?.log_probs(&text.vocabulary.decode(&sample)) else {
        return Ok(());
    };
    if -costs.iter().sum::<f64>() / (costs.len().max(1) as f64) < FOREIGN {
        note!(
            "this is English, so `--from {}` would begin with a model that knows it",
            ENGLISH.name
        );
    }
    Ok(())
}
