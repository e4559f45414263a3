//! Loom runs every interleaving of publishing, reading and reclaiming, up to a number of preemptions.
//!
//! The file under test is the index's own `publish.rs`, with a payload and a cell made of loom's primitives in place of
//! the real ones. arc-swap itself is not modelled. The stand-in cell is a locked pointer, which promises no more than
//! we rely on: a load after a swap sees the new snapshot, and a loaded snapshot is referenced while it is used. We use
//! loom and not shuttle, because the protocol is small enough to be checked exhaustively.

#[path = "../src/index/publish.rs"]
#[allow(dead_code, reason = "the cell of the real index")]
mod publish;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::sync::{Arc, Mutex};
use loom::thread;

use publish::{Cell, Publication, Shared, Updatable};

/// An append-only array, shared by the writer and all snapshots, as the position arrays are.
struct State {
    slots: std::sync::Arc<Vec<AtomicU64>>,
    len: usize,
}

/// A snapshot: how much of the array a reader may look at. Loom fails if `len` is changed while somebody reads it.
struct Snapshot {
    len: UnsafeCell<usize>,
    slots: std::sync::Arc<Vec<AtomicU64>>,
    writer: thread::ThreadId,
}

impl Updatable for Snapshot {
    type State = State;
    type Stamp = ();

    fn take(state: &State, (): ()) -> Self {
        Self { len: UnsafeCell::new(state.len), slots: state.slots.clone(), writer: thread::current().id() }
    }

    fn update(&mut self, state: &State, changes: &[u64], (): ()) {
        self.len.with_mut(|len| {
            // SAFETY: `&mut self`, and loom checks that it is exclusive.
            #[allow(unsafe_code, reason = "loom's cell hands out pointers")]
            let len = unsafe { &mut *len };
            assert!(changes.len() >= state.len - *len, "every change since this snapshot was current is listed");
            *len = state.len;
        });
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        assert_eq!(thread::current().id(), self.writer, "no reader pays for freeing a snapshot");
    }
}

impl Snapshot {
    /// Looks at every slot that the snapshot shows, and returns how many there are.
    fn read(&self) -> usize {
        // SAFETY: readers only read, and loom checks that nobody writes meanwhile.
        #[allow(unsafe_code, reason = "loom's cell hands out pointers")]
        let len = self.len.with(|len| unsafe { *len });
        assert!(self.slots[..len].iter().all(|slot| slot.load(Relaxed) != 0), "a published slot was written before");
        len
    }
}

impl<P> Shared<P> for Arc<P> {
    fn new(value: P) -> Self {
        Self::new(value)
    }

    fn get_mut(&mut self) -> Option<&mut P> {
        Self::get_mut(self)
    }
}

struct LockedCell<P>(Mutex<Arc<P>>);

impl<P> LockedCell<P> {
    fn load(&self) -> Arc<P> {
        self.0.lock().unwrap().clone()
    }
}

impl<P> Cell<P> for LockedCell<P> {
    type Shared = Arc<P>;

    fn new(current: Arc<P>) -> Self {
        Self(Mutex::new(current))
    }

    fn swap(&self, next: Arc<P>) -> Arc<P> {
        std::mem::replace(&mut *self.0.lock().unwrap(), next)
    }
}

/// Checks one writer that publishes this often beside these readers.
fn model(preemptions: usize, readers: usize, loads: usize, publications: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut state =
            State { slots: std::sync::Arc::new((0..publications).map(|_| AtomicU64::new(0)).collect()), len: 0 };
        let mut publication = Publication::<Snapshot, LockedCell<Snapshot>>::new(&state, ());
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let cell = publication.cell().clone();
                thread::spawn(move || {
                    let mut seen = 0;
                    for _ in 0..loads {
                        let now = cell.load().read();
                        assert!(now >= seen, "a reader never goes back");
                        seen = now;
                    }
                })
            })
            .collect();
        for change in 0..publications {
            state.slots[change].store(change as u64 + 1, Relaxed);
            state.len += 1;
            publication.publish(&state, &[change as u64], ());
            if change % 2 == 1 {
                publication.catch_up(&state, &());
            }
        }
        assert_eq!(publication.cell().load().read(), publications);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn one_reader_is_safe_beside_many_publications() {
    model(5, 1, 4, 7);
}

#[test]
fn two_readers_are_safe_beside_a_few_publications() {
    model(3, 2, 3, 5);
}
