//! Corners of the contract that random events hardly ever come to.

use kvleap::{Block, Event, EventData, Index, Matches, Reader, Rejection, Worker, Writer};

pub(crate) const A: Worker = Worker::new(1, 0);
pub(crate) const B: Worker = Worker::new(2, 0);
pub(crate) const C: Worker = Worker::new(3, 0);

/// A local index in which every block has one number for its sequence hash and its local hash.
pub(crate) struct Local {
    pub(crate) writer: Writer,
    reader: Reader,
    matches: Matches,
}

impl Local {
    pub(crate) fn new() -> Self {
        let (writer, reader) = Index::builder().build_local().expect("valid settings");
        Self { writer, reader, matches: Matches::new() }
    }

    pub(crate) fn apply(&mut self, worker: Worker, data: EventData) -> Result<(), Rejection> {
        self.writer.apply(&Event { worker, id: 1, data })
    }

    pub(crate) fn store(&mut self, worker: Worker, parent: Option<u64>, blocks: impl IntoIterator<Item = u64>) {
        self.apply(worker, stored(parent, blocks)).expect("well-formed");
    }

    pub(crate) fn remove(&mut self, worker: Worker, blocks: impl IntoIterator<Item = u64>) {
        self.apply(worker, removed(blocks)).expect("well-formed");
    }

    pub(crate) fn import(&mut self, worker: Worker, data: impl IntoIterator<Item = EventData>) {
        let events: Vec<_> = data.into_iter().map(|data| Event { worker, id: 1, data }).collect();
        self.writer.import(&events).expect("well-formed");
    }

    /// Returns how much of the query a worker holds, once everything is published.
    pub(crate) fn depth(&mut self, worker: Worker, query: impl IntoIterator<Item = u64>) -> u32 {
        self.writer.publish();
        self.seen(worker, query)
    }

    /// Returns how much of the query a worker holds by what was published last.
    pub(crate) fn seen(&mut self, worker: Worker, query: impl IntoIterator<Item = u64>) -> u32 {
        self.reader.find(&Vec::from_iter(query), &mut self.matches);
        self.matches.depth(worker)
    }
}

pub(crate) fn stored(parent: Option<u64>, blocks: impl IntoIterator<Item = u64>) -> EventData {
    let blocks = blocks.into_iter().map(|name| Block { sequence: name, local: name }).collect();
    EventData::Stored { parent, blocks }
}

pub(crate) fn removed(blocks: impl IntoIterator<Item = u64>) -> EventData {
    EventData::Removed { blocks: blocks.into_iter().collect() }
}

/// Blocks 3 and 5..6 lie behind two holes. The second one is filled first, and then they are one range.
#[test]
fn what_lies_behind_two_holes_counts_when_both_are_filled() {
    let mut local = Local::new();
    local.store(A, None, 1..=6);
    local.remove(A, [2, 4]);
    local.store(A, Some(3), [4]);
    assert_eq!(local.depth(A, 1..=6), 1);
    local.store(A, Some(1), [2]);
    assert_eq!(local.depth(A, 1..=6), 6);
}

/// The hole of two blocks is filled at once, up to what lies behind it and before the next hole.
#[test]
fn a_hole_of_several_blocks_is_filled_by_one_event() {
    let mut local = Local::new();
    local.store(A, None, 1..=9);
    local.remove(A, [6, 3, 4, 8]);
    local.store(A, Some(2), [3, 4]);
    assert_eq!(local.depth(A, 1..=9), 5);
    local.store(A, Some(5), [6]);
    assert_eq!(local.depth(A, 1..=9), 7);
}

/// A's run is trimmed to block 2, off which block 100 hangs. The two that come later must find block 100 there, whether
/// they bring it with the others or alone: if it were appended to the run, it would be in two places.
#[test]
fn the_end_of_a_run_is_looked_at_for_children() {
    let mut local = Local::new();
    local.store(A, None, 1..=40);
    local.store(A, Some(2), [100]);
    local.remove(A, (3..=40).rev());
    local.store(B, None, [1, 2, 100]);
    local.store(C, None, [1, 2]);
    local.store(C, Some(2), [100]);
    assert_eq!([A, B, C].map(|worker| local.depth(worker, [1, 2, 100])), [3; 3]);
}

#[test]
fn a_branch_point_stays_until_its_last_child_is_gone() {
    let mut local = Local::new();
    local.store(A, None, 1..=3);
    for child in [10, 20, 30] {
        local.store(A, Some(2), [child]);
    }
    for gone in [10, 20] {
        local.remove(A, [gone]);
        assert_eq!((local.depth(A, [1, 2, gone]), local.depth(A, [1, 2, 30])), (2, 3));
    }
}

/// The run is trimmed, and then other blocks come where its tail was. Readers of the old snapshot still see the tail.
#[test]
fn what_is_not_published_changes_no_answer() {
    let mut local = Local::new();
    local.store(A, None, 1..=100);
    assert_eq!(local.depth(A, 1..=100), 100);
    local.remove(A, (11..=100).rev());
    local.store(A, Some(10), 201..=290);
    let other = || (1..=10).chain(201..=290);
    assert_eq!((local.seen(A, 1..=100), local.seen(A, other())), (100, 10));
    assert_eq!((local.depth(A, 1..=100), local.depth(A, other())), (10, 100));
}

/// The run stays, because B holds it. What A had there besides a cutoff must go with the clear.
#[test]
fn a_clear_leaves_neither_second_names_nor_ranges_behind_holes() {
    let mut local = Local::new();
    for worker in [A, B] {
        local.store(worker, None, 1..=5);
    }
    let second_name = EventData::Stored { parent: None, blocks: vec![Block { sequence: 99, local: 1 }] };
    local.apply(A, second_name).expect("well-formed");
    local.remove(A, [3]);
    local.apply(A, EventData::Cleared).expect("well-formed");
    local.store(A, None, 1..=3);
    assert_eq!(local.depth(A, 1..=5), 3);
    local.remove(A, [1]);
    assert_eq!((local.depth(A, 1..=5), local.depth(B, 1..=5)), (0, 5));
}

#[test]
fn an_import_replaces_what_was_known_of_its_workers() {
    let mut local = Local::new();
    local.apply(A, EventData::CopiesCounted).expect("well-formed");
    for worker in [A, B] {
        local.store(worker, None, 1..=5);
        local.store(worker, Some(1), [7]);
    }
    local.import(A, [EventData::WorkerAdded, stored(None, [1, 2])]);
    assert_eq!((local.depth(A, 1..=5), local.depth(A, [1, 7])), (2, 1));
    assert_eq!((local.depth(B, 1..=5), local.depth(B, [1, 7])), (5, 2), "nobody else is changed");
}

/// A shard remembers the 4,096 workers that were removed last. Being removed, added and removed again counts as being
/// removed just now, and takes one place.
#[test]
fn a_worker_that_was_removed_again_is_remembered_as_the_last() {
    let mut local = Local::new();
    let remove = |local: &mut Local, worker| local.apply(worker, EventData::WorkerRemoved).expect("never refused");
    remove(&mut local, A);
    local.apply(A, EventData::WorkerAdded).expect("there is room");
    (0..4095).for_each(|other| remove(&mut local, Worker::new(other, 1)));
    remove(&mut local, A);
    let late = |local: &mut Local, worker| local.apply(worker, stored(None, [1]));
    assert_eq!(late(&mut local, A), Err(Rejection::WorkerRemoved));
    remove(&mut local, Worker::new(4095, 1));
    assert_eq!(late(&mut local, A), Err(Rejection::WorkerRemoved));
    assert_eq!(late(&mut local, Worker::new(1, 1)), Err(Rejection::WorkerRemoved), "4,096 are remembered");
    assert_eq!(late(&mut local, Worker::new(0, 1)), Ok(()), "and the one that left first is not");
}

/// A sequence of more strides than have factors of their own. Two blocks of it that are 64 strides apart, or 256,
/// change places.
#[test]
fn blocks_far_apart_cannot_change_places() {
    let mut local = Local::new();
    local.store(A, None, 0..10_000);
    for (one, other) in [(5, 5 + 32 * 64), (5, 5 + 32 * 128), (40, 40 + 32 * 256)] {
        let mut query: Vec<u64> = (0..10_000).collect();
        query.swap(one, other);
        assert_eq!(local.depth(A, query), one as u32, "{one} and {other}");
    }
}

#[test]
fn an_answer_of_several_shards_is_deepest_first() {
    let index = Index::builder().shards(3).build().expect("valid settings");
    for id in 0..40 {
        let data = stored(None, 1..=1 + id % 4);
        index.send(Event { worker: Worker::new(id, 0), id: 1, data }).expect("open");
    }
    index.flush().expect("open");
    let mut matches = Matches::new();
    index.find(&[1, 2, 3, 4], &mut matches);
    assert!(matches.iter().map(|(_, depth)| depth).is_sorted_by(|a, b| a >= b));
    let layers: Vec<_> = matches.layers().map(|layer| (layer.depth(), layer.workers().count())).collect();
    assert_eq!(layers, [(4, 10), (3, 10), (2, 10), (1, 10)]);
}
