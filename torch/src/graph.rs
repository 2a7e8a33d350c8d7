//! Training steps as CUDA graphs. A small network's step takes less time on a GPU than to give it its hundreds
//! of operations; as a graph they are given at once. A graph knows nothing but its operations and their memory:
//! it is for batches of one shape, whose inputs are always uploaded to the same place.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use crate::shim::{self, Graph, Stream};

/// Shapes of batches that have graphs.
const MOST: usize = 64;

/// The shape of a batch: all that makes the operations of its step differ from those of another.
pub type Key = [usize; 3];

/// Uploads the inputs of steps, those of every step to the same memory.
pub struct Uploads {
    device: Device,
    tensors: Vec<Tensor>,
    /// The number of tensors that the current step has uploaded.
    done: usize,
}

impl Uploads {
    /// Without any memory yet.
    pub const fn new(device: Device) -> Self {
        Self {
            device,
            tensors: Vec::new(),
            done: 0,
        }
    }

    /// Copies numbers to the device.
    pub fn floats(&mut self, numbers: &[f32]) -> Tensor {
        self.upload(&Tensor::from_slice(numbers))
    }

    /// Copies lists of indices to the device, in one transfer.
    pub fn indices<const N: usize>(&mut self, lists: [&[i64]; N]) -> [Tensor; N] {
        let all = self.upload(&Tensor::from_slice(&lists.concat()));
        let mut start = 0;
        lists.map(|list| {
            let part = all.narrow(0, start, list.len() as i64);
            start += list.len() as i64;
            part
        })
    }

    fn upload(&mut self, values: &Tensor) -> Tensor {
        if self.done == self.tensors.len() {
            let empty = Tensor::empty(values.size(), (values.kind(), self.device));
            self.tensors.push(empty);
        }
        let to = &mut self.tensors[self.done];
        self.done += 1;
        shim::upload(values, to);
        to.shallow_clone()
    }
}

/// The steps of one shape.
pub struct Steps {
    key: Option<Key>,
    /// Where the inputs are.
    pub uploads: Uploads,
    state: State,
}

enum State {
    New,
    /// libtorch and cuDNN have prepared themselves in a first step.
    Prepared,
    Captured(Graph),
    Failed,
}

impl Steps {
    const fn graph(&self) -> Option<&Graph> {
        match &self.state {
            State::Captured(graph) => Some(graph),
            _ => None,
        }
    }
}

/// All shapes of a training; the default has none and takes none.
#[derive(Default)]
pub struct Graphs {
    most: usize,
    /// Where steps are captured.
    stream: Option<Stream>,
    shapes: HashMap<Key, Steps>,
}

impl Graphs {
    /// None yet, of steps on a device; only CUDA has any.
    pub fn new(device: Device) -> Self {
        Self {
            most: MOST,
            stream: Stream::new(device),
            shapes: HashMap::new(),
        }
    }

    /// The steps of a shape, of which one is about to be taken; `None` is for a shape that hardly comes again.
    pub fn take(&mut self, key: Option<Key>, device: Device) -> Steps {
        let key = key.filter(|key| self.shapes.len() < self.most || self.shapes.contains_key(key));
        let known = key.and_then(|key| self.shapes.remove(&key));
        let mut steps = known.unwrap_or_else(|| Steps {
            key,
            uploads: Uploads::new(device),
            state: State::New,
        });
        steps.uploads.done = 0;
        steps
    }

    /// Takes the step whose inputs are uploaded: replays its graph, or calls `work`, which may be captured: it must
    /// leave everything that lasts where it is.
    pub fn step(&mut self, mut steps: Steps, mut work: impl FnMut()) {
        let (Some(stream), Some(key)) = (self.stream, steps.key) else {
            return work();
        };
        if matches!(steps.state, State::Prepared) {
            let other = self.shapes.values().find_map(Steps::graph);
            let graph = Graph::capture(stream, other, &mut work);
            steps.state = graph.map_or(State::Failed, State::Captured);
        }
        match &steps.state {
            State::New | State::Prepared => {
                stream.run(work);
                steps.state = State::Prepared;
            }
            State::Captured(graph) => graph.replay(),
            State::Failed => work(),
        }
        self.shapes.insert(key, steps);
    }

    /// Forgets all graphs, since memory that they use has moved.
    pub fn clear(&mut self) {
        self.shapes.clear();
    }

    /// The number of graphs.
    pub fn count(&self) -> usize {
        self.shapes.values().filter_map(Steps::graph).count()
    }
}

/// The numbers of a step, on the device.
pub struct Numbers {
    /// The step's number, from 1.
    pub step: Tensor,
    /// The learning rate.
    pub rate: Tensor,
    /// What the weights count in their average.
    pub blend: Tensor,
    /// β of a word-vae (1).
    pub kl_weight: Tensor,
}

impl Numbers {
    /// Uploads them.
    pub fn new(step: u64, rate: f64, blend: f64, kl_weight: f32, uploads: &mut Uploads) -> Self {
        let all = uploads.floats(&[step as f32, rate as f32, blend as f32, kl_weight]);
        let [step, rate, blend] = [0, 1, 2].map(|at| all.get(at));
        Self {
            step,
            rate,
            blend,
            kl_weight: all.narrow(0, 3, 1),
        }
    }
}

/// Replaces `old` by `new`: in place if the sizes are the same; else returns false.
pub fn replace(old: &mut Tensor, new: Tensor) -> bool {
    debug_assert_eq!(new.kind(), Kind::Float);
    let same = old.size() == new.size();
    if same {
        old.copy_(&new);
    } else {
        *old = new;
    }
    same
}
