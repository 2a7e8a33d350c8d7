//! What happens when the system has no more memory: one line of error, as after any other one. Without this, the standard
//! library aborts the program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, which ends the program where it fails. The library leaves that to its caller.
pub struct OrEnd;

// SAFETY: each call is passed on to the system's allocator, and what it returns is returned.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the same.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

fn or_end(found: *mut u8, size: usize) -> *mut u8 {
    if found.is_null() {
        end(size);
    }
    found
}

/// Reports that `size` bytes cannot be had, without allocating any, and ends the program at once.
#[cold]
fn end(size: usize) -> ! {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    while IS_ENDING.swap(true, Ordering::Relaxed) {
        // Another thread reports it already.
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let mut text = [0; 200];
    let mut rest = &mut text[..];
    let _ = writeln!(
        rest,
        "error: out of memory: {size} bytes cannot be allocated"
    );
    let _ = writeln!(
        rest,
        "hint: a smaller model or a shorter text needs less; `ulimit -v` is a limit of the shell"
    );
    let left = rest.len();
    let _ = std::io::stderr().write_all(&text[..text.len() - left]);
    #[cfg(unix)]
    signal_hook::low_level::exit(1);
    #[cfg(not(unix))]
    std::process::abort()
}
