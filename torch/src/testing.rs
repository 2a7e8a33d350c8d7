//! Small runs for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tch::Device;
use textgen::config::{
    Budget, ModelChoice, ModelKind, OnUnknown, Precision, Schedule, Settings, TrainConfig,
};
use textgen::models::weights::{Array, Weights};
use textgen::run::{CorpusData, RunDir, Runs, TextData, WordData};
use textgen::text::{Corpus, Vocabulary, split_words, survey, tokens, words};

/// The extra tolerance for sums in another order than on the CPU.
const CUDA_TOLERANCE: f32 = 10.0;

/// The device of the tests: CUDA if `TEXTGEN_TEST_DEVICE=cuda`, else the CPU. Tests of the native
/// engine's operators, or of what only the CPU promises, always run on the CPU.
///
/// # Panics
/// If CUDA is asked for and missing: the tests would show nothing.
pub fn device() -> Device {
    static CHOSEN: OnceLock<Device> = OnceLock::new();
    *CHOSEN.get_or_init(|| match std::env::var("TEXTGEN_TEST_DEVICE").as_deref() {
        Ok("cuda") => {
            let device = crate::device::choose(textgen::config::Device::Cuda(0)).expect("CUDA");
            crate::device::set_precision(Precision::F32, device).expect("f32");
            device
        }
        Ok("cpu") | Err(_) => Device::Cpu,
        Ok(other) => panic!("TEXTGEN_TEST_DEVICE={other}: cpu or cuda"),
    })
}

/// The tolerance of a comparison: `on_cpu`, and more on CUDA.
pub fn tolerance(on_cpu: f32) -> f32 {
    if device().is_cuda() {
        on_cpu * CUDA_TOLERANCE
    } else {
        on_cpu
    }
}

/// libtorch's random generator is global: every test that trains holds this lock.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settings of a tiny char-lstm, with dropout, so that a test would notice unexpected noise.
pub fn text_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        model: Some(ModelChoice::CharLstm),
        hidden: Some(16),
        layers: Some(2),
        batch: Some(4),
        seq: Some(16),
        steps: Some(24),
        eval_every: Some(8),
        sample_every: Some(0),
        threads: Some(1),
        ..Settings::default()
    })
    .expect("valid")
}

/// The first `length` tokens of the bundled tales.
pub fn text_data(length: usize) -> TextData {
    let config = text_config().text;
    let corpus = Corpus::bundled();
    let counts = survey(&corpus, &config, |_| ()).expect("counted").counts;
    let vocabulary =
        Vocabulary::from_counts(config.unit, &counts, config.min_freq, config.max_vocab);
    let mut tokens = tokens(&corpus, &config, &vocabulary).expect("read");
    tokens.truncate(length);
    TextData { vocabulary, tokens }
}

/// Settings of a tiny word-vae.
pub fn word_config() -> TrainConfig {
    TrainConfig::resolve(&Settings {
        model: Some(ModelChoice::WordVae),
        hidden: Some(12),
        latent: Some(3),
        embedding: Some(5),
        batch: Some(16),
        steps: Some(24),
        eval_every: Some(8),
        sample_every: Some(0),
        threads: Some(1),
        ..Settings::default()
    })
    .expect("valid")
}

/// The first 200 words of the bundled tales.
pub fn word_data() -> WordData {
    let config = word_config();
    let mut list = words(&Corpus::bundled(), &config.text, |_| ()).expect("read");
    list.words.truncate(200);
    let counts = list.counts(config.text.unit);
    let vocabulary = Vocabulary::for_words(config.text.unit, &counts, 1, 400);
    let (train, valid, test) = split_words(200, 0.1, 0.1, 1);
    let letters = list
        .words
        .iter()
        .map(|word| vocabulary.encode(word, OnUnknown::Error).expect("known"))
        .collect();
    WordData {
        vocabulary,
        words: list.words,
        letters,
        train,
        valid,
        test,
    }
}

/// A run of a tiny model in `folder`.
pub fn create_run(folder: &Path, name: &str, config: &TrainConfig) -> RunDir {
    let corpus = match config.kind() {
        ModelKind::CharRnn => CorpusData::Text(text_data(3_000)),
        ModelKind::WordVae => CorpusData::Words(word_data()),
    };
    Runs::new(folder)
        .create(name, config, &corpus, None)
        .expect("created")
}

/// The settings with some changed: `key=value`, separated by spaces.
pub fn with(config: &TrainConfig, changes: &str) -> TrainConfig {
    let mut settings = Settings::default();
    for change in changes.split(' ') {
        let (key, value) = change.split_once('=').expect("key=value");
        settings.set(key, value).expect("a setting");
    }
    config.with(settings).expect("valid")
}

/// The settings with a budget in steps and a constant learning rate.
pub fn constant(config: TrainConfig, steps: u64) -> TrainConfig {
    TrainConfig {
        budget: Budget::Steps(steps),
        schedule: Schedule::Constant,
        ..config
    }
}

/// A golden safetensors file: its weights, and the expected results under `golden.`.
pub struct Golden {
    pub network: textgen::config::NetworkConfig,
    /// Weights by name.
    pub weights: Weights<'static>,
    /// Numbers by name, without `golden.`.
    pub numbers: Weights<'static>,
    /// Tokens by name, without `golden.`.
    pub tokens: BTreeMap<String, Vec<i64>>,
}

impl Golden {
    /// Every golden file whose name starts with a prefix.
    pub fn all(prefix: &str) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
        let paths = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path());
        let matching = paths.filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        });
        matching.map(|path| Self::read(&path)).collect()
    }

    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a golden file");
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
        let json = header.metadata().as_ref().expect("metadata")["config"].clone();
        let mut golden = Self {
            network: serde_json::from_str(&json).expect("a network"),
            weights: Weights::new(),
            numbers: Weights::new(),
            tokens: BTreeMap::new(),
        };
        for (name, view) in safetensors::SafeTensors::deserialize(&bytes)
            .expect("tensors")
            .iter()
        {
            let short = name.strip_prefix("golden.");
            if view.dtype() == safetensors::Dtype::I64 {
                let values = bytemuck::pod_collect_to_vec(view.data());
                golden
                    .tokens
                    .insert(short.expect("tokens are golden").to_owned(), values);
                continue;
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
            let array = Array::f32(view.shape(), values);
            match short {
                Some(short) => golden.numbers.insert(short.to_owned(), array),
                None => golden.weights.insert(name.to_owned(), array),
            };
        }
        golden
    }

    /// Parameters on the tests' device with the file's weights.
    pub fn parameters(&self) -> crate::parameters::Parameters {
        let mut parameters = crate::parameters::Parameters::init(&self.network, 0, device());
        parameters.load(&self.weights, "").expect("the weights fit");
        parameters
    }
}

/// Fails if two lists differ by more than `tolerance` · (1 + their magnitude).
#[track_caller]
pub fn assert_close(have: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(have.len(), want.len(), "{what}: lengths");
    for (i, (have, want)) in have.iter().zip(want).enumerate() {
        assert!(
            (have - want).abs() <= tolerance * (1.0 + want.abs()),
            "{what}[{i}]: {have} is not {want}"
        );
    }
}
