//! Fetches snapshots before their reader knows which of them is current.

use super::snapshot::Snapshot;
use crate::index::shared::prefetch::prefetch_at;

/// Where the two snapshots of a shard lie that a reader saw last.
///
/// A writer publishes two snapshots in turn unless readers hold one of them, so the current one is probably one of these.
/// Its stamp was just written on another core, and so was the cell that says which one is current. Fetched one after the
/// other, these are two waits. This makes one of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent([usize; 2]);

impl Recent {
    /// Fetches both. They may be gone by now: a prefetch reads nothing.
    #[inline]
    pub(super) fn fetch(self) {
        for address in self.0 {
            prefetch_at(std::ptr::without_provenance::<Snapshot>(address));
        }
    }

    /// Notes that this one was current.
    #[inline]
    pub(super) fn note(&mut self, snapshot: &Snapshot) {
        let address = std::ptr::from_ref(snapshot).addr();
        let [last, before] = &mut self.0;
        if *last != address {
            *before = std::mem::replace(last, address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::index::read::snapshot::{Roster, Stamp};

    #[test]
    fn the_last_two_are_remembered() {
        let stamp = Stamp { watermark: 0, generation: 0, published: Instant::now(), roster: Roster::default() };
        let [a, b, c] = [(); 3].map(|()| Box::new(Snapshot::empty(stamp.clone())));
        let address = |snapshot: &Snapshot| std::ptr::from_ref(snapshot).addr();
        let mut recent = Recent::default();
        for snapshot in [&a, &b, &b, &c, &c] {
            recent.note(snapshot);
        }
        assert_eq!(recent.0, [address(&c), address(&b)]);
        drop([a, b, c]);
        recent.fetch();
    }
}
