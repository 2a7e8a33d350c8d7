//! The run directory: everything that training writes and that sampling, listing and resuming read.
//!
//! ```text
//! runs/NAME/config.toml          every setting, resolved
//! runs/NAME/corpus.safetensors   the corpus as tokens, cut into training, validation and test
//! runs/NAME/start.safetensors    the model that training started from, if any
//! runs/NAME/metrics.jsonl        one line per evaluation
//! runs/NAME/model.safetensors    the best model so far
//! runs/NAME/state.safetensors    the full training state at the last evaluation or stop
//! runs/NAME/recent.safetensors   a later one, if there is one
//! runs/NAME/samples.txt          samples during training
//! ```
//!
//! Every file but the two logs is replaced atomically ([`atomic`]).

pub mod atomic;
mod bundled;
mod data;
mod dir;
pub(crate) mod disk;
mod error;
mod last_vocab;
mod metrics;
mod model_file;
mod prompt_state;
mod runs;
mod state;
mod tensors;
mod tokens;

/// The most that a file of a stranger may say that something was counted to: f64 skips numbers above it, and no sum of
/// what is below it overflows.
const MOST_COUNT: u64 = 1 << 53;

pub use bundled::{Bundled, ENGLISH};
pub use data::{CorpusData, TextData, WordData, split};
pub use dir::{Held, Lock, RunDir, RunSummary, Start};
pub use error::RunError;
pub use last_vocab::LastVocab;
pub use metrics::{CharLoss, Evaluation, Log, METRICS_FORMAT, Mended, Metrics, Sampled, WordLoss};
pub use model_file::{MODEL_FORMATS, ModelFile, ModelHeader, model_format};
pub use prompt_state::{PROMPT_STATE_FORMATS, PromptState};
pub(crate) use runs::quoted;
pub use runs::{Resolved, Runs};
pub use state::{Progress, STATE_FORMATS, State, Unfinished};
pub use tokens::{Packed, TokenSource, TokenWriter, Tokens, pieces};
