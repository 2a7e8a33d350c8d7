//! One pass over a corpus: a thread reads and cuts, the others normalise and work, the caller gets
//! what they made in the order of the text. Memory does not grow with the corpus: channels are
//! bounded, and chunks are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::TextError;
use super::chunks::{Chunk, cut_source};
use super::corpus::Corpus;
use super::decode::Decoding;
use super::normal::Normalizer;
use crate::config::TextConfig;

/// More threads than this wait for the one that reads.
const MOST_WORKERS: usize = 8;

/// What a worker made of a chunk, with what the caller may want to know about the chunk.
pub struct Made<R> {
    /// The worker's result.
    pub result: R,
    /// Whether the chunk is the first of its source.
    pub first: bool,
    /// Raw bytes read since the chunk before.
    pub raw_bytes: u64,
}

type Outcome<R> = (u64, Result<Made<R>, TextError>);

/// Runs `work` on the normalised text of every chunk and gives the results to `sink` in order.
/// Every worker has a state of its own, made by `state`; they are returned with the normalizers.
/// The error returned is the first one in the order of the text.
pub fn for_each_chunk<S: Send, R: Send>(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &str) -> R + Sync,
    mut sink: impl FnMut(Made<R>) -> Result<(), TextError>,
) -> Result<Vec<(S, Normalizer)>, TextError> {
    let decoding = Decoding::from_label(&config.encoding)?;
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_WORKERS));
    let stop = AtomicBool::new(false);
    let (chunks, queue) = sync_channel::<(u64, Chunk)>(2 * workers);
    let (results, made) = sync_channel::<Outcome<R>>(2 * workers);
    let queue = Mutex::new(queue);
    let job = |results: SyncSender<Outcome<R>>| {
        let mut state = state();
        let mut normalizer = Normalizer::new(config);
        while let Some((index, chunk)) = next(&queue) {
            let result = chunk.text().map(|text| Made {
                result: work(&mut state, &normalizer.apply(text)),
                first: chunk.first,
                raw_bytes: chunk.raw_bytes,
            });
            if results.send((index, result)).is_err() {
                break;
            }
        }
        (state, normalizer)
    };
    std::thread::scope(|scope| {
        let reader_results = results.clone();
        let stopped = &stop;
        // Both senders end with the thread, which tells the others that nothing more comes.
        scope.spawn(move || {
            read(
                corpus,
                decoding,
                chunk_bytes,
                stopped,
                &chunks,
                &reader_results,
            );
        });
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let (results, job) = (results.clone(), &job);
                scope.spawn(move || job(results))
            })
            .collect();
        drop(results);
        let outcome = deliver(&made, &mut sink);
        // After an error the reader stops; what is under way is drained, so that nobody waits.
        stop.store(true, Ordering::Relaxed);
        made.iter().for_each(drop);
        let states = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let states = states.collect();
        outcome.map(|()| states)
    })
}

fn next(queue: &Mutex<Receiver<(u64, Chunk)>>) -> Option<(u64, Chunk)> {
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.recv().ok()
}

fn read<R>(
    corpus: &Corpus,
    decoding: Decoding,
    chunk_bytes: usize,
    stop: &AtomicBool,
    chunks: &SyncSender<(u64, Chunk)>,
    results: &SyncSender<Outcome<R>>,
) {
    let mut index = 0;
    for source in &corpus.sources {
        let mut emit = |chunk| {
            index += 1;
            !stop.load(Ordering::Relaxed) && chunks.send((index - 1, chunk)).is_ok()
        };
        if let Err(error) = cut_source(source, decoding, chunk_bytes, &mut emit) {
            // The caller may be gone already, with an error that comes earlier in the text.
            let _ = results.send((index, Err(error)));
            return;
        }
    }
}

/// Hands the results on in order, up to the first error.
fn deliver<R>(
    made: &Receiver<Outcome<R>>,
    sink: &mut impl FnMut(Made<R>) -> Result<(), TextError>,
) -> Result<(), TextError> {
    let mut early = BTreeMap::new();
    let mut due = 0;
    for (index, result) in made {
        early.insert(index, result);
        while let Some(result) = early.remove(&due) {
            sink(result?)?;
            due += 1;
        }
    }
    Ok(())
}
