//! A program that `nohup` has started goes on when its terminal is closed.

/// Keeps the signal of a closed terminal from stopping anything if it is ignored when the program starts: catching
/// Ctrl-C catches it, too, and so would end that. Threads inherit this, so it comes before there are any.
#[cfg(target_os = "linux")]
pub fn keep_ignored() {
    use nix::sys::signal::{SigSet, Signal};
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
