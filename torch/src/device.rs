//! Which device trains, and how libtorch is set up for it.

use std::sync::OnceLock;

use tch::Cuda;
use textgen::config::{Device, Precision};
use textgen::train::EngineError;

use crate::shim;

/// Why there is no device as asked for.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// libtorch sees no CUDA device.
    #[error("--device {asked}: no CUDA device: {why}")]
    NoCuda {
        /// The value of `--device`.
        asked: Device,
        /// The reason: what is missing.
        why: String,
    },
    /// A lower precision than f32 without a CUDA device.
    #[error("--precision {0}: needs a CUDA device, and training is on the CPU")]
    Precision(Precision),
    /// The number asked for is too high.
    #[error("--device cuda:{asked}: the CUDA devices of this machine are numbered 0 to {}", .count - 1)]
    NoSuchDevice {
        /// The number asked for.
        asked: usize,
        /// How many there are.
        count: i64,
    },
}

/// Loads libtorch's CUDA part, if there is one. It registers itself when it is loaded; if it
/// were linked plainly, the linker would drop it because no symbol of it is used. Call this before
/// anything else of libtorch, which looks for its CUDA part only once: later it would find no device.
///
/// Returns why there is no CUDA device, or none if there is one.
pub fn load_cuda() -> Option<String> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(missing).clone()
}

fn missing() -> Option<String> {
    let library = std::path::Path::new(env!("TEXTGEN_LIBTORCH")).join("lib/libtorch_cuda.so");
    if !library.exists() {
        return Some("this libtorch has no CUDA part".to_owned());
    }
    let Ok(name) = std::ffi::CString::new(library.to_string_lossy().as_bytes()) else {
        return Some("libtorch's path holds a zero byte".to_owned());
    };
    // SAFETY: a zero-terminated path; libtorch's initialisers run once and the handle is kept for good.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        // SAFETY: dlerror returns null or a zero-terminated string, valid until the next dl call.
        let message = unsafe {
            let text = libc::dlerror();
            if text.is_null() {
                String::new()
            } else {
                std::ffi::CStr::from_ptr(text)
                    .to_string_lossy()
                    .into_owned()
            }
        };
        let reason = message.rsplit('/').next().unwrap_or_default().to_owned();
        return Some(format!("CUDA's libraries are not complete: {reason}"));
    }
    if Cuda::is_available() {
        None
    } else {
        Some("libtorch has its CUDA part, but there is no device or driver".to_owned())
    }
}

/// The device that `asked` means on this machine.
pub fn choose(asked: Device) -> Result<tch::Device, DeviceError> {
    let missing = load_cuda().filter(|_| asked != Device::Cpu);
    Ok(match (asked, missing) {
        (Device::Cpu, _) | (Device::Auto, Some(_)) => tch::Device::Cpu,
        (Device::Auto, None) => tch::Device::Cuda(0),
        (Device::Cuda(_), Some(why)) => return Err(DeviceError::NoCuda { asked, why }),
        (Device::Cuda(index), None) => {
            let count = Cuda::device_count();
            if index as i64 >= count {
                return Err(DeviceError::NoSuchDevice {
                    asked: index,
                    count,
                });
            }
            tch::Device::Cuda(index)
        }
    })
}

/// Sets the precision of f32 products on a CUDA device, which for bf16 is TF32; elsewhere refuses less than f32.
pub fn set_precision(precision: Precision, device: tch::Device) -> Result<(), DeviceError> {
    if device.is_cuda() {
        shim::allow_tf32(precision != Precision::F32);
    } else if precision != Precision::F32 {
        return Err(DeviceError::Precision(precision));
    }
    Ok(())
}

impl From<DeviceError> for EngineError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error.to_string())
    }
}
