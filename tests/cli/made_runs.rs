//! Runs created through the library, so that tests of commands that read runs need no training.

use std::fs;
use std::path::PathBuf;

use textgen::config::{NetworkConfig, OnUnknown, Settings, TextConfig, TrainConfig, Unit};
use textgen::models::weights::{Array, Weights, expected_shapes};
use textgen::run::{
    CorpusData, MODEL_FORMATS, ModelFile, ModelHeader, RunDir, Runs, TextData, WordData,
};
use textgen::text::{Token, Vocabulary};

use super::common::{Home, golden_model, repository};

fn settings(toml: &str) -> TrainConfig {
    let settings = Settings::parse(toml, "made.toml").expect("settings");
    TrainConfig::resolve(&settings).expect("settings in range")
}

/// A run named `golden` of the model and the corpus of `tests/golden-run`, whose settings say
/// `more` about the split.
pub fn golden_run(home: &Home, more: &str) -> RunDir {
    let model = ModelFile::open(&golden_model()).expect("the golden model");
    let vocabulary = model.header.vocabulary;
    let text = fs::read_to_string(repository("tests/golden-run/corpus.txt")).expect("its corpus");
    let tokens = vocabulary.encode(&text, OnUnknown::Error).expect("known");
    let tokens = tokens.into();
    let corpus = CorpusData::Text(TextData { vocabulary, tokens });
    let config = settings(&format!("model = \"char-lstm\"\nhidden = 32\n{more}"));
    let runs = Runs::new(home.path("runs"));
    let run = runs
        .create("golden", &config, &corpus, None)
        .expect("a run");
    fs::copy(golden_model(), run.model_path()).expect("copied");
    run
}

/// A run named `words`, of an untrained word-vae, with words of the letters a to e.
pub fn word_run(home: &Home, more: &str) -> RunDir {
    word_run_of_latent(home, 4, more)
}

/// The same with a latent space of that size.
pub fn word_run_of_latent(home: &Home, latent: usize, more: &str) -> RunDir {
    made_words(home, "words", &format!("latent = {latent}\n{more}"))
}

/// The no-latent baseline of [`word_run`], under the name that older versions gave it.
pub fn baseline_run(home: &Home) -> RunDir {
    made_words(home, "words-twin", "latent = 0\n")
}

/// A run of that name, of words of the letters a to e.
pub fn made_words(home: &Home, name: &str, more: &str) -> RunDir {
    let letters: Vec<(Token, u64)> = ('a'..='e')
        .map(|letter| (Token::Text(letter.to_string()), 1))
        .collect();
    let vocabulary = Vocabulary::for_words(Unit::Char, &letters, 1, 100);
    let words: Vec<String> = (0..60).map(word).collect();
    let encode = |word: &String| vocabulary.encode(word, OnUnknown::Error).expect("known");
    let data = WordData {
        letters: words.iter().map(encode).collect(),
        vocabulary: vocabulary.clone(),
        train: (0..40).collect(),
        valid: (40..60).collect(),
        test: Vec::new(),
        words: words.clone(),
    };
    let config = settings(&format!(
        "model = \"word-vae\"\nhidden = 16\nembedding = 8\n{more}"
    ));
    let runs = Runs::new(home.path("runs"));
    let corpus = CorpusData::Words(data);
    let run = runs.create(name, &config, &corpus, None).expect("a run");
    let network = config.network(vocabulary.len(), vocabulary.outputs(), None);
    let header = model_header(network, vocabulary);
    let weights = random(&header);
    let words = words[..40].join("\n");
    ModelFile::write(&run.model_path(), &header, &weights, Some(&words)).expect("written");
    run
}

/// The digits of a number in base five, as letters; no two numbers give the same.
fn word(mut number: u32) -> String {
    let mut word = String::new();
    loop {
        word.extend(char::from_digit(number % 5 + 10, 16));
        number /= 5;
        if number == 0 {
            return word;
        }
        number -= 1;
    }
}

/// The header of a model that was made and not trained.
pub fn model_header(network: NetworkConfig, vocabulary: Vocabulary) -> ModelHeader {
    ModelHeader {
        format: *MODEL_FORMATS.end(),
        textgen: "0.0.0".to_owned(),
        network,
        text: TextConfig::default(),
        vocabulary,
        corpus_name: "made".to_owned(),
        corpus_digest: String::new(),
        split: "contiguous".to_owned(),
        seed: 1,
        step: 0,
        valid: None,
    }
}

/// Weights between −0.5 and 0.5, the same each time.
fn random(header: &ModelHeader) -> Weights<'static> {
    let mut seed = 1_u32;
    let mut next = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / 16_777_216.0 - 0.5
    };
    expected_shapes(&header.network)
        .into_iter()
        .map(|(name, shape)| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
            (name, Array::f32(shape, values))
        })
        .collect()
}

/// Writes the run's model in eight bits to `small.safetensors`.
pub fn exported(home: &Home, run: &str) -> PathBuf {
    let command = format!("export {run} --quantize int8 --output small.safetensors");
    home.textgen(&command).succeeded();
    home.path("small.safetensors")
}
