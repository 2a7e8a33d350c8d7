//! The few calls of libtorch that tch does not expose; see `shim.cpp` and `process_group.cpp`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::time::Duration;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

type Tensors = *const *mut C_tensor;

unsafe extern "C" {
    fn textgen_free(text: *mut c_char);
    fn textgen_compiled_version() -> *const c_char;
    fn textgen_loaded_config() -> *mut c_char;
    fn textgen_adam(
        parameters: Tensors,
        gradients: Tensors,
        first: Tensors,
        second: Tensors,
        largest: Tensors,
        step: *mut C_tensor,
        count: usize,
        rate: *mut C_tensor,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        decoupled: bool,
    ) -> *mut c_char;
    fn textgen_clip(gradients: Tensors, count: usize, limit: f64) -> *mut c_char;
    fn textgen_allow_tf32(allowed: bool) -> *mut c_char;
    #[cfg(test)]
    fn textgen_size_of_group() -> usize;
    fn textgen_join(
        file: *const c_char,
        host: *const c_char,
        port: u16,
        own: *const c_char,
        rank: c_int,
        size: c_int,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn textgen_leave(group: *mut c_void);
    fn textgen_all_to_all(
        group: *mut c_void,
        send: *const f32,
        receive: *mut f32,
        count: i64,
    ) -> *mut c_char;
    fn textgen_all_gather(
        group: *mut c_void,
        own: *const u8,
        receive: *mut u8,
        count: i64,
    ) -> *mut c_char;
    fn textgen_broadcast(group: *mut c_void, bytes: *mut u8, count: i64) -> *mut c_char;
    fn textgen_upload(tensor: *mut C_tensor, to: *mut C_tensor) -> *mut c_char;
    fn textgen_download(tensor: *mut C_tensor, to: *mut f32) -> *mut c_char;
    fn textgen_stream(index: i64, out: *mut i64) -> *mut c_char;
    fn textgen_use_stream(index: i64, id: i64, before: *mut i64) -> *mut c_char;
    fn textgen_graph_begin(other: *mut c_void, out: *mut *mut c_void) -> *mut c_char;
    fn textgen_graph_end(graph: *mut c_void) -> *mut c_char;
    fn textgen_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn textgen_graph_free(graph: *mut c_void);
}

fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.as_ptr().cast_mut())
        .collect()
}

/// Takes ownership of a message that the shim allocated.
fn take(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim returns a zero-terminated string from strdup, which is freed here, once.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        textgen_free(message);
        Some(text)
    }
}

/// Panics with libtorch's message, as tch does, so that the program sees one kind of failure.
fn must(message: *mut c_char) {
    if let Some(text) = take(message) {
        panic!("{:?}", tch::TchError::Torch(text));
    }
}

/// The version of libtorch that this program was compiled against, such as `2.11.0`.
pub fn compiled_version() -> String {
    // SAFETY: a string literal of the shim.
    unsafe { CStr::from_ptr(textgen_compiled_version()) }
        .to_string_lossy()
        .into_owned()
}

/// The version of the libtorch that is loaded, such as `2.11.0`; none if it does not say.
pub fn loaded_version() -> Option<String> {
    // SAFETY: takes no arguments; the result is checked for null and freed by `take`.
    let config = take(unsafe { textgen_loaded_config() })?;
    let (_, after) = config.split_once("TORCH_VERSION=")?;
    Some(
        after
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect(),
    )
}

/// The tensors that one call of [`adam`] updates; all lists are as long as `parameters`.
pub struct AdamTensors<'a> {
    /// The parameters, updated in place.
    pub parameters: &'a [Tensor],
    /// The gradients, one per parameter.
    pub gradients: &'a [Tensor],
    /// First moments m.
    pub first: &'a [Tensor],
    /// Second moments v.
    pub second: &'a [Tensor],
    /// Largest second moments (AMSGrad), or none.
    pub largest: Option<&'a [Tensor]>,
    /// The number of the step, from 1, as f32 on the parameters' device.
    pub step: &'a Tensor,
    /// The learning rate α, likewise.
    pub rate: &'a Tensor,
}

/// The constants of Adam (Kingma & Ba 2015, algorithm 1).
#[derive(Clone, Copy, Debug)]
pub struct AdamConstants {
    /// Decay of the first moment β₁.
    pub beta1: f64,
    /// Decay of the second moment β₂.
    pub beta2: f64,
    /// Weight decay λ, 0 for none.
    pub weight_decay: f64,
    /// ε, which keeps the denominator above zero.
    pub epsilon: f64,
    /// Whether weight decay is decoupled (AdamW).
    pub decoupled: bool,
}

/// One step of Adam on all parameters at once.
pub fn adam(tensors: &AdamTensors, constants: AdamConstants) {
    if tensors.parameters.is_empty() {
        return;
    }
    let largest = tensors.largest.map(pointers);
    // SAFETY: every list holds `count` live tensors; the shim borrows them for the call.
    must(unsafe {
        textgen_adam(
            pointers(tensors.parameters).as_ptr(),
            pointers(tensors.gradients).as_ptr(),
            pointers(tensors.first).as_ptr(),
            pointers(tensors.second).as_ptr(),
            largest.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            tensors.step.as_ptr().cast_mut(),
            tensors.parameters.len(),
            tensors.rate.as_ptr().cast_mut(),
            constants.beta1,
            constants.beta2,
            constants.weight_decay,
            constants.epsilon,
            constants.decoupled,
        )
    });
}

/// Scales `gradients` down so that their common L2 norm is at most `limit`.
pub fn clip(gradients: &[Tensor], limit: f64) {
    // SAFETY: the list holds `count` live tensors; the shim borrows them for the call.
    must(unsafe { textgen_clip(pointers(gradients).as_ptr(), gradients.len(), limit) });
}

/// Whether CUDA may compute products of f32 matrices in TF32. libtorch lets cuDNN, unless told not to.
pub fn allow_tf32(allowed: bool) {
    // SAFETY: takes a number.
    must(unsafe { textgen_allow_tf32(allowed) });
}

/// Copies `tensor` from the CPU into `to`, without waiting for the pending work of a CUDA device.
pub fn upload(tensor: &Tensor, to: &mut Tensor) {
    if !to.device().is_cuda() {
        to.copy_(tensor);
        return;
    }
    // SAFETY: live tensors, borrowed for the call.
    must(unsafe { textgen_upload(tensor.as_ptr().cast_mut(), to.as_mut_ptr()) });
}

/// The elements of a contiguous tensor of f32.
pub fn download(tensor: &Tensor) -> Vec<f32> {
    assert!(tensor.kind() == Kind::Float && tensor.is_contiguous());
    let mut data = vec![0.0; tensor.numel()];
    if tensor.device().is_cuda() {
        // SAFETY: a live tensor, borrowed for the call, and a buffer of as many elements.
        must(unsafe { textgen_download(tensor.as_ptr().cast_mut(), data.as_mut_ptr()) });
    } else {
        tensor.copy_data(&mut data, tensor.numel());
    }
    data
}

/// A queue of work of a CUDA device beside the default one, in which alone graphs can be captured.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    device: i64,
    id: i64,
}

impl Stream {
    /// One of a CUDA device; `None` for another device.
    pub fn new(device: Device) -> Option<Self> {
        let Device::Cuda(index) = device else {
            return None;
        };
        let (device, mut id) = (index as i64, 0);
        // SAFETY: takes a number, and a place for one.
        must(unsafe { textgen_stream(device, &raw mut id) });
        Some(Self { device, id })
    }

    /// Calls `work`, whose work for the device goes here, after all that the device was given before and
    /// before all that it is given later.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let switch = |id| {
            let mut before = 0;
            // SAFETY: takes numbers, and a place for one.
            must(unsafe { textgen_use_stream(self.device, id, &raw mut before) });
            before
        };
        let before = switch(self.id);
        // A failure of libtorch is a panic.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        switch(before);
        outcome.unwrap_or_else(|failure| resume_unwind(failure))
    }
}

/// The work of a CUDA device as a graph, which starts at once however many operations there are.
#[derive(Debug)]
pub struct Graph(NonNull<c_void>);

impl Graph {
    /// Captures what `work` gives to the device, without running it; `work` must have run in this stream
    /// before. Its temporary memory is that of the graph `other`, so that the two must not run at once. All
    /// other memory must be where it is for as long as the graph is replayed, and nothing may be read back or
    /// uploaded. `None` if libtorch can't capture it.
    pub fn capture(stream: Stream, other: Option<&Self>, work: impl FnOnce()) -> Option<Self> {
        let other = other.map_or(std::ptr::null_mut(), |graph| graph.0.as_ptr());
        stream.run(|| {
            let mut graph = std::ptr::null_mut();
            // SAFETY: `other` is null or a live graph; the shim allocates the result if it reports no failure.
            if take(unsafe { textgen_graph_begin(other, &raw mut graph) }).is_some() {
                return None;
            }
            let graph = Self(NonNull::new(graph)?);
            // The capture must be ended before anything else.
            let worked = catch_unwind(AssertUnwindSafe(work));
            // SAFETY: a live graph whose capture has begun.
            let failure = take(unsafe { textgen_graph_end(graph.0.as_ptr()) });
            (worked.is_ok() && failure.is_none()).then_some(graph)
        })
    }

    /// Starts what was captured, after all that the device was given before.
    pub fn replay(&self) {
        // SAFETY: a live graph whose capture has ended.
        must(unsafe { textgen_graph_replay(self.0.as_ptr()) });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: a live graph, freed once.
        unsafe { textgen_graph_free(self.0.as_ptr()) };
    }
}

/// Where the processes of a group meet.
#[derive(Clone, Debug)]
pub enum Meeting {
    /// On one host: a file that is not there yet.
    File(CString),
    /// The host of rank 0, on which it listens on a port.
    Tcp(CString, u16),
}

/// A process group of libtorch's Gloo.
pub struct Gloo(NonNull<c_void>);

impl Gloo {
    /// Joins a group of `size` processes as number `rank`. `own` is the address at which the others reach this one;
    /// what takes longer than `timeout`, here or later, fails.
    pub fn join(
        meeting: &Meeting,
        own: &CString,
        rank: usize,
        size: usize,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (file, host, port) = match meeting {
            Meeting::File(file) => (file.as_ptr(), ptr::null(), 0),
            Meeting::Tcp(host, port) => (ptr::null(), host.as_ptr(), *port),
        };
        let mut group = ptr::null_mut();
        // SAFETY: zero-terminated strings, or null where the shim expects it, which it copies.
        failed(unsafe {
            textgen_join(
                file,
                host,
                port,
                own.as_ptr(),
                rank as c_int,
                size as c_int,
                timeout.as_millis() as i64,
                &raw mut group,
            )
        })?;
        NonNull::new(group).map(Self).ok_or_else(String::new)
    }

    /// Sends the r-th of the equal pieces of `send` to rank r; `receive` gets those that were sent to this one.
    pub fn all_to_all(&self, send: &[f32], receive: &mut [f32]) -> Result<(), String> {
        assert_eq!(send.len(), receive.len());
        let (from, into, count) = (send.as_ptr(), receive.as_mut_ptr(), send.len() as i64);
        // SAFETY: both have `count` numbers, which nobody else uses until the call returns; the shim does not write
        // to the first.
        failed(unsafe { textgen_all_to_all(self.0.as_ptr(), from, into, count) })
    }

    /// `receive` gets `own` of every rank.
    pub fn all_gather(&self, size: usize, own: &[u8], receive: &mut [u8]) -> Result<(), String> {
        assert_eq!(own.len() * size, receive.len());
        let (from, into, count) = (own.as_ptr(), receive.as_mut_ptr(), own.len() as i64);
        // SAFETY: `count` bytes, and `count` for each of the ranks, as above.
        failed(unsafe { textgen_all_gather(self.0.as_ptr(), from, into, count) })
    }

    /// Overwrites `bytes` with those of rank 0.
    pub fn broadcast(&self, bytes: &mut [u8]) -> Result<(), String> {
        let (data, count) = (bytes.as_mut_ptr(), bytes.len() as i64);
        // SAFETY: `count` bytes, which nobody else uses until the call returns.
        failed(unsafe { textgen_broadcast(self.0.as_ptr(), data, count) })
    }

    /// The size of libtorch's class.
    #[cfg(test)]
    pub fn size() -> usize {
        // SAFETY: takes nothing.
        unsafe { textgen_size_of_group() }
    }
}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: the shim made it; it is freed here, once.
        unsafe { textgen_leave(self.0.as_ptr()) }
    }
}

/// A failure of the shim as an error.
pub(crate) fn failed(message: *mut c_char) -> Result<(), String> {
    take(message).map_or(Ok(()), Err)
}
