//! Signals: which the program catches, and which it ignores.

use anyhow::{Context as _, Result};

#[cfg(unix)]
use nix::sys::signal::{SigHandler, Signal, signal};

use super::output::note;

/// Lets a write past the limit on the size of files (`ulimit -f`) fail, like one on a full disk, and not end the program.
pub fn fail_at_the_size_limit() {
    // SAFETY: to ignore a signal runs no code.
    #[cfg(unix)]
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
}

/// Calls `handler` at Ctrl-C, SIGTERM and SIGHUP. Where the system allows no thread that waits for them, they end the
/// program at once.
pub fn catch(handler: impl FnMut() + 'static + Send) -> Result<()> {
    let caught = ctrlc::set_handler(handler);
    #[cfg(unix)]
    if let Err(ctrlc::Error::System(_)) = caught {
        for caught in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the default action of a signal runs no code of this program.
            let _ = unsafe { signal(caught, SigHandler::SigDfl) };
        }
        note!("warning: there is no thread to wait for Ctrl-C, which ends the program at once");
        return Ok(());
    }
    caught.context("cannot catch Ctrl-C")
}

/// Keeps the signal of a closed terminal from stopping anything if it is ignored when the program starts: catching
/// Ctrl-C catches it, too, and so would end that. Threads inherit this, so it comes before there are any.
#[cfg(target_os = "linux")]
pub fn keep_ignored() {
    use nix::sys::signal::SigSet;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if is_ignored(Signal::SIGHUP as u32, &status) {
        let _ = SigSet::from(Signal::SIGHUP).thread_block();
    }
}

/// Elsewhere there is no telling without unsafe code.
#[cfg(not(target_os = "linux"))]
pub const fn keep_ignored() {}

/// Whether a process ignores a signal, by its file `status`.
#[cfg(target_os = "linux")]
fn is_ignored(signal: u32, status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_list_tells_which_signals_are_ignored() {
        let status = "Name:\ttextgen\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001002\n";
        let ignored = |signal| is_ignored(signal, status);
        assert_eq!([1, 2, 12, 13].map(ignored), [false, true, false, true]);
        assert!(!is_ignored(1, "Name:\ttextgen\n"));
    }
}
