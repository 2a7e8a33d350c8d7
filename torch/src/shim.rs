//! The few calls of libtorch that tch does not expose; see `shim.cpp`.

use std::ffi::{CStr, c_char};

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
