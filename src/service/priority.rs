//! Which threads give way where there is more work than processors.

/// How much less of a processor a thread gets that gives way. Beside a thread that does not, this leaves it a quarter.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Lets this thread give way to others, for good: one that reads what engines say, or does work at intervals. A lookup is
/// then answered in time even if publishers send as fast as they can. Threads that are started from such a thread give
/// way, too, so none of them may add a model: its writers must not.
///
/// Only on Linux: there a thread has a priority of its own, and elsewhere this would slow the whole process down.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    {
        std::thread_local! {
            static GIVES_WAY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
        }
        if !GIVES_WAY.replace(true) {
            // This fails only where it is forbidden, and then the thread runs like all others.
            let _ = rustix::process::nice(NICE);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gives_way_once_and_no_other_thread_does() {
        let priority = || rustix::process::getpriority_process(None).expect("a thread has a priority");
        let before = priority();
        let lowered = std::thread::spawn(move || {
            give_way();
            give_way();
            priority()
        });
        // No thread goes beyond the lowest priority, which is 19.
        assert_eq!(lowered.join().expect("no panic"), (before + NICE).min(19));
        assert_eq!(priority(), before);
    }
}
