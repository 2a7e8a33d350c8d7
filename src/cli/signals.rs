//! Signals: which the program catches, and which it ignores.

use anyhow::{Context as _, Result};

#[cfg(unix)]
pub use signal_hook::consts::SIGINT;

#[cfg(unix)]
use super::output::note;

/// Ctrl-C, by the number that it has everywhere.
#[cfg(not(unix))]
pub const SIGINT: i32 = 2;

/// The exit code of a program that a signal ends, by the convention of shells.
pub const fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// Lets a write past the limit on the size of files (`ulimit -f`) fail, like one on a full disk, and not end the program.
pub fn fail_at_the_size_limit() {
    #[cfg(unix)]
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
}

/// Calls `handler` with the number of the signal at Ctrl-C, SIGTERM and SIGHUP, but not at a SIGHUP that was ignored when the
/// program started. Where the system allows no thread that waits for them, they end the program at once.
#[cfg(unix)]
pub fn catch(handler: impl FnMut(i32) + Send + 'static) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    use signal_hook::iterator::Signals;
    let mut wanted = vec![SIGINT, SIGTERM];
    // As under nohup.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !is_ignored(SIGHUP, &status) {
        wanted.push(SIGHUP);
    }
    let (tell, told) = std::sync::mpsc::channel();
    let wait = move || {
        let caught = Signals::new(wanted).map(|mut signals| {
            let _ = tell.send(Ok(()));
            signals.forever().for_each(handler);
        });
        if let Err(error) = caught {
            let _ = tell.send(Err(error));
        }
    };
    if std::thread::Builder::new().spawn(wait).is_err() {
        note!("warning: there is no thread to wait for Ctrl-C, which ends the program at once");
        return Ok(());
    }
    let caught = told.recv().context("cannot catch Ctrl-C")?;
    caught.context("cannot catch Ctrl-C")
}

/// Calls `handler` at Ctrl-C.
#[cfg(not(unix))]
pub fn catch(mut handler: impl FnMut(i32) + Send + 'static) -> Result<()> {
    ctrlc::set_handler(move || handler(SIGINT)).context("cannot catch Ctrl-C")
}

/// Whether a process ignores a signal, by the file `status` that Linux has of it. Elsewhere there is no telling without
/// unsafe code.
#[cfg(unix)]
fn is_ignored(signal: i32, status: &str) -> bool {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
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
