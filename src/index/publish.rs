//! Publication: the writer keeps a few snapshots of its state and swaps them under the readers.
//!
//! This is left-right (Ramalhete and Correia, 2015; the crates `evmap` and `left-right`) with three differences. The
//! writer never waits for readers: it keeps two retired snapshots, the *spares*, and makes a new one if readers hold on to
//! both. Readers are counted by reference counts and not in epochs. And a spare is brought up to date from the list of
//! what changed since it was current, not by applying every event twice. So publishing costs what changed, not the size of
//! the index.
//!
//! # Orderings
//! The swap of the cell (release) pairs with a reader's load (acquire): a reader sees after its load what the writer
//! wrote before the swap, in the snapshot and in the position arrays behind it. The way back is the reference count: when
//! a reader lets go of a snapshot (release), the writer's `Arc::get_mut` (acquire) allows it to change it. The writer has
//! a reference to every retired snapshot, so a reader is never the last to let go, and never pays for freeing one.

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

/// A snapshot that can be brought up to date.
pub(crate) trait Updatable: Sized {
    /// The writer's state, of which this is a snapshot.
    type State;
    /// Names something that differs from one moment to the next.
    type Change: Clone + Debug;
    /// Which moment a snapshot shows.
    type Stamp;

    /// Takes a snapshot of the whole state.
    fn take(state: &Self::State, stamp: &Self::Stamp) -> Self;

    /// Brings the snapshot up to date. `changes` names what differs, some of it perhaps twice.
    fn update(&mut self, state: &Self::State, changes: &[Self::Change], stamp: &Self::Stamp);
}

/// A shared pointer that can tell whether it is the only one.
pub(crate) trait Shared<P>: Sized {
    fn new(value: P) -> Self;
    fn get_mut(&mut self) -> Option<&mut P>;
}

/// The place where readers find the current snapshot. It is a parameter so that the protocol can be model-checked with a
/// stand-in for arc-swap.
pub(crate) trait Cell<P> {
    type Shared: Shared<P>;

    fn new(current: Self::Shared) -> Self;
    /// Puts `next` in and takes out what was there. From then on no reader can load the latter.
    fn swap(&self, next: Self::Shared) -> Self::Shared;
}

impl<P> Shared<P> for Arc<P> {
    fn new(value: P) -> Self {
        Self::new(value)
    }

    fn get_mut(&mut self) -> Option<&mut P> {
        Self::get_mut(self)
    }
}

/// The cell of the real index, on a cache line that nothing else is written to.
#[derive(Debug)]
pub(crate) struct SwapCell<P>(crossbeam_utils::CachePadded<arc_swap::ArcSwap<P>>);

impl<P> SwapCell<P> {
    /// The current snapshot, for as long as the guard lives. Lock-free. Keep guards short, and one at a time.
    #[inline]
    pub(crate) fn load(&self) -> impl Deref<Target = Arc<P>> {
        self.0.load()
    }
}

impl<P> Cell<P> for SwapCell<P> {
    type Shared = Arc<P>;

    fn new(current: Arc<P>) -> Self {
        Self(arc_swap::ArcSwap::new(current).into())
    }

    fn swap(&self, next: Arc<P>) -> Arc<P> {
        self.0.swap(next)
    }
}

/// A retired snapshot, and what has changed since it was current.
#[derive(Debug)]
struct Spare<S, D> {
    snapshot: S,
    missed: Vec<D>,
}

/// How many spares are kept. With two, a reader that is interrupted in the middle of a lookup costs nothing.
const SPARES: usize = 2;

/// How many changes a spare may miss before it is given up. The list of them must not grow for as long as a reader holds on
/// to the spare.
const MAX_MISSED: usize = 1 << 16;

/// The writer's side of the cell: publishes snapshots, and keeps the spares.
#[derive(Debug)]
pub(crate) struct Publication<P: Updatable, C: Cell<P>> {
    cell: Arc<C>,
    spares: Vec<Spare<C::Shared, P::Change>>,
    /// Snapshots that readers held on to for too long for them to be spares. They are kept only to be freed here.
    stalled: Vec<C::Shared>,
}

impl<P: Updatable, C: Cell<P>> Publication<P, C> {
    pub(crate) fn new(state: &P::State, stamp: &P::Stamp) -> Self {
        let cell = Arc::new(C::new(C::Shared::new(P::take(state, stamp))));
        Self { cell, spares: Vec::new(), stalled: Vec::new() }
    }

    pub(crate) fn cell(&self) -> &Arc<C> {
        &self.cell
    }

    /// Makes the state visible. `changes` names all that differs from the last publication.
    pub(crate) fn publish(&mut self, state: &P::State, changes: &[P::Change], stamp: &P::Stamp) {
        self.stalled.retain_mut(|snapshot| snapshot.get_mut().is_none());
        self.spares.iter_mut().for_each(|spare| spare.missed.extend_from_slice(changes));
        let (next, mut missed) = match self.spares.iter_mut().position(|spare| spare.snapshot.get_mut().is_some()) {
            Some(free) => {
                let Spare { mut snapshot, missed } = self.spares.swap_remove(free);
                let exclusive = snapshot.get_mut().expect("no reader can load a retired snapshot");
                exclusive.update(state, &missed, stamp);
                (snapshot, missed)
            }
            None => (C::Shared::new(P::take(state, stamp)), Vec::new()),
        };
        let snapshot = self.cell.swap(next);
        missed.clear();
        missed.extend_from_slice(changes);
        if self.spares.len() == SPARES || self.spares.first().is_some_and(|oldest| oldest.missed.len() > MAX_MISSED) {
            self.stalled.push(self.spares.remove(0).snapshot);
        }
        self.spares.push(Spare { snapshot, missed });
    }

    /// Brings up to date the spares that nobody reads, for when there is nothing better to do. It shortens the next
    /// publication and frees what only outdated snapshots hold.
    pub(crate) fn catch_up(&mut self, state: &P::State, stamp: &P::Stamp) {
        self.stalled.retain_mut(|snapshot| snapshot.get_mut().is_none());
        for Spare { snapshot, missed } in &mut self.spares {
            if !missed.is_empty()
                && let Some(snapshot) = snapshot.get_mut()
            {
                snapshot.update(state, missed, stamp);
                missed.clear();
            }
        }
    }

    /// Sums a measure over the spares that nobody reads.
    pub(crate) fn spare_sum(&mut self, measure: impl Fn(&P) -> usize) -> usize {
        self.spares.iter_mut().filter_map(|spare| spare.snapshot.get_mut()).map(|snapshot| measure(snapshot)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees a number, and counts itself.
    struct Counted {
        number: u64,
        _living: Arc<()>,
    }

    impl Updatable for Counted {
        type State = (u64, Arc<()>);
        type Change = u64;
        type Stamp = ();

        fn take((number, living): &Self::State, (): &()) -> Self {
            Self { number: *number, _living: living.clone() }
        }

        fn update(&mut self, state: &Self::State, changes: &[u64], (): &()) {
            assert_eq!(changes, (self.number + 1..=state.0).collect::<Vec<_>>(), "all that this snapshot missed");
            self.number = state.0;
        }
    }

    #[test]
    fn a_reader_that_holds_on_delays_nobody_and_costs_little() {
        let mut state = (0, Arc::new(()));
        let mut publication = Publication::<Counted, SwapCell<Counted>>::new(&state, &());
        let cell = publication.cell().clone();
        let mut publish = |publication: &mut Publication<_, _>| {
            state.0 += 1;
            publication.publish(&state, &[state.0], &());
            assert_eq!(cell.load().number, state.0, "others see the newest");
            Arc::strong_count(&state.1) - 1
        };
        publish(&mut publication);
        let held: Vec<_> = (0..3)
            .map(|_| {
                let guard = cell.load();
                publish(&mut publication);
                guard
            })
            .collect();
        let seen: Vec<_> = held.iter().map(|guard| guard.number).collect();
        for _ in 0..3 * MAX_MISSED {
            assert!(publish(&mut publication) <= held.len() + SPARES + 1, "snapshots are bounded");
            let missed: usize = publication.spares.iter().map(|spare| spare.missed.len()).sum();
            assert!(missed <= SPARES * (MAX_MISSED + 1), "and what they missed is bounded");
        }
        assert!(held.iter().map(|guard| guard.number).eq(seen), "a held snapshot does not change");
        assert!(held.iter().all(|guard| Arc::strong_count(guard) > 1), "the writer is the last to let go of it");
        drop(held);
        assert!(publish(&mut publication) <= SPARES + 1, "what was held is given back");
        assert_eq!(publication.stalled.len(), 0);
    }

    #[test]
    fn what_readers_let_go_of_is_freed_by_the_next_publication_or_an_idle_writer() {
        for idle in [false, true] {
            let mut state = (0, Arc::new(()));
            let mut publication = Publication::<Counted, SwapCell<Counted>>::new(&state, &());
            let cell = publication.cell().clone();
            let mut held = Vec::new();
            for number in 1..=5 {
                held.push(cell.load());
                state.0 = number;
                publication.publish(&state, &[number], &());
            }
            assert_eq!(publication.stalled.len(), 3);
            drop(held);
            if idle {
                publication.catch_up(&state, &());
            } else {
                state.0 += 1;
                publication.publish(&state, &[state.0], &());
            }
            assert_eq!(publication.stalled.len(), 0);
        }
    }
}
