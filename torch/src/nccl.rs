//! NVIDIA's NCCL, by which GPUs add their gradients without the CPU; see `nccl.cpp`.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use tch::{Device, Tensor};
use textgen::train::{Distributed, EngineError, GroupError};
use torch_sys::C_tensor;

use crate::gradients::Collectives;
use crate::shim::failed;

/// Bytes by which the processes of a group find each other.
type Id = [u8; 128];

unsafe extern "C" {
    fn textgen_nccl_is_there() -> bool;
    fn textgen_nccl_id(out: *mut Id) -> *mut c_char;
    fn textgen_nccl_join(
        id: *const Id,
        rank: c_int,
        size: c_int,
        device: i64,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> *mut c_char;
    fn textgen_nccl_leave(group: *mut c_void);
    fn textgen_nccl_all_to_all(
        group: *mut c_void,
        send: *mut C_tensor,
        receive: *mut C_tensor,
    ) -> *mut c_char;
    fn textgen_nccl_all_gather(
        group: *mut c_void,
        own: *mut C_tensor,
        receive: *mut C_tensor,
    ) -> *mut c_char;
}

/// A group of processes with a GPU each.
pub struct Nccl {
    group: NonNull<c_void>,
    timeout: Duration,
}

impl Nccl {
    /// Joins the processes of `distributed` with this one's `device`; what takes longer than `timeout`, here or later,
    /// fails. `None` unless all of them `may`, and have NCCL.
    pub fn join(
        distributed: &Distributed,
        device: Device,
        may: bool,
        timeout: Duration,
    ) -> Result<Option<Self>, EngineError> {
        // SAFETY: takes nothing.
        let can = may && device.is_cuda() && unsafe { textgen_nccl_is_there() };
        let all = distributed.gather(&[f64::from(can)], |_| 1, false)?.values;
        if all.contains(&0.0) {
            return Ok(None);
        }
        let mut id: Id = [0; 128];
        let made = if distributed.is_writer() {
            // SAFETY: a place for an identifier.
            failed(unsafe { textgen_nccl_id(&raw mut id) })
        } else {
            Ok(())
        };
        // All learn it if there is none, since all wait for it.
        let sent = distributed.broadcast(made.is_ok().then(|| id.to_vec()))?;
        made.map_err(|why| failure(&why))?;
        let Some(sent) = sent.filter(|sent| sent.len() == id.len()) else {
            return Err(failure("process 0 has no identifier"));
        };
        id.copy_from_slice(&sent);
        let Device::Cuda(index) = device else {
            return Ok(None);
        };
        let mut group = std::ptr::null_mut();
        // SAFETY: an identifier, numbers and a place for the group, which the shim allocates if it reports no failure.
        let joined = failed(unsafe {
            textgen_nccl_join(
                &raw const id,
                distributed.rank() as c_int,
                distributed.size() as c_int,
                index as i64,
                timeout.as_millis() as i64,
                &raw mut group,
            )
        });
        joined.map_err(|why| lost(&why, timeout))?;
        Ok(NonNull::new(group).map(|group| Self { group, timeout }))
    }
}

impl Collectives for Nccl {
    fn all_to_all(&self, send: &Tensor, receive: &mut Tensor) -> Result<(), EngineError> {
        let (from, into) = (send.as_ptr().cast_mut(), receive.as_mut_ptr());
        // SAFETY: a live group, and live tensors, borrowed for the call, which waits for the device.
        let sent = unsafe { textgen_nccl_all_to_all(self.group.as_ptr(), from, into) };
        failed(sent).map_err(|why| lost(&why, self.timeout))
    }

    fn all_gather(&self, own: &Tensor, receive: &mut Tensor) -> Result<(), EngineError> {
        let (from, into) = (own.as_ptr().cast_mut(), receive.as_mut_ptr());
        // SAFETY: as above.
        let gathered = unsafe { textgen_nccl_all_gather(self.group.as_ptr(), from, into) };
        failed(gathered).map_err(|why| lost(&why, self.timeout))
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // SAFETY: the shim made it; it is freed here, once.
        unsafe { textgen_nccl_leave(self.group.as_ptr()) }
    }
}

/// An operation that did not end because another process is gone, or so NCCL says.
fn lost(why: &str, timeout: Duration) -> EngineError {
    if why.contains("Timed out") {
        return GroupError::silent(timeout).into();
    }
    if why.contains("remote") {
        return GroupError::Lost("another process has ended".to_owned()).into();
    }
    failure(why)
}

fn failure(why: &str) -> EngineError {
    let why = why.lines().next().unwrap_or_default();
    EngineError::Device(format!("NCCL: {why}"))
}
