//! Counts what a training step allocates. It is a program of its own, because a program has one allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use textgen::config::{Cell, NetworkConfig};
use textgen::kernels::Kernels;
use textgen::kernels::training::{Alone, Buffers, Workers};
use textgen::models::batch::TextBatch;
use textgen::models::training::{CharRnnTraining, Parameters, TextDropout, TextState};

/// The system's allocator, counted.
struct Counting;

static BYTES: AtomicU64 = AtomicU64::new(0);
static LARGEST: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as u64, Ordering::Relaxed);
        LARGEST.fetch_max(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_step_allocates_no_array_once_the_first_has() {
    let buffers = Buffers::new();
    let workers = Workers {
        team: &Alone,
        kernels: Kernels::new(),
        buffers: &buffers,
    };
    let (steps, rows) = (32, 16);
    for cell in [Cell::Lstm, Cell::Gru, Cell::Rnn] {
        for embedding in [0, 24] {
            let network = NetworkConfig {
                embedding,
                ..NetworkConfig::char_rnn(cell, 96, 2, 50)
            };
            let parameters = Parameters::init(&network, 1, false);
            let dropout = TextDropout {
                outputs: 0.2,
                input: 0.1,
                recurrent: 0.1,
                ..TextDropout::default()
            };
            let mut training = CharRnnTraining::new(&network, &parameters, dropout);
            let mut state = TextState::zero(&network, rows);
            let mut gradients = vec![0.0; parameters.count()];
            let tokens: Vec<i64> = (0..steps * rows).map(|k| (k * k % 50) as i64).collect();
            let mut batch = TextBatch {
                steps,
                rows,
                targets: tokens.clone(),
                inputs: tokens,
                ..TextBatch::default()
            };
            for step in 0..6 {
                BYTES.store(0, Ordering::Relaxed);
                LARGEST.store(0, Ordering::Relaxed);
                let values = &parameters.values;
                training.forward(workers, values, &batch, &mut state, (1, step));
                training.backward(workers, values, &batch, 1e-3, &mut gradients);
                let [bytes, largest] = [&BYTES, &LARGEST].map(|n| n.load(Ordering::Relaxed));
                println!("{cell:?} {embedding} step {step}: {bytes} bytes, {largest} at once");
                // What is left are lists of references to rows, steps and parts. The first batch of another
                // length may find a buffer taken by a smaller array.
                let is_first = step == 0 || step == 3;
                assert!(is_first || largest <= 8 << 10, "{largest} bytes");
                assert!(step == 0 || bytes <= 256 << 10, "{bytes} bytes");
                if step == 2 {
                    batch.steps = 20;
                    batch.inputs.truncate(20 * rows);
                    batch.targets.truncate(20 * rows);
                }
            }
        }
    }
}
