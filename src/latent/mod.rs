//! The latent space of a word-vae: interpolations, analogies, neighbours and variations of latent
//! vectors (Z), the plane that shows most of them, and the words that they decode to.

mod beam;
mod geometry;
mod plane;
mod word_decoder;

pub use geometry::{Interpolation, analogy, around, interpolate, nearest};
pub use plane::Plane;
pub use word_decoder::WordDecoder;

use crate::models::word_vae::{Posterior, WordVae};
use crate::parallel::{self, Running};

/// Words that a thread processes at a time.
const GROUP: usize = 48;

/// The posteriors of words, given as their letters, in the order given. `running.progress` counts
/// words.
///
/// # Panics
/// If a letter is not below the network's `inputs`.
pub fn encode(vae: &WordVae, words: &[&[u32]], running: Running) -> Vec<Posterior> {
    in_groups(words.len(), running, |group| vae.encode_all(&words[group]))
}

/// Applies `work` to the indices below `items`, a group at a time, on several threads.
fn in_groups<R: Send>(
    items: usize,
    running: Running,
    work: impl Fn(std::ops::Range<usize>) -> Vec<R> + Sync,
) -> Vec<R> {
    let groups = parallel::map(items.div_ceil(GROUP), running.threads, |group| {
        let range = group * GROUP..items.min((group + 1) * GROUP);
        let size = range.len();
        let made = work(range);
        (running.progress)(size as u64);
        made
    });
    groups.into_iter().flatten().collect()
}
