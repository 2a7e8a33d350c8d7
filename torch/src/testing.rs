//! What the tests share.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use tch::Device;
use textgen::config::{ModelChoice, ModelKind, NetworkConfig, Precision, Settings, TrainConfig};
use textgen::models::batch::{TextBatch, WordBatch};
use textgen::models::noise::{Noise, Use};
use textgen::models::sequences::Sequences;
use textgen::models::weights::{Array, Weights};
use textgen::text::SpecialTokens;
use textgen::train::{Engine, NativeEngine};

use crate::TorchEngine;
use crate::device::{choose, set_precision};

/// The extra tolerance for sums in another order than on the CPU.
const CUDA_TOLERANCE: f32 = 10.0;
/// Tokens of a text.
pub const TOKENS: usize = 11;
/// Tokens that a decoder of words reads: the letters, and [`SPECIAL`].
pub const LETTERS: u32 = 9;
/// The special tokens of words.
pub const SPECIAL: SpecialTokens = SpecialTokens {
    eos: LETTERS,
    unk: LETTERS + 1,
    bos: LETTERS + 2,
};

/// The device of the tests: CUDA if `TEXTGEN_TEST_DEVICE=cuda`, else the CPU.
///
/// # Panics
/// If CUDA is asked for and missing: the tests would show nothing.
pub fn device() -> Device {
    static CHOSEN: OnceLock<Device> = OnceLock::new();
    *CHOSEN.get_or_init(|| match std::env::var("TEXTGEN_TEST_DEVICE").as_deref() {
        Ok("cuda") => {
            let device = choose(textgen::config::Device::Cuda(0)).expect("CUDA");
            set_precision(Precision::F32, device).expect("f32");
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

/// Lets libtorch compute in the calling thread: the threads of every test would wait for each other.
pub fn one_thread() {
    device();
    tch::set_num_threads(1);
}

/// The settings of a tiny model without dropout, with changes: `key=value`, separated by spaces.
pub fn config(model: ModelChoice, changes: &str) -> TrainConfig {
    one_thread();
    let sizes = "hidden=13 layers=1 batch=5 steps=200 dropout=0 optimizer=adam weight-decay=0 \
                  clip=0 device=cpu threads=1";
    let sizes = match model {
        // It has its own sizes, and no others.
        _ if changes.contains("recipe=article") => "device=cpu threads=1".to_owned(),
        ModelChoice::WordVae => {
            format!("{sizes} embedding=7 latent=4 decoder-dropout=0 char-dropout=0")
        }
        _ => format!("{sizes} seq=7"),
    };
    let mut settings = Settings {
        model: Some(model),
        ..Settings::default()
    };
    for change in sizes.split(' ').chain(changes.split(' ')) {
        if let Some((key, value)) = change.split_once('=') {
            settings.set(key, value).expect("a setting");
        }
    }
    TrainConfig::resolve(&settings).expect("valid")
}

/// The network of a configuration.
pub fn network(config: &TrainConfig) -> NetworkConfig {
    match config.kind() {
        ModelKind::CharRnn => {
            let eos = (!config.text.documents.is_none()).then_some(3);
            config.network(TOKENS, TOKENS, eos)
        }
        ModelKind::WordVae => config.network(LETTERS as usize + 3, LETTERS as usize + 1, None),
    }
}

/// The engine to be tested, and libtorch's.
pub fn engines(config: &TrainConfig) -> (NativeEngine, TorchEngine) {
    let network = network(config);
    (
        NativeEngine::new(config, &network).expect("a native engine"),
        TorchEngine::new(config, &network, device()).expect("libtorch's engine"),
    )
}

/// Random tokens of which each depends on the one before it: something can be learnt.
pub fn text_batch(config: &TrainConfig, step: u64, last_only: bool) -> TextBatch {
    let (steps, rows) = (7, config.batch);
    let noise = Noise::new(1, Use::Order, step);
    let mut tokens: Vec<i64> = (0..rows as u64)
        .map(|row| noise.below(row, TOKENS as u64) as i64)
        .collect();
    for position in rows..(steps + 1) * rows {
        let jump = noise.below(position as u64, 3) as i64;
        tokens.push((3 * tokens[position - rows] + jump) % TOKENS as i64);
    }
    TextBatch {
        steps,
        rows,
        first: 0,
        inputs: tokens[..steps * rows].to_vec(),
        targets: tokens[rows..].to_vec(),
        last_only,
        from_zero: step.is_multiple_of(4),
    }
}

/// Words of 1 to 7 letters of which each depends on the one before it.
pub fn words(count: usize, step: u64) -> Vec<Vec<u32>> {
    let noise = Noise::new(2, Use::Order, step);
    let word = |word: u64| {
        let noise = noise.sub(word);
        let mut letter = noise.below(0, u64::from(LETTERS)) as u32;
        let next = |at: u64| {
            let now = letter;
            letter = (2 * letter + noise.below(at + 2, 3) as u32) % LETTERS;
            now
        };
        (0..=noise.below(1, 7)).map(next).collect()
    };
    (0..count as u64).map(word).collect()
}

/// A batch of words with random noise of `latent` numbers.
pub fn word_batch(
    words: &[Vec<u32>],
    latent: usize,
    special: SpecialTokens,
    step: u64,
) -> WordBatch {
    let with = |before: &[u32], after: &[u32]| -> Vec<Vec<u32>> {
        let around = |word: &Vec<u32>| [before, word, after].concat();
        words.iter().map(around).collect()
    };
    let noise = Noise::new(3, Use::Latent, step);
    WordBatch {
        first: 0,
        letters: Sequences::new(&with(&[], &[])),
        inputs: Sequences::new(&with(&[special.bos], &[])),
        targets: Sequences::new(&with(&[], &[special.eos])).tokens,
        noise: (0..(words.len() * latent) as u64)
            .map(|at| noise.normal(at))
            .collect(),
        without_z: false,
    }
}

/// A golden safetensors file: its weights, and the expected results under `golden.`.
pub struct Golden {
    pub network: NetworkConfig,
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
        one_thread();
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

    /// libtorch's engine with the file's weights.
    pub fn engine(&self, config: &TrainConfig) -> TorchEngine {
        let mut engine = TorchEngine::new(config, &self.network, device()).expect("an engine");
        engine.set_weights(&self.weights).expect("the weights fit");
        engine
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
