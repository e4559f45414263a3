//! How an index ends: with its last handle, and in a process that was forked off. Writers are counted, so these tests
//! have a process of their own and run one after another.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use kvleap::{Block, Closed, Event, EventData, ImportError, Index, Matches, Worker};

static ALONE: Mutex<()> = Mutex::new(());

const A: Worker = Worker::new(1, 0);

fn stored(id: u64) -> Event {
    let blocks = (0..100).map(|place| Block { sequence: id << 8 | place, local: id << 8 | place }).collect();
    Event { worker: A, id, data: EventData::Stored { parent: None, blocks } }
}

/// Returns how many writers this process has.
fn writers() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("the threads");
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
    threads.filter_map(|thread| name(thread.ok()?).ok()).filter(|name| name.starts_with("kvleap-writer")).count()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        yield_now();
    }
}

#[test]
fn writers_end_when_the_last_handle_is_dropped() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    until("the writers of other tests end", || writers() == 0);
    for round in 0..10 {
        let indexes: Vec<_> = (0..100).map(|_| Index::builder().build().expect("valid settings")).collect();
        let others = indexes.clone();
        for index in &indexes {
            index.send(stored(round)).expect("open");
        }
        drop(indexes);
        until("all writers run: there is another handle to each", || writers() == 100);
        for index in &others {
            index.flush().expect("open");
        }
        drop(others);
        until("all writers end", || writers() == 0);
    }
}

#[test]
fn a_writer_ends_although_its_index_was_dropped_with_events_in_the_mailbox() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let index = Index::builder().shards(4).build().expect("valid settings");
    (0..1000).for_each(|id| index.send(stored(id)).expect("open"));
    drop(index);
    until("all writers end", || writers() == 0);
}

#[allow(unsafe_code, reason = "the standard library has no fork")]
mod process {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn kill(process: i32, signal: i32) -> i32;
        fn _exit(status: i32) -> !;
    }

    /// Forks. The child does this, and exits with 0 if it returns `true`.
    pub(crate) fn forked(child: impl FnOnce() -> bool) -> i32 {
        // SAFETY: the child calls nothing that needs another thread, and ends without unwinding.
        unsafe {
            match fork() {
                0 => {
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
                    _exit(i32::from(!done.unwrap_or(false)))
                }
                process => process,
            }
        }
    }

    /// Returns the status of a child if it has ended.
    pub(crate) fn status(process: i32) -> Option<i32> {
        const WNOHANG: i32 = 1;
        let mut status = 0;
        // SAFETY: it writes to `status` only.
        (unsafe { waitpid(process, &raw mut status, WNOHANG) } == process).then_some(status)
    }

    pub(crate) fn end(process: i32) {
        // SAFETY: the process is a child that has not been waited for.
        unsafe { kill(process, 9) };
    }
}

#[test]
fn nobody_waits_for_writers_that_a_fork_left_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let index = Index::builder().mailbox(2).build().expect("valid settings");
    index.send(stored(1)).expect("open");
    index.flush().expect("open");
    let child = process::forked(|| {
        let mut matches = Matches::new();
        index.find(&[1 << 8], &mut matches);
        let sent = (0..3).map(|id| index.send(stored(id)).is_ok());
        let waits = (sent.collect::<Vec<_>>(), index.flush(), index.export(), index.import(vec![stored(2)]));
        let ended = (vec![true, true, false], Err(Closed), Err(Closed), Err(ImportError::Closed));
        let status = index.status();
        let shutdown = index.shutdown();
        drop(index.clone());
        matches.depth(A) == 1 && waits == ended && !status.shards[0].alive && shutdown == Err(Closed)
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        if let Some(status) = process::status(child) {
            break status;
        }
        if Instant::now() > deadline {
            process::end(child);
            panic!("the child waits for ever");
        }
        sleep(Duration::from_millis(5));
    };
    assert_eq!(status, 0, "the child found something else");
    index.send(stored(2)).expect("open");
    index.flush().expect("the parent's writer is still there");
}
