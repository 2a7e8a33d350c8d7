//! The native engine's training kernels as operators of libtorch on the CPU: their forward and
//! backward passes are functions here that `operators.cpp` calls with plain arrays, on libtorch's
//! own threads.

use std::ffi::{c_char, c_void};
use std::slice;
use std::sync::atomic::{AtomicI64, Ordering};

use tch::{Device, Kind, Reduction, Tensor};
use textgen::config::{Cell, Precision};
use textgen::kernels::training::{
    Head, HeadGradients, Input, Layer, LayerGradients, OutputGradients, Outputs, Saved, Steps,
    Team, Workers, backward, forward, saved,
};
use textgen::kernels::{Kernels, Layout};
use torch_sys::C_tensor;

use crate::shim::must;

type Tensors = *mut *mut C_tensor;

unsafe extern "C" {
    fn textgen_parallel(count: i64, job: extern "C" fn(*mut c_void, i64), context: *mut c_void);
    fn textgen_layer(
        tensors: *const *mut C_tensor,
        counts: *const i64,
        steps: usize,
        cell: i64,
        kernels: *const LayerKernels,
        saved_gates: i64,
        saved_units: i64,
        out: Tensors,
    ) -> *mut c_char;
    fn textgen_head(
        vectors: *mut C_tensor,
        weight: *mut C_tensor,
        bias: *mut C_tensor,
        targets: *mut C_tensor,
        kernels: *const HeadKernels,
        saved: i64,
        out: Tensors,
    ) -> *mut c_char;
}

/// The arrays of a layer; null if there is none. Shapes as in [`Layer`], [`Outputs`], [`Saved`].
#[repr(C)]
struct LayerArrays {
    cell: i64,
    steps: i64,
    positions: i64,
    inputs: i64,
    hidden: i64,
    counts: *const i64,
    tokens: *const i64,
    vectors: *const f32,
    constant: *const f32,
    weight_ih: *const f32,
    weight_hh: *const f32,
    bias_ih: *const f32,
    bias_hh: *const f32,
    h0: *const f32,
    c0: *const f32,
    outputs: *mut f32,
    h: *mut f32,
    c: *mut f32,
    gates: *mut f32,
    units: *mut f32,
}

/// The gradients of a layer: those of the outputs to read, the others to write.
#[repr(C)]
struct LayerGradientArrays {
    d_outputs: *const f32,
    d_h: *const f32,
    d_c: *const f32,
    vectors: *mut f32,
    constant: *mut f32,
    weight_ih: *mut f32,
    weight_hh: *mut f32,
    bias_ih: *mut f32,
    bias_hh: *mut f32,
    h0: *mut f32,
    c0: *mut f32,
}

#[repr(C)]
struct LayerKernels {
    forward: extern "C" fn(*const LayerArrays),
    backward: extern "C" fn(*const LayerArrays, *const LayerGradientArrays),
}

static LAYER_KERNELS: LayerKernels = LayerKernels {
    forward: layer_forward,
    backward: layer_backward,
};

/// The arrays of a head; shapes as in [`Head`].
#[repr(C)]
struct HeadArrays {
    positions: i64,
    hidden: i64,
    outputs: i64,
    vectors: *const f32,
    weight: *const f32,
    bias: *const f32,
    targets: *const i64,
    probabilities: *mut f32,
    nats: *mut f32,
}

#[repr(C)]
struct HeadGradientArrays {
    d_nats: *const f32,
    vectors: *mut f32,
    weight: *mut f32,
    bias: *mut f32,
}

#[repr(C)]
struct HeadKernels {
    forward: extern "C" fn(*const HeadArrays),
    backward: extern "C" fn(*const HeadArrays, *const HeadGradientArrays),
}

static HEAD_KERNELS: HeadKernels = HeadKernels {
    forward: head_forward,
    backward: head_backward,
};

/// The threads of libtorch's pool.
struct Threads;

impl Team for Threads {
    fn threads(&self) -> usize {
        tch::get_num_threads().max(1) as usize
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        // libtorch assigns ranges in advance; with a counter instead, a thread that other
        // programs delay leaves its part to the others.
        let next = AtomicI64::new(0);
        let context = Jobs {
            job,
            next: &next,
            count: jobs as i64,
        };
        let workers = self.threads().min(jobs) as i64;
        let pointer = (&raw const context).cast_mut().cast::<c_void>();
        // SAFETY: `work` casts the pointer back; the context lives until the call returns.
        unsafe { textgen_parallel(workers, work, pointer) };
    }
}

/// libtorch's threads with the kernels of this machine's level.
pub(crate) fn workers() -> Workers<'static> {
    Workers {
        team: &Threads,
        kernels: Kernels::new(),
    }
}

/// The argument of [`work`].
struct Jobs<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    next: &'a AtomicI64,
    count: i64,
}

extern "C" fn work(context: *mut c_void, _worker: i64) {
    // SAFETY: `Threads::run` passes a `Jobs` that outlives the call, and only shares it.
    let jobs = unsafe { &*context.cast::<Jobs>() };
    loop {
        let index = jobs.next.fetch_add(1, Ordering::Relaxed);
        if index >= jobs.count {
            return;
        }
        (jobs.job)(index as usize);
    }
}

/// `length` numbers at `pointer`, or none if it is null.
///
/// # Safety
/// A pointer that is not null points to `length` numbers that live as long as `'a`.
unsafe fn read<'a, T>(pointer: *const T, length: usize) -> &'a [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(pointer, length) }
}

/// [`read`], mutable.
///
/// # Safety
/// As [`read`], and nothing else uses the numbers.
unsafe fn write<'a>(pointer: *mut f32, length: usize) -> &'a mut [f32] {
    if pointer.is_null() {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts_mut(pointer, length) }
}

/// The numbers of a tensor.
///
/// # Panics
/// If it is not f32, contiguous and on the CPU: a bug in this crate.
pub(crate) fn numbers(tensor: &Tensor) -> &[f32] {
    // SAFETY: as many numbers as the tensor has, which cannot go before the borrow ends.
    unsafe { read(plain_data(tensor), tensor.numel()) }
}

/// [`numbers`], mutable.
///
/// # Panics
/// As [`numbers`].
pub(crate) fn numbers_mut(tensor: &mut Tensor) -> &mut [f32] {
    // SAFETY: as above; a step's parameters and moments share their memory with nothing that is read
    // or written meanwhile.
    unsafe { write(plain_data(tensor), tensor.numel()) }
}

fn plain_data(tensor: &Tensor) -> *mut f32 {
    assert_eq!(tensor.kind(), Kind::Float, "f32");
    assert_eq!(tensor.device(), Device::Cpu, "on the CPU");
    assert!(tensor.is_contiguous(), "contiguous");
    tensor.data_ptr().cast()
}

/// The cells by their number in the shim.
const CELLS: [Cell; 3] = [Cell::Lstm, Cell::Gru, Cell::Rnn];

impl LayerArrays {
    /// The arrays in the form that the kernels take.
    ///
    /// # Safety
    /// The arrays have the sizes that their descriptions say.
    unsafe fn layer(&self) -> (Layer<'_>, Steps) {
        let (hidden, inputs) = (self.hidden as usize, self.inputs as usize);
        let (positions, cell) = (self.positions as usize, CELLS[self.cell as usize]);
        let rows = cell.gates() * hidden;
        // SAFETY: the caller's promise, here and below.
        let counts = unsafe { read(self.counts, self.steps as usize) };
        let steps = Steps::new(counts.iter().map(|&n| n as usize).collect());
        let states = steps.batch() * hidden;
        // SAFETY: as above.
        let layer = unsafe {
            Layer {
                cell,
                hidden,
                inputs,
                input: if self.tokens.is_null() {
                    Input::Vectors(read(self.vectors, positions * inputs))
                } else {
                    Input::Tokens(read(self.tokens, positions))
                },
                constant: (!self.constant.is_null())
                    .then(|| read(self.constant, steps.batch() * rows)),
                weight_ih: read(self.weight_ih, rows * inputs),
                weight_hh: read(self.weight_hh, rows * hidden),
                bias_ih: read(self.bias_ih, rows),
                bias_hh: read(self.bias_hh, rows),
                h0: read(self.h0, states),
                c0: read(self.c0, states),
            }
        };
        (layer, steps)
    }

    /// The saved activations, or `None` if the shim passes no buffer for them.
    ///
    /// # Safety
    /// As [`LayerArrays::layer`].
    unsafe fn saved(&self, layer: &Layer) -> Option<Saved<'_>> {
        let (gates, units) = saved(layer.cell, layer.hidden);
        let positions = self.positions as usize;
        // SAFETY: the caller's promise.
        (!self.gates.is_null()).then(|| unsafe {
            Saved {
                gates: write(self.gates, positions * gates),
                units: write(self.units, positions * units),
            }
        })
    }
}

extern "C" fn layer_forward(arrays: *const LayerArrays) {
    // SAFETY: the shim passes arrays of tensors whose shapes `layer` below has checked.
    unsafe {
        let arrays = &*arrays;
        let (layer, steps) = arrays.layer();
        let states = layer.h0.len();
        let out = Outputs {
            outputs: write(arrays.outputs, steps.positions() * layer.hidden),
            h: write(arrays.h, states),
            c: write(arrays.c, states),
        };
        let saved = arrays.saved(&layer);
        forward(workers(), &layer, &steps, out, saved);
    }
}

extern "C" fn layer_backward(arrays: *const LayerArrays, gradients: *const LayerGradientArrays) {
    // SAFETY: as in `layer_forward`; gradients have the shapes of what they are gradients of.
    unsafe {
        let (arrays, gradients) = (&*arrays, &*gradients);
        let (layer, steps) = arrays.layer();
        let outputs = read(arrays.outputs, steps.positions() * layer.hidden);
        let some = |pointer: *const f32, length: usize| {
            (!pointer.is_null()).then(|| read(pointer, length))
        };
        let of = OutputGradients {
            outputs: some(gradients.d_outputs, outputs.len()),
            h: some(gradients.d_h, layer.h0.len()),
            c: some(gradients.d_c, layer.h0.len()),
        };
        let to = LayerGradients {
            input: write(gradients.vectors, steps.positions() * layer.inputs),
            constant: write(gradients.constant, steps.batch() * layer.bias_ih.len()),
            weight_ih: write(gradients.weight_ih, layer.weight_ih.len()),
            weight_hh: write(gradients.weight_hh, layer.weight_hh.len()),
            bias_ih: write(gradients.bias_ih, layer.bias_ih.len()),
            bias_hh: write(gradients.bias_hh, layer.bias_hh.len()),
            h0: write(gradients.h0, layer.h0.len()),
            c0: write(gradients.c0, layer.c0.len()),
        };
        if let Some(saved) = arrays.saved(&layer) {
            backward(workers(), &layer, &steps, outputs, saved, of, to);
        }
    }
}

impl HeadArrays {
    /// # Safety
    /// The arrays have the sizes that their descriptions say.
    unsafe fn head<'a>(&self) -> (Head<'a>, &'a mut [f32]) {
        let (positions, units) = (self.positions as usize, self.hidden as usize);
        let outputs = self.outputs as usize;
        // SAFETY: the caller's promise.
        unsafe {
            let head = Head {
                hidden: read(self.vectors, positions * units),
                weight: read(self.weight, outputs * units),
                bias: read(self.bias, outputs),
                targets: read(self.targets, positions),
            };
            let probabilities = write(self.probabilities, positions * head.layout().len());
            (head, probabilities)
        }
    }
}

extern "C" fn head_forward(arrays: *const HeadArrays) {
    // SAFETY: the shim passes arrays of tensors whose shapes `nats` below has checked.
    unsafe {
        let arrays = &*arrays;
        let (head, probabilities) = arrays.head();
        let nats = write(arrays.nats, head.targets.len());
        head.forward(workers(), probabilities, nats);
    }
}

extern "C" fn head_backward(arrays: *const HeadArrays, gradients: *const HeadGradientArrays) {
    // SAFETY: as in `head_forward`; gradients have the shapes of what they are gradients of.
    unsafe {
        let (arrays, gradients) = (&*arrays, &*gradients);
        let (head, probabilities) = arrays.head();
        let d_nats = read(gradients.d_nats, head.targets.len());
        let to = HeadGradients {
            hidden: write(gradients.vectors, head.hidden.len()),
            weight: write(gradients.weight, head.weight.len()),
            bias: write(gradients.bias, head.bias.len()),
        };
        head.backward(workers(), probabilities, d_nats, to);
    }
}

/// One layer of one direction over sequences sorted by length, longest first.
pub struct LayerCall<'a> {
    /// The cell, which determines G, the number of gates.
    pub cell: Cell,
    /// Active sequences at each step, n_t; N is their sum, B the first.
    pub counts: &'a [i64],
    /// Tokens (N), or vectors (N, I).
    pub input: &'a Tensor,
    /// (B, G·H) that every step of a sequence adds to the gates, or none.
    pub constant: Option<&'a Tensor>,
    /// W_ih (G·H, I or V), W_hh (G·H, H), b_ih, b_hh (G·H).
    pub weights: &'a [Tensor],
    /// h, and c for an LSTM, each (B, H).
    pub state: &'a [Tensor],
}

/// Outputs (N, H) and the state (B, H) after each sequence's last step.
///
/// # Panics
/// If a shape is not as described: a bug in this crate.
pub fn layer(call: &LayerCall) -> (Tensor, Vec<Tensor>) {
    let hidden = call.weights[1].size()[1];
    let gates = call.cell.gates() as i64 * hidden;
    let (batch, positions) = (call.counts[0], call.counts.iter().sum::<i64>());
    let inputs = call.weights[0].size()[1];
    let tokens = call.input.kind() == Kind::Int64;
    let want = if tokens {
        vec![positions]
    } else {
        vec![positions, inputs]
    };
    assert_eq!(call.input.size(), want, "input");
    assert_eq!(call.weights[0].size(), [gates, inputs], "W_ih");
    assert_eq!(call.weights[1].size(), [gates, hidden], "W_hh");
    for bias in &call.weights[2..4] {
        assert_eq!(bias.size(), [gates], "bias");
    }
    for state in call.state {
        assert_eq!(state.size(), [batch, hidden], "state");
    }
    let states = if call.cell == Cell::Lstm { 2 } else { 1 };
    assert_eq!(call.state.len(), states, "state");
    if let Some(constant) = call.constant {
        assert_eq!(constant.size(), [batch, gates], "constant");
    }
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut();
    let mut tensors = vec![
        pointer(call.input),
        call.constant.map_or(std::ptr::null_mut(), pointer),
    ];
    tensors.extend(call.weights[..4].iter().map(pointer));
    tensors.extend(call.state.iter().map(pointer));
    tensors.resize(8, std::ptr::null_mut());
    let (saved_gates, saved_units) = saved(call.cell, hidden as usize);
    let cell = CELLS.iter().position(|&cell| cell == call.cell);
    let mut out = [std::ptr::null_mut(); 3];
    // SAFETY: eight live tensors or nulls and the counts, borrowed for the call; their shapes were
    // checked above. The kernels are in static memory.
    must(unsafe {
        textgen_layer(
            tensors.as_ptr(),
            call.counts.as_ptr(),
            call.counts.len(),
            cell.unwrap_or_default() as i64,
            &raw const LAYER_KERNELS,
            saved_gates as i64,
            saved_units as i64,
            out.as_mut_ptr(),
        )
    });
    let mut results = out[..=states].iter().map(|&pointer| {
        // SAFETY: the shim allocated a tensor for each result, which is owned from here on.
        unsafe { Tensor::from_ptr(pointer) }
    });
    let outputs = results.next().unwrap_or_default();
    (outputs, results.collect())
}

/// −log p(target), nats (N), of targets (N) under logits = x · weightᵀ + bias: x (N, H), weight (V, H),
/// bias (V). On other devices than the CPU it uses libtorch's own operators, with the product in bf16 if
/// `precision` says so.
///
/// # Panics
/// If a shape is not as described: a bug in this crate.
pub fn predict(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    targets: &Tensor,
    precision: Precision,
) -> Tensor {
    if x.device() == Device::Cpu {
        return predict_native(x, weight, bias, targets);
    }
    let logits = if precision == Precision::Bf16 {
        let low = |tensor: &Tensor| tensor.to_kind(Kind::BFloat16);
        low(x)
            .linear(&low(weight), Some(&low(bias)))
            .to_kind(Kind::Float)
    } else {
        x.linear(weight, Some(bias))
    };
    logits.cross_entropy_loss::<Tensor>(targets, None, Reduction::None, -100, 0.0)
}

fn predict_native(x: &Tensor, weight: &Tensor, bias: &Tensor, targets: &Tensor) -> Tensor {
    let (positions, hidden) = (x.size()[0], x.size()[1]);
    let outputs = bias.size()[0];
    assert_eq!(weight.size(), [outputs, hidden], "weight");
    assert_eq!(targets.size(), [positions], "targets");
    let mut out = std::ptr::null_mut();
    let pointer = |tensor: &Tensor| tensor.as_ptr().cast_mut();
    // SAFETY: live tensors, borrowed for the call, whose shapes were checked above.
    must(unsafe {
        textgen_head(
            pointer(x),
            pointer(weight),
            pointer(bias),
            pointer(targets),
            &raw const HEAD_KERNELS,
            Layout::new(outputs as usize, 1).len() as i64,
            &raw mut out,
        )
    });
    // SAFETY: the shim allocated the result, which is owned from here on.
    unsafe { Tensor::from_ptr(out) }
}
