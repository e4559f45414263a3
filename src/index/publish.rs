//! Publication: the writer keeps a few projections of its truth and swaps them under the readers.
//!
//! A projection that readers have left is brought up to date from the list of what changed since it was current, and
//! becomes current again; so publishing costs what changed, not the size of the index. The writer never waits: if
//! readers hold on to every spare projection it makes a new one.
//!
//! # Orderings
//! There is one pair: the swap of the cell (release) with a reader's load (acquire). What the writer wrote before the
//! swap, in the projection and in the position arrays behind it, a reader sees after its load. The way back, from a
//! reader that lets go of a projection to the writer that changes it, is the reference count: `Arc::get_mut` acquires
//! what the drop of the last other reference released. The writer holds a reference to every retired projection, so
//! no reader ever is the last and pays for freeing it.

use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

/// A read-only view that can be brought up to date.
pub(crate) trait Project: Sized {
    /// What it is a view of.
    type Truth;
    /// What it is as of.
    type Stamp: Clone;

    /// A view of the whole truth.
    fn new(truth: &Self::Truth, stamp: Self::Stamp) -> Self;

    /// Brings the view up to date; `changes` names what differs, some of it perhaps twice.
    fn update(&mut self, truth: &Self::Truth, changes: &[u64], stamp: Self::Stamp);
}

/// A shared pointer that can tell whether it is the only one.
pub(crate) trait Shared<P>: Sized {
    fn new(value: P) -> Self;
    fn get_mut(&mut self) -> Option<&mut P>;
}

/// The place where readers find the current view. A parameter, so that the protocol can be model-checked with a
/// stand-in.
pub(crate) trait Cell<P> {
    type Shared: Shared<P>;

    fn new(current: Self::Shared) -> Self;
    /// Puts `next` in and takes out what was there. From then on no reader can newly get at the latter.
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
    /// The current view, for as long as the guard lives. Lock-free; keep it short, and one at a time.
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

/// A retired view, and what changed since it was current.
#[derive(Debug)]
struct Spare<S> {
    view: S,
    behind: Vec<u64>,
}

/// Spares that are kept up to date. With two, one reader that was interrupted in mid-lookup costs nothing.
const SPARES: usize = 2;

/// Changes that a view may miss and still be worth waiting for; a reader who holds on for longer must not make the
/// list of them grow for ever.
const MOST_BEHIND: usize = 1 << 16;

/// The writer's side of the cell.
#[derive(Debug)]
pub(crate) struct Publisher<P: Project, C: Cell<P>> {
    cell: Arc<C>,
    spares: Vec<Spare<C::Shared>>,
    /// Views that readers would not leave while they were spares; kept only to be freed here.
    stalled: Vec<C::Shared>,
    views: std::marker::PhantomData<P>,
}

impl<P: Project, C: Cell<P>> Publisher<P, C> {
    pub(crate) fn new(truth: &P::Truth, stamp: P::Stamp) -> Self {
        let cell = Arc::new(C::new(C::Shared::new(P::new(truth, stamp))));
        Self { cell, spares: Vec::new(), stalled: Vec::new(), views: std::marker::PhantomData }
    }

    pub(crate) fn cell(&self) -> &Arc<C> {
        &self.cell
    }

    /// Makes the truth visible. `changes` names all that differs from the last publication.
    pub(crate) fn publish(&mut self, truth: &P::Truth, changes: &[u64], stamp: P::Stamp) {
        self.stalled.retain_mut(|view| view.get_mut().is_none());
        self.spares.iter_mut().for_each(|spare| spare.behind.extend_from_slice(changes));
        let (next, mut behind) = match self.spares.iter_mut().position(|spare| spare.view.get_mut().is_some()) {
            Some(free) => {
                let Spare { mut view, behind } = self.spares.swap_remove(free);
                view.get_mut().expect("nobody else can get at a retired view").update(truth, &behind, stamp);
                (view, behind)
            }
            None => (C::Shared::new(P::new(truth, stamp)), Vec::new()),
        };
        let view = self.cell.swap(next);
        behind.clear();
        behind.extend_from_slice(changes);
        if self.spares.len() == SPARES || self.spares.first().is_some_and(|oldest| oldest.behind.len() > MOST_BEHIND) {
            self.stalled.push(self.spares.remove(0).view);
        }
        self.spares.push(Spare { view, behind });
    }

    /// Brings the spares up to date that nobody reads, while there is nothing better to do: it shortens the next
    /// publication and gives back what only outdated views hold.
    pub(crate) fn catch_up(&mut self, truth: &P::Truth, stamp: &P::Stamp) {
        self.stalled.retain_mut(|view| view.get_mut().is_none());
        for Spare { view, behind } in &mut self.spares {
            if !behind.is_empty()
                && let Some(view) = view.get_mut()
            {
                view.update(truth, behind, stamp.clone());
                behind.clear();
            }
        }
    }

    /// Sums a measure over the spare views that nobody reads.
    pub(crate) fn spare_sum(&mut self, measure: impl Fn(&P) -> usize) -> usize {
        self.spares.iter_mut().filter_map(|spare| spare.view.get_mut()).map(|view| measure(view)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sees a number, and counts itself.
    struct View {
        number: u64,
        _living: Arc<()>,
    }

    impl Project for View {
        type Truth = (u64, Arc<()>);
        type Stamp = ();

        fn new((number, living): &Self::Truth, (): ()) -> Self {
            Self { number: *number, _living: living.clone() }
        }

        fn update(&mut self, truth: &Self::Truth, changes: &[u64], (): ()) {
            assert_eq!(changes, (self.number + 1..=truth.0).collect::<Vec<_>>(), "all that this view missed");
            self.number = truth.0;
        }
    }

    #[test]
    fn a_reader_that_holds_on_delays_nobody_and_costs_little() {
        let mut truth = (0, Arc::new(()));
        let mut publisher = Publisher::<View, SwapCell<View>>::new(&truth, ());
        let cell = publisher.cell().clone();
        let mut publish = |publisher: &mut Publisher<_, _>| {
            truth.0 += 1;
            publisher.publish(&truth, &[truth.0], ());
            assert_eq!(cell.load().number, truth.0, "others see the newest");
            Arc::strong_count(&truth.1) - 1
        };
        publish(&mut publisher);
        let held: Vec<_> = (0..3)
            .map(|_| {
                let guard = cell.load();
                publish(&mut publisher);
                guard
            })
            .collect();
        let seen: Vec<_> = held.iter().map(|guard| guard.number).collect();
        for _ in 0..3 * MOST_BEHIND {
            assert!(publish(&mut publisher) <= held.len() + SPARES + 1, "views are bounded");
            let behind: usize = publisher.spares.iter().map(|spare| spare.behind.len()).sum();
            assert!(behind <= SPARES * (MOST_BEHIND + 1), "and what they missed is bounded");
        }
        assert!(held.iter().map(|guard| guard.number).eq(seen), "a held view does not change");
        drop(held);
        assert!(publish(&mut publisher) <= SPARES + 1, "what was held is given back");
        assert_eq!(publisher.stalled.len(), 0);
    }
}
