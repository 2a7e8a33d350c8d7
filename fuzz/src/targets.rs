//! The targets. Each returns whether the bytes got past their reader, so that one sees how deep a run goes.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use arbitrary::{Arbitrary, Unstructured};
use tempfile::TempDir;
use textgen::compress::{Codec, Container, decompress_into};
use textgen::config::{
    Cell, Documents, LatentConfig, NetworkConfig, NetworkKind, Settings, TextConfig, TrainConfig,
    Unit, ZPlacement,
};
use textgen::exchange::{self, import::GivenVocabulary};
use textgen::model::{
    DecodeOptions, Interpolation, Model, OpenOptions, ScoreOptions, WordModel, WordOptions,
};
use textgen::models::char_rnn::CharRnn;
use textgen::models::weights::{Array, expected_shapes};
use textgen::parallel::Running;
use textgen::run::{CorpusData, LastVocab, ModelFile, ModelHeader, RunDir, model_format};
use textgen::text::{Corpus, Source, Token, Typed, Vocabulary, survey, tokens, words};
use textgen::train::{NativeEngine, TrainError, Trainer};
use textgen::{OnUnknown, Sampling, TextModel};

use crate::{Form, seeds};

/// A reader of something that a stranger may have made.
pub struct Target {
    pub name: &'static str,
    pub form: Form,
    /// Returns whether the bytes were accepted.
    pub run: fn(&[u8]) -> bool,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "model",
        form: Form::Tensors,
        run: model,
    },
    Target {
        name: "network",
        form: Form::Bytes,
        run: network,
    },
    Target {
        name: "state",
        form: Form::Tensors,
        run: state,
    },
    Target {
        name: "import",
        form: Form::Bytes,
        run: import,
    },
    Target {
        name: "corpus",
        form: Form::Tensors,
        run: corpus,
    },
    Target {
        name: "prompt",
        form: Form::Tensors,
        run: prompt,
    },
    Target {
        name: "settings",
        form: Form::Text,
        run: settings,
    },
    Target {
        name: "container",
        form: Form::Sealed,
        run: container,
    },
    Target {
        name: "vocabulary",
        form: Form::Json,
        run: vocabulary,
    },
    Target {
        name: "words",
        form: Form::Text,
        run: word_arithmetic,
    },
    Target {
        name: "expression",
        form: Form::Text,
        run: expression,
    },
    Target {
        name: "text",
        form: Form::Bytes,
        run: text,
    },
];

/// The most bytes that a container of the target may restore: each takes a step of the model.
const MOST_RESTORED: u64 = 4096;
const ONE_THREAD: OpenOptions = OpenOptions::on_threads(1);

/// What every call uses, one for each thread.
struct Fixed {
    folder: TempDir,
    text: TextModel,
    words: WordModel,
    codec: Codec<'static>,
    texts: TextConfig,
}

thread_local! {
    static FIXED: OnceCell<&'static Fixed> = const { OnceCell::new() };
}

fn fixed() -> &'static Fixed {
    FIXED.with(|fixed| {
        *fixed.get_or_init(|| Box::leak(Box::new(Fixed::new().expect("the seeds are whole"))))
    })
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

impl Fixed {
    fn new() -> Outcome<Self> {
        // In memory if the system has such a folder.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() {
            tempfile::tempdir_in(shared)?
        } else {
            tempfile::tempdir()?
        };
        let models = seeds("model");
        let lstm = models.join("lstm.safetensors");
        let file: &'static ModelFile = Box::leak(Box::new(ModelFile::open(&lstm)?));
        let (header, weights) = (&file.header, file.weights()?);
        let network = CharRnn::new(&header.network, &weights)?;
        let codec = Codec::new(
            network,
            &header.network,
            &weights,
            &header.vocabulary,
            &header.corpus_name,
            None,
        );
        let config = TrainConfig::resolve(&Settings::read(&seeds("settings").join("lstm.toml"))?)?;
        for name in ["lstm", "gru", "words", "lstm-corpus", "words-corpus"] {
            let run = name.split('-').next().unwrap_or(name);
            let path = folder.path().join(name);
            std::fs::create_dir(&path)?;
            let mut settings = Settings::read(&seeds("settings").join(run).with_extension("toml"))?;
            settings.set("sample-every", "0")?;
            std::fs::write(path.join("config.toml"), settings.to_toml()?)?;
            std::fs::copy(
                seeds("corpus").join(run).with_extension("safetensors"),
                path.join("corpus.safetensors"),
            )?;
        }
        Ok(Self {
            folder,
            text: TextModel::open_with(&lstm, ONE_THREAD)?,
            words: WordModel::open_with(models.join("words.safetensors"), ONE_THREAD)?,
            codec,
            texts: config.text,
        })
    }

    /// Writes a file.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file in memory");
        path
    }
}

/// Opens a model, takes steps with it, and exports it in eight bits.
fn model(bytes: &[u8]) -> bool {
    let path = fixed().file("model", bytes);
    let Ok(file) = ModelFile::open(&path) else {
        return false;
    };
    let _ = file.training_words();
    let export = path.with_extension("int8");
    if file.export(&export, true, true).is_ok() {
        let exported = ModelFile::open(&export).expect("what was exported opens");
        assert!(exported.is_int8().expect("weights"));
    }
    match Model::open_with(&path, ONE_THREAD) {
        Ok(Model::Text(model)) => {
            let _ = model.generate("", &Sampling::new(1), 4);
            let sampling = Sampling {
                on_unknown: OnUnknown::Skip,
                ..Sampling::new(1)
            };
            let _ = model.generate("a b", &sampling, 2);
            let _ = model.log_probs("ab");
            let _ = model
                .decompress(&model.compress(b"abc").expect("compressed"))
                .map(|restored| assert_eq!(restored, b"abc"));
        }
        Ok(Model::Words(model)) => {
            let _ = model.generate(&WordOptions::new(1), 1);
            if let Ok(word) = model.word("ab", OnUnknown::Skip) {
                let _ = model.score(
                    [&word],
                    ScoreOptions {
                        samples: 2,
                        seed: 1,
                    },
                );
                let _ = model.reconstruct([&word], &DecodeOptions::default());
            }
        }
        Err(_) => return false,
    }
    true
}

/// Imports a checkpoint, and uses the model that it becomes.
fn import(bytes: &[u8]) -> bool {
    let printable = GivenVocabulary::Printable;
    let imported = exchange::import::import(bytes, "name", None)
        .or_else(|_| exchange::import::import(bytes, "name", Some(&printable)));
    let Ok(imported) = imported else {
        return false;
    };
    let path = fixed().folder.path().join("imported");
    ModelFile::write(&path, &imported.header, &imported.weights, None).expect("written");
    assert!(model(&std::fs::read(path).expect("a file in memory")));
    true
}

/// A network of any shape, whose file is right.
#[derive(Arbitrary, Debug)]
struct Blueprint {
    kind: u8,
    cell: u8,
    sizes: [u8; 4],
    z: u8,
    bidirectional: bool,
    unit: u8,
    letters: Vec<(char, u8)>,
    limit: u8,
    documents: bool,
    weights: [f32; 16],
}

impl Blueprint {
    fn vocabulary(&self) -> Vocabulary {
        let unit = [Unit::Char, Unit::Byte, Unit::Grapheme][usize::from(self.unit % 3)];
        let letters = self.letters.iter().take(64).map(|&(c, n)| match unit {
            Unit::Byte => (Token::Byte(c as u8), u64::from(n)),
            _ => (Token::Text(c.into()), u64::from(n)),
        });
        let mut counts: Vec<(Token, u64)> = letters.collect();
        counts.sort();
        counts.dedup_by(|a, b| a.0 == b.0);
        textgen::text::rank(&mut counts);
        let limit = usize::from(self.limit);
        if self.kind.is_multiple_of(3) {
            let documents = if self.documents {
                Documents::Line
            } else {
                Documents::None
            };
            Vocabulary::from_counts(unit, &counts, 1, limit).for_documents(&documents)
        } else {
            Vocabulary::for_words(unit, &counts, 1, limit)
        }
    }

    fn network(&self, vocabulary: &Vocabulary) -> NetworkConfig {
        let [hidden, layers, embedding, latent] = self.sizes.map(usize::from);
        let latent = latent % 9;
        NetworkConfig {
            kind: match self.kind % 3 {
                0 => NetworkKind::CharRnn,
                1 => NetworkKind::WordVae(LatentConfig {
                    latent,
                    z: [ZPlacement::Both, ZPlacement::Start, ZPlacement::Steps]
                        [usize::from(self.z % 3)],
                    bidirectional: self.bidirectional,
                }),
                _ => NetworkKind::Article { latent },
            },
            cell: [Cell::Lstm, Cell::Gru, Cell::Rnn][usize::from(self.cell % 3)],
            hidden: hidden % 40,
            layers: layers % 4,
            embedding: embedding % 9,
            inputs: vocabulary.len(),
            outputs: vocabulary.outputs(),
            eos: vocabulary.document_end(),
        }
    }
}

/// Writes the model of a [`Blueprint`], and uses it.
fn network(bytes: &[u8]) -> bool {
    let Ok(blueprint) = Blueprint::arbitrary(&mut Unstructured::new(bytes)) else {
        return false;
    };
    let vocabulary = blueprint.vocabulary();
    let network = blueprint.network(&vocabulary);
    if network.check().is_err() {
        return false;
    }
    let values = |size: usize| {
        blueprint
            .weights
            .iter()
            .copied()
            .cycle()
            .take(size)
            .collect::<Vec<f32>>()
    };
    let weights = expected_shapes(&network).into_iter().map(|(name, shape)| {
        let data = values(shape.iter().product());
        (name, Array::f32(shape, data))
    });
    let header = ModelHeader {
        format: model_format(&network),
        textgen: String::new(),
        network,
        text: TextConfig::default(),
        vocabulary,
        corpus_name: String::new(),
        corpus_digest: String::new(),
        split: String::new(),
        seed: 0,
        step: 0,
        valid: None,
    };
    let path = fixed().folder.path().join("network");
    ModelFile::write(&path, &header, &weights.collect(), None).expect("written");
    model(&std::fs::read(path).expect("a file in memory"))
}

/// The training of one of the runs.
fn training<T>(run: &RunDir, with: impl FnOnce(&mut Trainer) -> T) -> Result<T, TrainError> {
    let factory = |config: &TrainConfig, network: &NetworkConfig| {
        Ok(Box::new(NativeEngine::new(config, network)?) as Box<_>)
    };
    Ok(with(&mut Trainer::new(run, &factory, |_| ())?))
}

fn run(name: &str) -> RunDir {
    RunDir::open(&fixed().folder.path().join(name)).expect("a run")
}

fn has(bytes: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    bytes.windows(name.len()).any(|part| part == name)
}

/// Resumes a training, evaluates if that is what comes next, and takes a step.
fn state(bytes: &[u8]) -> bool {
    let name = match () {
        () if has(bytes, "encoder") => "words",
        () if has(bytes, "_l1") => "gru",
        () => "lstm",
    };
    fixed().file(&format!("{name}/state.safetensors"), bytes);
    let resumed = training(&run(name), |trainer| {
        if trainer.resume().is_err() {
            return false;
        }
        let next = trainer.progress().step.saturating_add(1);
        let _ = trainer.train_until(&AtomicBool::new(false), Some(next));
        true
    });
    resumed.expect("a run that is whole")
}

/// Reads all of a run's corpus, and takes a step of training with it.
fn corpus(bytes: &[u8]) -> bool {
    let name = if has(bytes, "letters") {
        "words-corpus"
    } else {
        "lstm-corpus"
    };
    fixed().file(&format!("{name}/corpus.safetensors"), bytes);
    let run = run(name);
    match run.corpus() {
        Ok(CorpusData::Text(text)) => {
            let _ = text.tokens.all().map(|all| text.vocabulary.decode(&all));
        }
        Ok(CorpusData::Words(words)) => {
            for letters in &words.letters {
                let _ = words.vocabulary.decode(letters);
            }
        }
        Err(_) => return false,
    }
    training(&run, |trainer| trainer.measure(1)).is_ok_and(|step| step.is_ok())
}

/// Continues a prompt.
fn prompt(bytes: &[u8]) -> bool {
    let fixed = fixed();
    let Ok(snapshot) = fixed.text.restore(fixed.file("prompt", bytes)) else {
        return false;
    };
    let penalty = Sampling {
        repetition_penalty: 2.0,
        ..Sampling::new(1)
    };
    let _ = fixed.text.generate(&snapshot, &penalty, 4);
    true
}

/// Reads a file of settings, or one setting in each line, and writes what they mean.
fn settings(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let mut settings = Settings::parse(&text, "file").unwrap_or_default();
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            let _ = settings.set(key, value);
        }
    }
    let _ = settings.text();
    let Ok(config) = TrainConfig::resolve(&settings) else {
        return false;
    };
    let written = config.to_settings().to_toml().expect("settings are TOML");
    let read = Settings::parse(&written, "written").expect("what was written is read");
    assert_eq!(read, config.to_settings(), "{written}");
    true
}

/// Restores a compressed file.
fn container(bytes: &[u8]) -> bool {
    let Ok(container) = Container::read(bytes) else {
        return false;
    };
    let running = Running {
        threads: 1,
        progress: &|_| (),
    };
    let most = Some(MOST_RESTORED);
    let mut restored = 0;
    let _ = decompress_into(
        &container,
        Some(&fixed().codec),
        running,
        most,
        &mut |piece| {
            restored += piece.len() as u64;
            Ok(())
        },
    );
    assert!(restored <= container.original_bytes().max(bytes.len() as u64));
    true
}

/// Loads what `textgen vocab` wrote, and uses it.
fn vocabulary(bytes: &[u8]) -> bool {
    let fixed = fixed();
    fixed.file("vocab.json", bytes);
    let Ok(Some(last)) = LastVocab::load(fixed.folder.path()) else {
        return false;
    };
    let _ = TrainConfig::resolve(&last.settings());
    let vocabulary = &last.vocabulary;
    let ids: Vec<u32> = (0..vocabulary.len() as u32).collect();
    let _ = vocabulary.decode(&ids);
    let _ = vocabulary.decode_in_lines(&ids);
    for on_unknown in [OnUnknown::Error, OnUnknown::Skip, OnUnknown::Nearest] {
        let _ = vocabulary.encode("ab é\u{301}\n", on_unknown);
    }
    let _ = vocabulary.encode_words(&["ab".to_owned(), "é".to_owned()]);
    let json = serde_json::to_string(vocabulary).expect("a vocabulary is JSON");
    let again: Vocabulary = serde_json::from_str(&json).expect("what was written is read");
    assert_eq!(again, *vocabulary);
    true
}

/// Calculates with the words in the lines of a text.
fn word_arithmetic(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let model = &fixed().words;
    let word = |text: &str| model.word(text, OnUnknown::Nearest).ok();
    let words: Vec<_> = text.split('\n').take(3).filter_map(word).collect();
    let [a, b, c] = &words[..] else {
        return false;
    };
    let options = DecodeOptions::default();
    let _ = model.analogy([a, b, c], &options);
    let _ = model.interpolate([a, b], 3, Interpolation::Spherical, &options);
    let _ = model.neighbours(c, &model.training_words(), 2);
    let _ = model.score(
        [a, b],
        ScoreOptions {
            samples: 2,
            seed: 1,
        },
    );
    true
}

/// Uses a text as what a user types: an expression, a prompt with escapes, and a stop text.
fn expression(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let model = &fixed().text;
    let typed = Typed::new(&text);
    let stop = Sampling {
        stop: typed.as_ref().ok().map(|typed| typed.text.clone()),
        on_unknown: OnUnknown::Skip,
        ..Sampling::new(1)
    };
    let _ = model.generate("", &stop, 4);
    let constrained = Sampling {
        constrain: Some(text.clone()),
        ..Sampling::new(1)
    };
    model.generate("", &constrained, 8).is_ok() | typed.is_ok()
}

/// Reads a text. The first two bytes choose its name and options.
fn text(bytes: &[u8]) -> bool {
    let Some((&[name, options], bytes)) = bytes.split_first_chunk() else {
        return false;
    };
    let lists_words = name & 128 > 0;
    let name = ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.zip", "a"][usize::from(name % 6)];
    let fixed = fixed();
    let path = fixed.file(name, bytes);
    let mut settings = Settings::of_text(&fixed.texts);
    let mut set = |key: &str, values: &[&str], shift: u8| {
        let value = values[usize::from(options >> shift) % values.len()];
        settings.set(key, value).expect("a value");
    };
    set(
        "documents",
        &[
            "none",
            "line",
            "record",
            "blank-line",
            "file",
            "--",
            "none",
            "none",
        ],
        0,
    );
    set("unit", &["char", "grapheme"], 3);
    set("normalize", &["nfc", "nfkc"], 4);
    set("lowercase", &["false", "true"], 5);
    set("encoding", &["utf-8", "lossy"], 6);
    set("strip", &["none", "gutenberg"], 7);
    let config = settings.text().expect("valid");
    let corpus = Corpus::new("text", vec![Source::File(path)]);
    if lists_words {
        return words(&corpus, &config, |_| ()).is_ok();
    }
    let Ok(survey) = survey(&corpus, &config, |_| ()) else {
        return false;
    };
    let vocabulary = Vocabulary::from_counts(config.unit, &survey.counts, 1, 300)
        .for_documents(&config.documents);
    let mut count = 0;
    let counted = tokens(
        &corpus,
        &config,
        &vocabulary,
        |_| (),
        <[u32]>::len,
        |more| {
            count += more as u64;
            Ok::<_, textgen::text::TextError>(())
        },
    );
    counted.expect("what was surveyed is read");
    assert_eq!(count, survey.all_tokens());
    true
}
