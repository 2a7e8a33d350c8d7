//! One pass over a corpus: one thread reads and cuts, the others normalise and work, and the caller
//! gets the results in the order of the text. Memory does not grow with the corpus, since channels and
//! chunks are bounded.

use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::TextError;
use super::corpus::Corpus;
use super::normal::Normalizer;
use super::reading::{Chunk, explained, read_corpus};
use crate::config::TextConfig;
use crate::parallel;

/// The most worker threads; more would wait for the reader.
const MOST_WORKERS: usize = 8;

/// A worker's result for a chunk, with facts about the chunk.
pub struct Made<R> {
    /// The value that `work` returned.
    pub result: R,
    /// Whether the chunk is the first of its source.
    pub first: bool,
    /// Raw bytes read since the previous chunk.
    pub raw_bytes: u64,
}

/// Runs `work` on the normalised text of every chunk and gives the results to `sink` in order.
/// Every worker has its own state, created by `state`; the states are returned with the normalizers.
/// The error returned is the first one in the order of the text.
pub fn for_each_chunk<S: Send, R: Send, E: From<TextError>>(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &str) -> R + Sync,
    mut sink: impl FnMut(Made<R>) -> Result<(), E>,
) -> Result<Vec<(S, Normalizer)>, E> {
    let workers = thread::available_parallelism().map_or(1, |n| n.get().min(MOST_WORKERS));
    let (chunks, queue) = channel();
    // Holds a () for every chunk that was read but whose result is not consumed; the reader waits while
    // it is full.
    let (begin, end) = sync_channel(4 * workers);
    let end = Mutex::new(end);
    let consumed = || {
        end.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
    };
    let caller = thread::current().id();
    let states = Mutex::new(Vec::with_capacity(workers));
    let start = || (state(), Normalizer::new(config));
    let make = |(state, normalizer): &mut (S, Normalizer), chunk: Chunk| {
        Ok(Made {
            result: work(state, &normalizer.apply(chunk.text()?)),
            first: chunk.first,
            raw_bytes: chunk.raw_bytes,
        })
    };
    let worker = |queue: &parallel::Queue<_, _>| {
        let mut mine = start();
        queue.work(|chunk: Result<Chunk, TextError>| {
            if thread::current().id() == caller {
                // There are no threads for workers, so nothing is consumed until all is read.
                let _ = consumed();
            }
            make(&mut mine, chunk?)
        });
        states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(mine);
    };
    let mut sink = |result: Result<Made<R>, TextError>| {
        sink(result.map_err(|error| explained(corpus, error))?)
    };
    let with_threads = thread::scope(|scope| {
        let read = move || read(corpus, config, chunk_bytes, &begin, &chunks);
        if thread::Builder::new().spawn_scoped(scope, read).is_err() {
            return None;
        }
        Some(parallel::ordered(
            queue.into_iter(),
            workers,
            worker,
            |results| {
                for (_, result) in results {
                    sink(result)?;
                    let _ = consumed(); // after an error in reading there is none
                }
                Ok::<_, E>(())
            },
        ))
    });
    if let Some(outcome) = with_threads {
        outcome?;
        return Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    // The system has no thread for the reader: this one reads, works and consumes.
    let (mut mine, mut outcome) = (start(), Ok(()));
    let mut emit = |chunk| {
        outcome = sink(make(&mut mine, chunk));
        outcome.is_ok()
    };
    let read = read_corpus(corpus, config, chunk_bytes, &mut emit);
    outcome?;
    read.map_err(|error| explained(corpus, error))?;
    Ok(vec![mine])
}

/// Sends the chunks of a corpus, and the error that ends them early, until the receivers are gone.
fn read(
    corpus: &Corpus,
    config: &TextConfig,
    chunk_bytes: usize,
    begin: &SyncSender<()>,
    chunks: &Sender<Result<Chunk, TextError>>,
) {
    let mut emit = |chunk| begin.send(()).is_ok() && chunks.send(Ok(chunk)).is_ok();
    if let Err(error) = read_corpus(corpus, config, chunk_bytes, &mut emit) {
        let _ = chunks.send(Err(error)); // the workers may be gone, with an earlier error
    }
}
