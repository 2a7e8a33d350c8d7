//! The few calls of libtorch that tch does not expose; see `shim.cpp` and `process_group.cpp`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::Duration;

use tch::{Device, Tensor};
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
        steps: Tensors,
        count: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        decoupled: bool,
    ) -> *mut c_char;
    fn textgen_clip(gradients: Tensors, count: usize, limit: f64) -> *mut c_char;
    fn textgen_allow_tf32(allowed: bool) -> *mut c_char;
    fn textgen_upload(tensor: *mut C_tensor, index: i64, out: *mut *mut C_tensor) -> *mut c_char;
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
    /// One-element f32 tensors that count the steps; the call adds 1.
    pub steps: &'a [Tensor],
}

/// The constants of Adam (Kingma & Ba 2015, algorithm 1).
#[derive(Clone, Copy, Debug)]
pub struct AdamConstants {
    /// Learning rate α.
    pub lr: f64,
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
            pointers(tensors.steps).as_ptr(),
            tensors.parameters.len(),
            constants.lr,
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

/// Copies `tensor` from the CPU to `device`, without waiting for the pending work of a CUDA device.
pub fn upload(tensor: &Tensor, device: Device) -> Tensor {
    let Device::Cuda(index) = device else {
        return tensor.to_device(device);
    };
    let mut out = std::ptr::null_mut();
    // SAFETY: a live tensor, borrowed for the call; the shim allocates the result, which is owned
    // from here on.
    unsafe {
        must(textgen_upload(
            tensor.as_ptr().cast_mut(),
            index as i64,
            &raw mut out,
        ));
        Tensor::from_ptr(out)
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
fn failed(message: *mut c_char) -> Result<(), String> {
    take(message).map_or(Ok(()), Err)
}
