//! One text read by several threads.
//!
//! Every thread computes some blocks of every layer and some panels of the head, then tells the
//! others. Work is split over outputs and never over the inputs that a sum runs over, so any number
//! of threads computes the same bits. What is exchanged is a few thousand bytes a symbol: each
//! thread stores its part of a hidden state where the others read it, and they meet at a barrier.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::char_lstm::{CharLstm, State};
use super::kernels::{PANEL, Quantized};
use super::recurrent::{LayerState, Read};

/// Below so many bytes of weights a symbol takes a few microseconds, and meeting costs more than
/// it gains.
const LEAST_BYTES: usize = 512 << 10;
/// How often a waiting thread looks, at some nanoseconds a look, before it lets others run.
const LOOKS: u32 = 5_000;
/// How often it lets others run before it sleeps: its leader waits for something else than it.
const YIELDS: u32 = 5_000;
const NAP: Duration = Duration::from_micros(100);
/// In place of a symbol: there will be no more.
const END: u32 = u32::MAX;

/// Reads one text, on one thread or on several.
#[derive(Debug)]
pub struct Reader<'a> {
    model: &'a CharLstm,
    state: State,
    team: Option<Leader<'a>>,
}

impl Reader<'_> {
    /// The logits (outputs) after the last symbol read.
    pub fn logits(&self) -> &[f32] {
        self.state.logits(0)
    }

    /// Reads one symbol.
    ///
    /// # Panics
    /// Where `symbol` is not below the network's `inputs`.
    pub fn step(&mut self, symbol: u32) {
        let Some(Leader { shared, member }) = &mut self.team else {
            return self.model.step(&mut self.state, &[symbol]);
        };
        assert!((symbol as usize) < self.model.inputs(), "unknown symbol");
        shared.symbol.store(symbol, Ordering::Relaxed);
        shared.barrier.wait();
        member.step(self.model, shared, symbol);
        load(&shared.logits, &mut self.state.logits);
    }
}

impl CharLstm {
    /// Bytes of weights that reading one symbol reads, the row of its input aside.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.stack.layers().iter();
        layers
            .map(super::recurrent::Layer::weight_bytes)
            .sum::<usize>()
            + self.head.weight_bytes()
    }

    /// Goes on from `state`, which has one row, with at most `threads` threads: fewer where the
    /// network is too small to gain by them. The threads end with `work`.
    pub fn read_on_threads<R>(
        &self,
        state: State,
        threads: usize,
        work: impl FnOnce(&mut Reader) -> R,
    ) -> R {
        assert_eq!(state.rows(), 1, "one text");
        let threads = if self.weight_bytes() < LEAST_BYTES {
            1
        } else {
            threads.min(self.stack.blocks()).max(1)
        };
        let mut reader = Reader {
            model: self,
            state,
            team: None,
        };
        if threads == 1 {
            return work(&mut reader);
        }
        let shared = Shared::new(self, threads);
        let mut members =
            (0..threads).map(|index| Member::new(self, &reader.state, index, threads));
        let Some(member) = members.next() else {
            return work(&mut reader);
        };
        let others: Vec<Member> = members.collect();
        std::thread::scope(|scope| {
            for member in others {
                let shared = &shared;
                scope.spawn(move || member.follow(self, shared));
            }
            reader.team = Some(Leader {
                shared: &shared,
                member,
            });
            let _end = Ending(&shared);
            work(&mut reader)
        })
    }
}

/// The thread that the text is read for.
#[derive(Debug)]
struct Leader<'a> {
    shared: &'a Shared,
    member: Member,
}

/// Sends the others home, also when the leader fails.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.barrier.broken.store(true, Ordering::Release);
        } else {
            self.0.symbol.store(END, Ordering::Relaxed);
            self.0.barrier.wait();
        }
    }
}

/// Breaks the barrier when its thread fails, so that nobody waits for it for ever.
struct Presence<'a>(&'a Barrier);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
        }
    }
}

/// What the threads tell each other: numbers as their bits.
#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    symbol: AtomicU32,
    /// (H), by layer.
    hidden: Vec<Vec<AtomicU32>>,
    /// (width of the head).
    logits: Vec<AtomicU32>,
}

impl Shared {
    fn new(model: &CharLstm, threads: usize) -> Self {
        let room = |len: usize| (0..len).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
        let layers = model.stack.layers().iter();
        Self {
            barrier: Barrier::new(threads as u32),
            symbol: AtomicU32::new(END),
            hidden: layers.map(|layer| room(layer.units())).collect(),
            logits: room(model.head.width()),
        }
    }
}

/// Numbers for the others; the barrier that follows makes them visible.
fn store(numbers: &[f32], to: &[AtomicU32]) {
    for (number, to) in numbers.iter().zip(to) {
        to.store(number.to_bits(), Ordering::Relaxed);
    }
}

/// Numbers from the others.
fn load(from: &[AtomicU32], numbers: &mut [f32]) {
    for (number, from) in numbers.iter_mut().zip(from) {
        *number = f32::from_bits(from.load(Ordering::Relaxed));
    }
}

/// One thread's part of the network's state.
#[derive(Debug)]
struct Member {
    /// Some blocks of every layer.
    layers: Vec<LayerState>,
    /// Some panels of the head.
    panels: Range<usize>,
    logits: Vec<f32>,
    room: Quantized,
}

impl Member {
    fn new(model: &CharLstm, state: &State, index: usize, threads: usize) -> Self {
        let share = |all: usize| all * index / threads..all * (index + 1) / threads;
        let layers = model.stack.layers().iter().zip(&state.layers);
        let panels = share(model.head.panels());
        Self {
            layers: layers
                .map(|(layer, state)| layer.part(state, share(layer.blocks())))
                .collect(),
            logits: vec![0.0; panels.len() * PANEL],
            panels,
            room: Quantized::default(),
        }
    }

    /// Reads every symbol that the leader announces.
    fn follow(mut self, model: &CharLstm, shared: &Shared) {
        let _presence = Presence(&shared.barrier);
        loop {
            shared.barrier.wait();
            match shared.symbol.load(Ordering::Relaxed) {
                END => break,
                symbol => self.step(model, shared, symbol),
            }
        }
    }

    fn step(&mut self, model: &CharLstm, shared: &Shared, symbol: u32) {
        for (index, layer) in model.stack.layers().iter().enumerate() {
            let (below, rest) = self.layers.split_at_mut(index);
            let state = &mut rest[0];
            let symbols = [symbol];
            let read = match below.last() {
                None => Read::Symbols(&symbols),
                Some(below) => Read::Vectors(&below.hidden),
            };
            layer.step(model.kernels, read, state);
            let units = state.units.clone();
            store(&state.hidden[units.clone()], &shared.hidden[index][units]);
            shared.barrier.wait();
            load(&shared.hidden[index], &mut state.hidden);
        }
        let Some(top) = self.layers.last() else {
            return;
        };
        let Self {
            panels,
            logits,
            room,
            ..
        } = self;
        model
            .head
            .apply_panels(model.kernels, panels.clone(), &top.hidden, room, logits);
        let place = panels.start * PANEL..panels.end * PANEL;
        store(logits, &shared.logits[place]);
        shared.barrier.wait();
    }
}

/// Where threads wait for each other, looking all the time: the wait is shorter than a sleep.
#[derive(Debug)]
struct Barrier {
    members: u32,
    arrived: AtomicU32,
    round: AtomicU32,
    /// A thread has failed.
    broken: AtomicBool,
}

impl Barrier {
    const fn new(members: u32) -> Self {
        Self {
            members,
            arrived: AtomicU32::new(0),
            round: AtomicU32::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all have come; what any of them stored before is then visible to all.
    fn wait(&self) {
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut looks = 0_u32;
        while self.round.load(Ordering::Acquire) == round {
            looks = looks.saturating_add(1);
            if looks < LOOKS {
                std::hint::spin_loop();
                continue;
            }
            assert!(!self.broken.load(Ordering::Acquire), "a thread has failed");
            if looks < LOOKS + YIELDS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::native::testing;

    #[test]
    fn any_number_of_threads_computes_the_same_bits() {
        for (cell, layers) in [(Cell::Lstm, 1), (Cell::Gru, 2), (Cell::Rnn, 2)] {
            let config = testing::char_lstm(cell, 417, layers, 67);
            for weights in [
                testing::weights(&config),
                super::super::weights::quantize(&testing::weights(&config)),
            ] {
                let model = CharLstm::new(&config, &weights).expect("a network");
                let mut start = model.state(1);
                model.feed(&mut start, &[5, 6, 7]);
                let logits = |threads| {
                    model.read_on_threads(start.clone(), threads, |reader| {
                        let symbols = [1, 66, 2, 2];
                        let mut all = reader.logits().to_vec();
                        for symbol in symbols {
                            reader.step(symbol);
                            all.extend_from_slice(reader.logits());
                        }
                        all
                    })
                };
                let alone = logits(1);
                for threads in [2, 3, 14, 100] {
                    assert_eq!(logits(threads), alone, "{cell} on {threads} threads");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "unknown symbol")]
    fn a_failing_leader_leaves_nobody_waiting() {
        let config = testing::char_lstm(Cell::Lstm, 256, 1, 7);
        let model = CharLstm::new(&config, &testing::weights(&config)).expect("a network");
        model.read_on_threads(model.state(1), 2, |reader| reader.step(7));
    }
}
