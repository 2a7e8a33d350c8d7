//! One text read by several threads.
//!
//! Every thread computes some blocks of every layer and some panels of the head, then hands
//! its results to the others. Work is split over outputs and never over the inputs that a sum runs over, so any number
//! of threads computes the same bits. Threads exchange a few thousand bytes per token: each
//! stores its part of a hidden state in shared memory, and they meet at a barrier.
//!
//! Threads that wait for each other many thousand times a second need a core each. If other
//! programs occupy some, one thread alone is faster. So both ways are timed, again and again.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::kernels::barrier::{Barrier, Presence};
use crate::kernels::{PANEL, Quantized};
use crate::models::char_rnn::CharRnn;
use crate::models::predictor::{Network, RowState};
use crate::models::recurrent::{Layer, LayerState, Read};

/// Below this many bytes of weights, a token is so quick that meeting costs more than it gains.
const LEAST_BYTES: usize = 128 << 10;
/// Tokens over which each way is timed.
const TRIAL: u32 = 24;
/// How long the faster way is used before both are timed again: at first, and at most. The time
/// doubles after each timing, so that an unusual moment is soon corrected.
const FIRST_HOLD: Duration = Duration::from_millis(20);
const MOST_HOLD: Duration = Duration::from_secs(1);

/// Sent instead of a token: there are no more tokens.
const END: u32 = u32::MAX;
/// Sent instead of a token: load your part of the state.
const SCATTER: u32 = u32::MAX - 1;
/// Sent instead of a token: hand over your part of the state.
const GATHER: u32 = u32::MAX - 2;

/// Reads one text on one or several threads.
#[derive(Debug)]
pub struct Reader<'a> {
    model: &'a CharRnn,
    /// The whole state if this thread reads alone; in a team, only the leader's logits count.
    state: RowState,
    team: Option<Leader<'a>>,
}

/// The calling thread.
#[derive(Debug)]
struct Leader<'a> {
    shared: &'a Shared,
    member: Member,
    /// Whether the other threads are reading too.
    together: bool,
    pace: Pace,
    /// How long to use the faster way after the next timing.
    hold: Duration,
}

/// Which way is being timed or has been chosen.
#[derive(Debug)]
enum Pace {
    Alone {
        since: Instant,
        left: u32,
    },
    Together {
        alone: Duration,
        since: Instant,
        left: u32,
    },
    Chosen {
        left: u32,
    },
}

impl Pace {
    fn begin() -> Self {
        Self::Alone {
            since: Instant::now(),
            left: TRIAL,
        }
    }

    /// Counts one more token; returns whether this way has been timed for long enough.
    const fn is_up(&mut self) -> bool {
        let (Self::Alone { left, .. } | Self::Together { left, .. } | Self::Chosen { left }) = self;
        *left = left.saturating_sub(1);
        *left == 0
    }
}

impl Reader<'_> {
    /// The logits (outputs) after the last token read.
    pub fn logits(&self) -> &[f32] {
        self.state.logits(0)
    }

    /// The state after the last token read.
    pub fn state(&mut self) -> &RowState {
        if let Some(leader) = &mut self.team
            && leader.together
        {
            leader.gather(&mut self.state);
            leader.pace = Pace::begin();
        }
        &self.state
    }

    /// Reads one token, alone or with the team.
    ///
    /// # Panics
    /// If `token` is not below the network's `inputs`.
    pub fn step(&mut self, token: u32) {
        assert!((token as usize) < self.model.inputs(), "unknown token");
        match &mut self.team {
            Some(leader) if leader.together => {
                leader.shared.announce(token);
                leader.member.step(self.model, leader.shared, token);
                load(&leader.shared.logits, &mut self.state.logits);
            }
            _ => self.model.step(&mut self.state, &[token]),
        }
        if let Some(leader) = &mut self.team
            && leader.pace.is_up()
        {
            leader.turn(&mut self.state);
        }
    }
}

impl Leader<'_> {
    /// Switches to the other way, or to the faster one if both have been timed.
    fn turn(&mut self, state: &mut RowState) {
        self.pace = match self.pace {
            Pace::Alone { since, .. } => {
                let alone = since.elapsed();
                self.scatter(state);
                Pace::Together {
                    alone,
                    since: Instant::now(),
                    left: TRIAL,
                }
            }
            Pace::Together { alone, since, .. } => {
                let together = since.elapsed();
                if together > alone {
                    self.gather(state);
                }
                let token = alone.min(together).as_secs_f64() / f64::from(TRIAL);
                let left = (self.hold.as_secs_f64() / token) as u32 + 1;
                self.hold = MOST_HOLD.min(2 * self.hold);
                Pace::Chosen { left }
            }
            Pace::Chosen { .. } => {
                if self.together {
                    self.gather(state);
                }
                Pace::begin()
            }
        };
    }

    /// Sends the state to the members.
    fn scatter(&mut self, state: &RowState) {
        for (shared, layer) in self.shared.layers.iter().zip(&state.layers) {
            store(&layer.hidden, &shared.hidden);
            store(&layer.cell, &shared.cell);
        }
        self.shared.announce(SCATTER);
        self.member.take(self.shared);
        self.shared.barrier.wait();
        self.together = true;
    }

    /// Assembles the state from the members' parts.
    fn gather(&mut self, state: &mut RowState) {
        self.shared.announce(GATHER);
        self.member.hand_over(self.shared);
        self.shared.barrier.wait();
        for (shared, layer) in self.shared.layers.iter().zip(&mut state.layers) {
            load(&shared.hidden, &mut layer.hidden);
            load(&shared.cell, &mut layer.cell);
        }
        self.together = false;
    }
}

impl CharRnn {
    /// Bytes of weights that one token reads, apart from the row of its input.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.predictor.layers.iter();
        let bytes: usize = layers.map(Layer::weight_bytes).sum();
        bytes + self.predictor.head.weight_bytes()
    }

    /// Continues from `state`, which has one row, with at most `threads` threads: fewer if the
    /// network is too small to gain by them or if they turn out slower. The threads end when
    /// `work` returns.
    pub fn read_on_threads<R>(
        &self,
        state: RowState,
        threads: usize,
        work: impl FnOnce(&mut Reader) -> R,
    ) -> R {
        let threads = if self.weight_bytes() < LEAST_BYTES {
            1
        } else {
            threads
        };
        self.read_at_pace(state, threads, Pace::begin(), work)
    }

    fn read_at_pace<R>(
        &self,
        state: RowState,
        threads: usize,
        pace: Pace,
        work: impl FnOnce(&mut Reader) -> R,
    ) -> R {
        assert_eq!(state.rows(), 1, "one text");
        let threads = threads.min(self.predictor.blocks()).max(1);
        let mut reader = Reader {
            model: self,
            state,
            team: None,
        };
        if threads == 1 {
            return work(&mut reader);
        }
        let shared = Shared::new(self, threads);
        let member = |index| Member::new(self, &reader.state, index, threads);
        let others: Vec<Member> = (1..threads).map(member).collect();
        let member = member(0);
        // The barrier counts on every thread, so none follows before all have started.
        let complete = OnceLock::new();
        std::thread::scope(|scope| {
            let mut start = |member: Member| {
                let (shared, complete) = (&shared, &complete);
                let follow = move || {
                    if *complete.wait() {
                        member.follow(self, shared);
                    }
                };
                Builder::new().spawn_scoped(scope, follow).is_ok()
            };
            let all = others.into_iter().all(&mut start);
            if !*complete.get_or_init(|| all) {
                return work(&mut reader); // the system has no more threads
            }
            reader.team = Some(Leader {
                shared: &shared,
                member,
                // A member starts by loading its part of the state.
                together: !matches!(pace, Pace::Alone { .. }),
                pace,
                hold: FIRST_HOLD,
            });
            let _end = Ending(&shared);
            work(&mut reader)
        })
    }
}

/// Stops the other threads, also when the leader fails.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.barrier.give_up();
        } else {
            self.0.announce(END);
        }
    }
}

/// Memory shared by the threads; floats are stored as their bits.
#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    /// The next token, or one of the signals above.
    token: AtomicU32,
    layers: Vec<SharedLayer>,
    /// (width of the head).
    logits: Vec<AtomicU32>,
}

#[derive(Debug)]
struct SharedLayer {
    /// (H), exchanged at every token.
    hidden: Vec<AtomicU32>,
    /// (blocks · 32) in an LSTM, exchanged only when the team forms or dissolves.
    cell: Vec<AtomicU32>,
}

impl Shared {
    fn new(model: &CharRnn, threads: usize) -> Self {
        let scratch = |len: usize| (0..len).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
        let layers = model.predictor.layers.iter();
        let layers = layers.map(|layer| SharedLayer {
            hidden: scratch(layer.units()),
            cell: scratch(layer.blocks() * PANEL),
        });
        Self {
            barrier: Barrier::new(threads as u32),
            token: AtomicU32::new(END),
            layers: layers.collect(),
            logits: scratch(model.predictor.head.width()),
        }
    }

    /// Tells the waiting members what comes next.
    fn announce(&self, token: u32) {
        self.token.store(token, Ordering::Relaxed);
        self.barrier.wait();
    }
}

/// Stores numbers for the others; the barrier that follows makes them visible.
fn store(numbers: &[f32], to: &[AtomicU32]) {
    for (number, to) in numbers.iter().zip(to) {
        to.store(number.to_bits(), Ordering::Relaxed);
    }
}

/// Loads the numbers that the others have stored.
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
    scratch: Quantized,
}

impl Member {
    fn new(model: &CharRnn, state: &RowState, index: usize, threads: usize) -> Self {
        let own = |all: usize| all * index / threads..all * (index + 1) / threads;
        let layers = model.predictor.layers.iter().zip(&state.layers);
        let panels = own(model.predictor.head.panels());
        Self {
            layers: layers
                .map(|(layer, state)| layer.part(state, own(layer.blocks())))
                .collect(),
            logits: vec![0.0; panels.len() * PANEL],
            panels,
            scratch: Quantized::default(),
        }
    }

    /// Reads every token that the leader announces.
    fn follow(mut self, model: &CharRnn, shared: &Shared) {
        let _presence = Presence(&shared.barrier);
        loop {
            shared.barrier.wait();
            match shared.token.load(Ordering::Relaxed) {
                END => break,
                SCATTER => {
                    self.take(shared);
                    shared.barrier.wait();
                }
                GATHER => {
                    self.hand_over(shared);
                    shared.barrier.wait();
                }
                token => self.step(model, shared, token),
            }
        }
    }

    /// Loads this part of the state.
    fn take(&mut self, shared: &Shared) {
        for (layer, shared) in self.layers.iter_mut().zip(&shared.layers) {
            load(&shared.hidden, &mut layer.hidden);
            let cells = layer.cells();
            load(&shared.cell[cells], &mut layer.cell);
        }
    }

    /// Hands over this part of the state.
    fn hand_over(&self, shared: &Shared) {
        for (layer, shared) in self.layers.iter().zip(&shared.layers) {
            let units = layer.units.clone();
            store(&layer.hidden[units.clone()], &shared.hidden[units]);
            store(&layer.cell, &shared.cell[layer.cells()]);
        }
    }

    fn step(&mut self, model: &CharRnn, shared: &Shared, token: u32) {
        if model.begins(token) {
            self.layers.iter_mut().for_each(|layer| layer.clear_row(0));
        }
        for (index, layer) in model.predictor.layers.iter().enumerate() {
            let (below, rest) = self.layers.split_at_mut(index);
            let state = &mut rest[0];
            let tokens = [token];
            let read = match below.last() {
                None => Read::Tokens(&tokens),
                Some(below) => Read::Vectors(&below.hidden),
            };
            layer.step(model.predictor.kernels, read, state);
            let units = state.units.clone();
            let hidden = &shared.layers[index].hidden;
            store(&state.hidden[units.clone()], &hidden[units]);
            shared.barrier.wait();
            load(hidden, &mut state.hidden);
        }
        let Some(top) = self.layers.last() else {
            return;
        };
        let Self {
            panels,
            logits,
            scratch,
            ..
        } = self;
        model.predictor.head.apply_panels(
            model.predictor.kernels,
            panels.clone(),
            &top.hidden,
            scratch,
            logits,
        );
        let columns = panels.start * PANEL..panels.end * PANEL;
        store(logits, &shared.logits[columns]);
        shared.barrier.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cell;
    use crate::testing;

    #[test]
    fn any_number_of_threads_computes_the_same_bits() {
        for (cell, layers, eos) in [
            (Cell::Lstm, 1, None),
            (Cell::Gru, 2, Some(3)),
            (Cell::Rnn, 2, None),
        ] {
            let config = crate::config::NetworkConfig {
                eos,
                ..testing::char_lstm(cell, 417, layers, 67)
            };
            for weights in [
                testing::weights(&config),
                super::super::weights::quantize(&testing::weights(&config)),
            ] {
                let model = CharRnn::new(&config, &weights).expect("a network");
                let mut start = model.state(1);
                model.prefill(&mut start, &[5, 6, 7]);
                let always = || Pace::Chosen { left: u32::MAX };
                let logits = |threads, pace| {
                    model.read_at_pace(start.clone(), threads, pace, |reader| {
                        let mut all = reader.logits().to_vec();
                        for token in 0..3 * TRIAL {
                            reader.step(token % 67);
                            all.extend_from_slice(reader.logits());
                        }
                        all
                    })
                };
                let alone = logits(1, always());
                for threads in [2, 3, 14, 100] {
                    let together = logits(threads, always());
                    assert!(together == alone, "{cell} on {threads} threads");
                }
                // The team soon forms, and dissolves again if that is slower.
                assert!(logits(2, Pace::begin()) == alone, "{cell}");
                // A team, then one thread again at the 10th token.
                let parting = Pace::Together {
                    alone: Duration::ZERO,
                    since: Instant::now(),
                    left: 10,
                };
                assert!(logits(3, parting) == alone, "{cell}");
                // The state can be read at any time, whoever holds it.
                let mut want = start.clone();
                model.prefill(&mut want, &[1, 2, 3, 4]);
                for threads in [1, 3] {
                    let state = model.read_at_pace(start.clone(), threads, always(), |reader| {
                        reader.step(1);
                        reader.step(2);
                        reader.state();
                        reader.step(3);
                        reader.step(4);
                        reader.state().snapshot()
                    });
                    assert!(state == want.snapshot(), "{cell} on {threads} threads");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "unknown token")]
    fn a_failing_leader_leaves_nobody_waiting() {
        let config = testing::char_lstm(Cell::Lstm, 256, 1, 7);
        let model = CharRnn::new(&config, &testing::weights(&config)).expect("a network");
        model.read_on_threads(model.state(1), 2, |reader| reader.step(7));
    }
}
