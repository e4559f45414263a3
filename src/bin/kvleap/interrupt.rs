//! How a command ends when it is told to before it is done: by Ctrl-C, or by SIGTERM or SIGHUP.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The exit code then, by the shell's convention for Ctrl-C: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Whether the next signal ends only the trials of a sweep.
static REPORTS: AtomicBool = AtomicBool::new(false);

/// From now on, a signal ends the process, and of the files that are not complete nothing is left.
pub(crate) fn watch() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        // Relaxed: the flag orders no other memory. A signal that comes while it changes may count as either.
        if REPORTS.swap(false, Relaxed) {
            interrupt_sweep();
            return;
        }
        #[cfg(any(feature = "report", feature = "service", feature = "trace"))]
        let _removed = kvleap::temporary::remove_all();
        interrupt_sweep();
        process::exit(INTERRUPTED.into());
    })
}

fn interrupt_sweep() {
    #[cfg(feature = "sweep")]
    kvleap::sweep::interrupt();
}

/// Does something that ends by itself, with a result, when the trials of a sweep are interrupted. A second signal ends the
/// process.
#[cfg(feature = "sweep")]
pub(crate) fn reported<T>(sweep: impl FnOnce() -> T) -> T {
    REPORTS.store(true, Relaxed);
    let result = sweep();
    REPORTS.store(false, Relaxed);
    result
}
