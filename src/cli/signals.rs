//! Signals: which the program catches, and which it ignores.

use anyhow::{Context as _, Result};

use super::output::note;

/// Lets a write past the limit on the size of files (`ulimit -f`) fail, like one on a full disk, and not end the program.
pub fn fail_at_the_size_limit() {
    // SAFETY: to ignore a signal runs no code.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN)
    };
}

/// Calls `handler` at Ctrl-C, SIGTERM and SIGHUP. Where the system allows no thread that waits for them, they end the
/// program at once.
pub fn catch(handler: impl FnMut() + 'static + Send) -> Result<()> {
    let caught = ctrlc::set_handler(handler);
    #[cfg(unix)]
    if let Err(ctrlc::Error::System(_)) = caught {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the default action of a signal runs no code of this program.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        note!("warning: there is no thread to wait for Ctrl-C, which ends the program at once");
        return Ok(());
    }
    caught.context("cannot catch Ctrl-C")
}
