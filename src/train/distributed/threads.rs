//! A group whose members are threads of one process: what the tests train with.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::{GroupError, ProcessGroup};

/// One of several threads that train together.
pub struct Threads {
    rank: usize,
    /// To every rank,
    to: Vec<Sender<Vec<u8>>>,
    /// and from every rank.
    from: Vec<Receiver<Vec<u8>>>,
}

impl Threads {
    /// A group of `size`, one for each thread.
    pub fn group(size: usize) -> Vec<Self> {
        let mut group: Vec<Self> = (0..size)
            .map(|rank| Self {
                rank,
                to: Vec::new(),
                from: Vec::new(),
            })
            .collect();
        for to in 0..size {
            for from in 0..size {
                let (sender, receiver) = channel();
                group[from].to.push(sender);
                group[to].from.push(receiver);
            }
        }
        group
    }

    /// Sends `message(r)` to every rank r; `take` gets what every rank sent.
    fn exchange(
        &self,
        message: impl Fn(usize) -> Vec<u8>,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), GroupError> {
        let lost = |rank| GroupError::Lost(format!("thread {rank} has ended"));
        for (rank, to) in self.to.iter().enumerate() {
            to.send(message(rank)).map_err(|_| lost(rank))?;
        }
        for (rank, from) in self.from.iter().enumerate() {
            take(rank, &from.recv().map_err(|_| lost(rank))?);
        }
        Ok(())
    }
}

impl ProcessGroup for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) -> Result<(), GroupError> {
        let piece = send.len() / self.size();
        let of = |rank: usize| {
            let values = &send[rank * piece..(rank + 1) * piece];
            bytemuck::cast_slice(values).to_vec()
        };
        self.exchange(of, |rank, bytes| {
            let values = &mut receive[rank * piece..(rank + 1) * piece];
            bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
        })
    }

    fn all_gather(&self, own: &[u8], receive: &mut [u8]) -> Result<(), GroupError> {
        self.exchange(
            |_| own.to_vec(),
            |rank, bytes| {
                receive[rank * own.len()..(rank + 1) * own.len()].copy_from_slice(bytes);
            },
        )
    }

    fn broadcast(&self, bytes: &mut [u8]) -> Result<(), GroupError> {
        let own = bytes.to_vec();
        self.exchange(
            |_| own.clone(),
            |rank, sent| {
                if rank == 0 {
                    bytes.copy_from_slice(sent);
                }
            },
        )
    }
}
