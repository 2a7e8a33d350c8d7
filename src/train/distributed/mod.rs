//! Data-parallel training: several processes, each with all the weights, share the gradients of every step.
//!
//! Every process runs the same [`Trainer`](super::Trainer) over the same run. Of each step it computes some shards;
//! the gradients of all shards are added in one order, whoever computed them, and every process takes the
//! optimizer's step. Whatever is decided on the way is decided from what all know: the losses, that somebody wants
//! to stop, and the clock of rank 0. Rank 0 alone writes.

mod threads;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use threads::Threads;

use super::EngineError;
use super::shards::{Sum, levels};
use crate::kernels::Kernels;

/// Why the processes of a group cannot go on together.
#[derive(Debug, Error)]
pub enum GroupError {
    /// One of them has ended, or does not answer.
    #[error("{0}")]
    Lost(String),
    /// They do not train the same.
    #[error("process {rank} and process 0 do not agree on {what}")]
    Differ {
        /// What differs.
        what: &'static str,
        /// Whose.
        rank: usize,
    },
    /// The batch has fewer shards than there are processes, or cannot be dealt out evenly.
    #[error("{size} processes cannot share {shards} shards evenly")]
    Uneven {
        /// The number of processes.
        size: usize,
        /// The shards of a batch.
        shards: usize,
    },
}

impl GroupError {
    /// Another process did not answer for as long as `timeout`.
    pub fn silent(timeout: Duration) -> Self {
        let seconds = timeout.as_secs_f64();
        Self::Lost(format!("another process did not answer for {seconds} s"))
    }
}

/// The collective operations of a group of processes, as `torch.distributed` names them. All processes call the same
/// ones in the same order; each returns when its result is there.
pub trait ProcessGroup {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;
    /// The number of processes, N.
    fn size(&self) -> usize;
    /// Sends the r-th of the N equal pieces of `send` to rank r. `receive` (as long) gets what was sent to this rank,
    /// by the rank of its sender.
    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) -> Result<(), GroupError>;
    /// `receive` gets `own` of every rank, by rank; all are equally long.
    fn all_gather(&self, own: &[u8], receive: &mut [u8]) -> Result<(), GroupError>;
    /// Overwrites `bytes` with those of rank 0.
    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), GroupError>;
}

/// What every rank sends besides its numbers: its clock, and whether it wants to stop.
const NOTE: usize = 9;

/// A training's share in a group of processes, or the only one.
pub struct Distributed {
    group: Option<Box<dyn ProcessGroup>>,
    session: Cell<Instant>,
    /// Seconds of the session by the clock of rank 0, when all last met.
    clock: Cell<f64>,
    scratch: RefCell<Scratch>,
}

/// Buffers that every step uses.
#[derive(Default)]
struct Scratch {
    pieces: [Vec<f32>; 2],
    bytes: [Vec<u8>; 2],
    sum: Sum,
}

/// Numbers of all ranks.
pub struct Gathered {
    /// Those of rank 0, then those of rank 1, …
    pub values: Vec<f64>,
    /// Whether a rank wants to stop.
    pub stopped: bool,
}

impl Default for Distributed {
    fn default() -> Self {
        Self::alone()
    }
}

impl Distributed {
    /// One process that trains alone.
    pub fn alone() -> Self {
        Self::of(None)
    }

    /// One of the processes of a group.
    pub fn new(group: Box<dyn ProcessGroup>) -> Self {
        Self::of(Some(group))
    }

    fn of(group: Option<Box<dyn ProcessGroup>>) -> Self {
        Self {
            group,
            session: Cell::new(Instant::now()),
            clock: Cell::new(0.0),
            scratch: RefCell::default(),
        }
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.rank())
    }

    /// The number of processes.
    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, |group| group.size())
    }

    /// Whether this process is the one that writes and speaks.
    pub fn is_writer(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there are no other processes.
    pub const fn is_alone(&self) -> bool {
        self.group.is_none()
    }

    /// Which of `items` items a rank takes.
    pub fn share_of(&self, rank: usize, items: usize) -> Range<usize> {
        super::shards::rows(items, rank, self.size())
    }

    /// Which of `items` items this process takes.
    pub fn share(&self, items: usize) -> Range<usize> {
        self.share_of(self.rank(), items)
    }

    /// Returns an error unless `shards` shards can be dealt out evenly.
    pub fn check_shards(&self, shards: usize) -> Result<(), GroupError> {
        let size = self.size();
        if shards.is_multiple_of(size) {
            Ok(())
        } else {
            Err(GroupError::Uneven { size, shards })
        }
    }

    /// Begins a session.
    pub fn start(&self) {
        self.session.set(Instant::now());
        self.clock.set(0.0);
    }

    /// Seconds of the session: the same on all ranks, which decide by it.
    pub fn elapsed(&self) -> f64 {
        if self.is_alone() {
            self.session.get().elapsed().as_secs_f64()
        } else {
            self.clock.get()
        }
    }

    /// This rank's note.
    fn note(&self, stopped: bool) -> [u8; NOTE] {
        let seconds = self.session.get().elapsed().as_secs_f64();
        let mut note = [u8::from(stopped); NOTE];
        note[1..].copy_from_slice(&seconds.to_le_bytes());
        note
    }

    /// Takes the clock of rank 0 from the notes of all, and returns whether one of them wants to stop.
    fn heed<'a>(&self, notes: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut stopped = false;
        for (rank, note) in notes.into_iter().enumerate() {
            stopped |= note[0] != 0;
            if rank == 0 {
                self.clock.set(number(&note[1..NOTE]));
            }
        }
        stopped
    }

    /// Whether a rank wants to stop.
    pub fn any(&self, stopped: bool) -> Result<bool, GroupError> {
        if self.is_alone() {
            return Ok(stopped);
        }
        Ok(self.gather(&[], |_| 0, stopped)?.stopped)
    }

    /// The numbers of all ranks, of which `rank` has `count(rank)`.
    pub fn gather(
        &self,
        own: &[f64],
        count: impl Fn(usize) -> usize,
        stopped: bool,
    ) -> Result<Gathered, GroupError> {
        let Some(group) = &self.group else {
            let values = own.to_vec();
            return Ok(Gathered { values, stopped });
        };
        let counts: Vec<usize> = (0..group.size()).map(count).collect();
        let most = counts.iter().copied().max().unwrap_or(0);
        let mut bytes = self.note(stopped).to_vec();
        bytes.extend(own.iter().flat_map(|value| value.to_le_bytes()));
        bytes.resize(NOTE + 8 * most, 0);
        let mut all = vec![0; bytes.len() * counts.len()];
        group.all_gather(&bytes, &mut all)?;
        let parts = || all.chunks_exact(bytes.len());
        let stopped = self.heed(parts());
        let values = parts().zip(&counts).flat_map(|(part, &count)| {
            let numbers = part[NOTE..].chunks_exact(8).take(count);
            numbers.map(number)
        });
        Ok(Gathered {
            values: values.collect(),
            stopped,
        })
    }

    /// Completes states (layers, rows, width), of which every rank has the rows of its own of `shards` shards.
    pub fn gather_rows(
        &self,
        states: &mut [f32],
        [layers, rows, width]: [usize; 3],
        shards: usize,
    ) -> Result<(), GroupError> {
        if self.is_alone() {
            return Ok(());
        }
        let shards = shards.min(rows);
        // Where the rows of a rank are, layer by layer.
        let ranges = |rank| {
            let own = self.share_of(rank, shards);
            let first = |shard| super::shards::rows(rows, shard, shards).start;
            let own = first(own.start)..first(own.end);
            (0..layers).map(move |layer| {
                let start = layer * rows;
                (start + own.start) * width..(start + own.end) * width
            })
        };
        let own = ranges(self.rank()).flat_map(|range| &states[range]);
        let own: Vec<f64> = own.map(|&value| f64::from(value)).collect();
        let count = |rank| ranges(rank).map(|range| range.len()).sum();
        let mut all = self.gather(&own, count, false)?.values.into_iter();
        for range in (0..self.size()).flat_map(ranges) {
            for (value, gathered) in states[range].iter_mut().zip(&mut all) {
                *value = gathered as f32;
            }
        }
        Ok(())
    }

    /// Rank 0's bytes, or none if it has none. Others need not have any.
    pub fn broadcast(&self, own: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, GroupError> {
        let Some(group) = &self.group else {
            return Ok(own);
        };
        let mut length = own
            .as_ref()
            .map_or(u64::MAX, |own| own.len() as u64)
            .to_le_bytes();
        group.broadcast(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length == u64::MAX {
            return Ok(None);
        }
        let mut bytes = own.filter(|_| self.is_writer()).unwrap_or_default();
        bytes.resize(length as usize, 0);
        group.broadcast(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Returns an error that names `what` if a rank's `digest` is not rank 0's.
    pub fn compare(&self, what: &'static str, digest: u64) -> Result<(), GroupError> {
        // Both halves are whole numbers, which f64 has exactly.
        let own = [digest >> 32, digest & 0xffff_ffff].map(|half| half as f64);
        let all = self.gather(&own, |_| 2, false)?.values;
        let mut pairs = all.chunks_exact(2).enumerate();
        match pairs.find(|(_, pair)| *pair != &all[..2]) {
            Some((rank, _)) => Err(GroupError::Differ { what, rank }),
            None => Ok(()),
        }
    }

    /// Adds the gradients of all ranks' shards, of which `sum` has this rank's [share](Self::share) of `shards`, and
    /// returns the total and the sum of their losses, each in the order of the shards. Hand the total back to `sum`
    /// with [`Sum::recycle`].
    ///
    /// Rank r gets the r-th piece of everybody's gradients, adds them, and gives the sum to all: as many bytes as a
    /// ring sends (2·(N − 1)/N of the gradients to and from each rank) if each rank has a power of two shards, in an order
    /// that does not depend on N.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if a rank wants to stop.
    pub fn reduce(
        &self,
        sum: &mut Sum,
        kernels: Kernels,
        size: usize,
        shards: usize,
        stopped: bool,
    ) -> Result<(Vec<f32>, f64), EngineError> {
        let Some(group) = &self.group else {
            let total = sum.total(kernels);
            if stopped {
                sum.recycle(total);
                return Err(EngineError::Stopped);
            }
            return Ok((total, sum.losses().iter().sum()));
        };
        let ranks = group.size();
        let shares: Vec<Range<usize>> =
            (0..ranks).map(|rank| self.share_of(rank, shards)).collect();
        let nodes = shares.iter().map(|share| levels(share.clone()).len());
        let nodes = nodes.max().unwrap_or(0);
        let piece = size.div_ceil(ranks);
        let scratch = &mut *self.scratch.borrow_mut();

        let [send, received] = &mut scratch.pieces;
        for buffer in [&mut *send, &mut *received] {
            buffer.resize(ranks * nodes * piece, 0.0);
        }
        for (node, values) in sum.nodes().enumerate() {
            for (rank, values) in values.chunks(piece).enumerate() {
                let at = (rank * nodes + node) * piece;
                send[at..at + values.len()].copy_from_slice(values);
            }
        }
        group.all_to_all(send, received)?;
        let own = &mut scratch.sum;
        own.begin(0);
        for (share, of_rank) in shares.iter().zip(received.chunks_exact(nodes * piece)) {
            own.add_nodes(kernels, share.clone(), of_rank.chunks_exact(piece));
        }
        let total = own.total(kernels);

        let most = shares.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let [bytes, all] = &mut scratch.bytes;
        bytes.clear();
        bytes.extend_from_slice(&self.note(stopped));
        bytes.extend(sum.losses().iter().flat_map(|loss| loss.to_le_bytes()));
        let head = NOTE + 8 * most;
        bytes.resize(head, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&total));
        own.recycle(total);
        all.resize(bytes.len() * ranks, 0);
        group.all_gather(bytes, all)?;
        let parts = || all.chunks_exact(bytes.len());
        let stopped = self.heed(parts());
        // Its own nodes' buffers are free now.
        sum.begin(0);
        if stopped {
            return Err(EngineError::Stopped);
        }
        let mut total = sum.buffer(size);
        let mut losses = 0.0;
        for ((part, share), values) in parts().zip(&shares).zip(total.chunks_mut(piece)) {
            for loss in part[NOTE..head].chunks_exact(8).take(share.len()) {
                losses += number(loss);
            }
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
            bytes.copy_from_slice(&part[head..head + bytes.len()]);
        }
        Ok((total, losses))
    }
}

/// A number that a rank sent.
fn number(bytes: &[u8]) -> f64 {
    let mut own = [0; 8];
    own.copy_from_slice(bytes);
    f64::from_le_bytes(own)
}
