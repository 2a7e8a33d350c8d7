//! Whether a training fits in memory: its size is known before anything is allocated.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::EngineError;
use super::text::evaluation_positions;
use super::words::{EVALUATION_BATCH, most_letters};
use crate::config::{ModelConfig, NetworkConfig, OptimizerKind, TrainConfig};
use crate::models::weights::expected_shapes;
use crate::run::CorpusData;

/// Bytes of a number.
const NUMBER: u64 = 4;
/// Letters of a word, if their number is not known.
const WORD: u64 = 16;
/// The program itself, and small buffers.
const PROGRAM: u64 = 8 << 20;

/// The memory that a training takes, and that there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What training takes, about.
    pub needed: u64,
    /// What is free.
    pub available: u64,
}

/// Bytes for people, such as `1.5 GB`.
pub fn shown(bytes: u64) -> String {
    let megabytes = bytes as f64 / 1e6;
    if megabytes < 1000.0 {
        format!("{megabytes:.0} MB")
    } else {
        format!("{:.1} GB", megabytes / 1e3)
    }
}

/// The numbers of all weights of a network.
pub fn parameters(network: &NetworkConfig) -> u64 {
    let sizes = expected_shapes(network).into_iter().map(|(_, shape)| {
        let sizes = shape.iter().map(|&size| size as u64);
        sizes.fold(1, u64::saturating_mul)
    });
    sizes.fold(0, u64::saturating_add)
}

/// The bytes that training takes on the CPU, about: weights, gradients, moments, their copies on the way to
/// the disk, and the activations of a step or of an evaluation.
/// `letters` are those of the words of a step, and of an evaluation, at most.
pub fn needed(config: &TrainConfig, network: &NetworkConfig, letters: [u64; 2]) -> u64 {
    let saved =
        3 + u64::from(config.optimizer == OptimizerKind::Amsgrad) + u64::from(config.ema > 0.0);
    // Packed weights; the gradients of the shards; a state and its bytes.
    let shards = config.shards.next_power_of_two().ilog2() as u64;
    let copies = 1 + 1 + shards + 3 * saved;
    let of_weights = parameters(network).saturating_mul(copies);
    let (layers, hidden) = (network.layers as u64, network.hidden as u64);
    let gates = network.cell.gates() as u64;
    let (inputs, outputs) = (network.inputs as u64, network.outputs as u64);
    let width = hidden.next_multiple_of(32);
    // Gates and units that are saved, outputs, their gradients and masks.
    // At most, every position is a document, with a state before and after it.
    let documents = if network.eos.is_some() { 4 * hidden } else { 0 };
    let layer = width * (gates + 1) + 4 * hidden + documents;
    let rows = (config.batch as u64).div_ceil(config.shards as u64);
    let (positions, passes, evaluated) = match &config.model {
        ModelConfig::CharRnn(own) => {
            let evaluated = evaluation_positions(own.split, network) as u64;
            (rows.saturating_mul(own.seq as u64), 1, evaluated)
        }
        ModelConfig::WordVae(own) => {
            let encoders = if own.bidirectional { 2 } else { 1 };
            let [trained, evaluated] = letters;
            (trained, 1 + encoders, evaluated)
        }
        ModelConfig::Article(_) => (WORD, 2, WORD),
    };
    let logits = outputs.next_multiple_of(32);
    let trained = positions.saturating_mul(passes * layers * layer + logits);
    let evaluated = evaluated.saturating_mul(passes * layers * hidden + logits);
    // The products of one-hot tokens.
    let tables = passes.saturating_mul(inputs).saturating_mul(gates * width);
    of_weights
        .saturating_add(trained.max(evaluated))
        .saturating_add(tables)
        .saturating_mul(NUMBER)
        .saturating_add(PROGRAM)
}

/// The free memory in bytes: of the machine, of this process's control group, and under its limit of
/// address space; none if the system tells nothing, as where no more files can be opened.
pub fn available() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    // Without the size of the machine, `cgroup_limits` panics.
    let known = system.total_memory() > 0;
    // Pages of files can be dropped.
    let free = known.then(|| system.available_memory());
    let group = known.then(|| system.cgroup_limits()).flatten();
    let group = group.map(|limits| limits.total_memory.saturating_sub(limits.rss));
    [free, group, address_space()].into_iter().flatten().min()
}

/// What `ulimit -v` leaves.
#[cfg(target_os = "linux")]
fn address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(pages * 4096))
}

#[cfg(not(target_os = "linux"))]
const fn address_space() -> Option<u64> {
    None
}

/// The letters of an ordinary step, and of an ordinary evaluation.
pub const fn usual_letters(config: &TrainConfig) -> [u64; 2] {
    let rows = config.batch.div_ceil(config.shards) as u64;
    [rows.saturating_mul(WORD), EVALUATION_BATCH as u64 * WORD]
}

/// The same for the words of a corpus, which may be long.
pub fn letters(config: &TrainConfig, network: &NetworkConfig, corpus: &CorpusData) -> [u64; 2] {
    let [trained, evaluated] = usual_letters(config);
    match corpus {
        CorpusData::Words(words) => {
            let [most, measured] = most_letters(config, network, words);
            [trained.max(most), evaluated.max(measured)]
        }
        CorpusData::Text(_) => [trained, evaluated],
    }
}

/// The settings with a batch of no more streams or words than there are.
pub fn sized(config: &TrainConfig, corpus: &CorpusData) -> TrainConfig {
    TrainConfig {
        batch: config.batch.min(corpus.training_size(config).max(1)),
        ..config.clone()
    }
}

/// Refuses a training that does not fit in memory, by its settings as [`sized`] returns them.
pub fn check(
    config: &TrainConfig,
    network: &NetworkConfig,
    letters: [u64; 2],
) -> Result<(), EngineError> {
    let needed = needed(config, network, letters);
    match available() {
        Some(available) if needed > available => {
            Err(EngineError::Memory(Memory { needed, available }))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelChoice, Settings};
    use crate::run::WordData;
    use crate::train::tests::{word_config, word_data};

    fn config(hidden: usize, layers: usize) -> TrainConfig {
        TrainConfig::resolve(&Settings {
            model: Some(ModelChoice::CharLstm),
            hidden: Some(hidden),
            layers: Some(layers),
            ..Settings::default()
        })
        .expect("valid")
    }

    #[test]
    fn the_memory_of_a_training_grows_with_its_network_and_never_overflows() {
        let needed = |config: &TrainConfig| {
            let network = config.network(100, 100, None);
            needed(config, &network, usual_letters(config))
        };
        assert!(needed(&config(128, 1)) < 60 << 20);
        assert!(needed(&config(1024, 2)) > needed(&config(1024, 1)));
        assert!(needed(&config(16_384, 16)) > 1 << 39);
        let widest = TrainConfig {
            batch: 1_000_000,
            ..config(16_384, 16)
        };
        assert!(needed(&widest) > 1 << 40);
    }

    #[test]
    fn a_long_word_takes_the_memory_that_it_needs() {
        let config = word_config();
        let mut data = word_data(&config);
        let network = config.network(100, 100, None);
        let needed = |data: &WordData| {
            let corpus = CorpusData::Words(data.clone());
            needed(&config, &network, letters(&config, &network, &corpus))
        };
        let usual = needed(&data);
        assert_eq!(
            usual,
            super::needed(&config, &network, usual_letters(&config))
        );
        let long = data.train[0];
        data.letters[long] = vec![5; 1 << 20];
        // Gates, units, their gradients and logits of each letter, both ways and in the decoder.
        assert!(needed(&data) > usual + (1 << 20) * 4 * 300);
        let trained = needed(&data);
        let held_out = data.valid[0];
        data.letters[held_out] = vec![5; 1 << 23];
        assert!(needed(&data) > trained + (1 << 23) * 4 * 30);
    }

    #[test]
    fn sizes_are_shown_in_megabytes_or_gigabytes() {
        assert_eq!(shown(45_678_901), "46 MB");
        assert_eq!(shown(1_200_345_000_000), "1200.3 GB");
    }
}
