//! C7: the index gives back the memory of blocks that nobody holds any more.

use std::collections::VecDeque;
use std::ops::Range;

use kvleap::{Block, Event, EventData, Index, ShardStatus, Worker, Writer};

use super::LIVE;

/// A local index, and the number of the last event that it was given.
struct Fleet {
    writer: Writer,
    event_id: u64,
}

impl Fleet {
    fn new() -> Self {
        let (writer, _) = Index::builder().seed(1).build_local().expect("valid settings");
        Self { writer, event_id: 0 }
    }

    /// Applies an event, and publishes after every seventh.
    fn apply(&mut self, worker: u64, data: EventData) {
        self.event_id += 1;
        let event = Event { worker: Worker::new(worker, 0), id: self.event_id, data };
        self.writer.apply(&event).expect("a well-formed event");
        if self.event_id.is_multiple_of(7) {
            self.writer.publish();
        }
    }

    /// Stores blocks whose sequence hashes and local hashes are these names.
    fn store(&mut self, worker: u64, parent: Option<u64>, names: Range<u64>) {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        self.apply(worker, EventData::Stored { parent, blocks });
    }

    /// Evicts tail first, as caches do.
    fn evict(&mut self, worker: u64, names: Range<u64>) {
        self.apply(worker, EventData::Removed { blocks: names.rev().collect() });
    }

    /// Publishes, and brings every snapshot up to date.
    fn settle(&mut self) -> ShardStatus {
        self.writer.publish();
        self.writer.catch_up();
        self.writer.status().0
    }

    /// Builds another fleet from the export of this one.
    fn rebuilt(&self) -> Self {
        let mut fresh = Self::new();
        fresh.settle();
        fresh.writer.import(&self.writer.export()).expect("an export is well-formed");
        fresh
    }

    /// Returns the live bytes by the allocator's count once everything is published. The bytes in the status must be
    /// close.
    fn cost(mut self) -> usize {
        let status = self.settle();
        let with = LIVE.get();
        drop(self.writer);
        let bytes = with.wrapping_sub(LIVE.get());
        let reported = status.bytes as usize;
        assert!(
            reported <= bytes + bytes / 10 && bytes <= reported + reported / 5 + 4096,
            "{reported} bytes in the status, {bytes} allocated"
        );
        bytes
    }
}

/// The splitmix64 generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit
    }
}

/// A worker and its conversations, the least recently used first. They share a system prompt.
struct Cache {
    worker: u64,
    conversations: VecDeque<Range<u64>>,
}

const SYSTEM: Range<u64> = 1..65;

/// The life of a fleet: conversations begin, grow, and are evicted tail first. Caches are cleared, workers restart, and
/// some leave for ever and are replaced by new ones.
struct Churn {
    fleet: Fleet,
    random: Random,
    caches: Vec<Cache>,
    fresh_worker: u64,
    fresh_name: u64,
}

impl Churn {
    fn new(seed: u64, workers: u64) -> Self {
        let caches = (0..workers).map(|worker| Cache { worker, conversations: VecDeque::new() }).collect();
        Self { fleet: Fleet::new(), random: Random(seed), caches, fresh_worker: workers, fresh_name: 1 << 20 }
    }

    /// Applies one event of a random worker or a few, and evicts conversations beyond `most`.
    fn step(&mut self, most: usize) {
        let Self { fleet, random, caches, .. } = self;
        let at = random.below(caches.len() as u64) as usize;
        let Cache { worker, conversations } = &mut caches[at];
        let worker = *worker;
        let grown = 1 + random.below(60);
        match random.below(200) {
            0 => {
                fleet.apply(worker, EventData::Cleared);
                conversations.clear();
            }
            1 => {
                // A restart, announced by the router.
                fleet.apply(worker, EventData::WorkerRemoved);
                fleet.apply(worker, EventData::WorkerAdded);
                conversations.clear();
            }
            2 => {
                fleet.apply(worker, EventData::WorkerRemoved);
                caches[at] = Cache { worker: self.fresh_worker, conversations: VecDeque::new() };
                self.fresh_worker += 1;
            }
            3..100 if !conversations.is_empty() => {
                let any = random.below(conversations.len() as u64) as usize;
                let mut names = conversations.remove(any).expect("in range");
                fleet.store(worker, Some(names.end - 1), names.end..names.end + grown);
                names.end += grown;
                conversations.push_back(names);
            }
            _ => {
                fleet.store(worker, None, SYSTEM);
                // One in three continues a conversation that another worker has.
                let names = match caches[random.below(caches.len() as u64) as usize].conversations.back() {
                    Some(known) if random.below(3) == 0 => known.clone(),
                    _ => {
                        self.fresh_name += 1 << 20;
                        self.fresh_name..self.fresh_name + grown
                    }
                };
                let conversations = &mut caches[at].conversations;
                if conversations.iter().all(|mine| mine.start != names.start) {
                    fleet.store(worker, Some(SYSTEM.end - 1), names.clone());
                    conversations.push_back(names);
                }
            }
        }
        while caches[at].conversations.len() > most {
            let names = caches[at].conversations.pop_front().expect("more than none");
            fleet.evict(worker, names);
        }
    }
}

/// What an index may keep whatever it holds: run slots at their peak number, and many small tables, in every snapshot.
const KEPT: usize = 256 << 10;

fn assert_like_fresh(churn: Churn, seed: u64) {
    let fresh = churn.fleet.rebuilt().cost();
    let churned = churn.fleet.cost();
    assert!(churned <= fresh + fresh / 4 + KEPT, "{churned} bytes after churn, {fresh} when rebuilt, seed {seed}");
}

#[test]
fn after_churn_an_index_costs_hardly_more_than_a_rebuilt_one() {
    for seed in 1..3 {
        let mut churn = Churn::new(seed, 12);
        (0..15_000).for_each(|_| churn.step(40));
        assert_like_fresh(churn, seed);
    }
}

#[test]
fn a_fleet_that_holds_less_costs_less() {
    for seed in 3..5 {
        let mut churn = Churn::new(seed, 6);
        (0..10_000).for_each(|_| churn.step(300));
        (0..2_000).for_each(|_| churn.step(2));
        assert_like_fresh(churn, seed);
    }
}

#[test]
fn an_index_whose_blocks_are_all_evicted_costs_next_to_nothing() {
    let mut churn = Churn::new(5, 6);
    (0..10_000).for_each(|_| churn.step(300));
    let Churn { mut fleet, caches, .. } = churn;
    let full = fleet.settle();
    for Cache { worker, conversations } in caches {
        for names in conversations {
            fleet.evict(worker, names);
        }
        fleet.evict(worker, SYSTEM);
    }
    let empty = fleet.settle();
    assert_eq!((empty.held_blocks, empty.indexed_blocks, empty.runs), (0, 0, 0));
    let cost = fleet.cost();
    assert!(full.bytes as usize > 2 * KEPT && cost < KEPT, "{cost} bytes of {}", full.bytes);
}

#[test]
fn the_cost_of_counting_copies_falls_with_their_number() {
    let mut fleet = Fleet::new();
    for worker in 0..8 {
        fleet.apply(worker, EventData::CopiesCounted);
        (0..3).for_each(|_| fleet.store(worker, None, 1..20_001));
    }
    let full = fleet.settle();
    assert_eq!(fleet.writer.status().1.iter().filter_map(|w| w.extra_copies).sum::<u64>(), 8 * 40_000);
    (0..3).for_each(|_| (0..8).for_each(|worker| fleet.evict(worker, 11..20_001)));
    let few = fleet.settle();
    assert!(full.bytes > 8 * 20_000 * 32 && few.bytes < KEPT as u64, "{} bytes of {}", few.bytes, full.bytes);
    // Store some blocks again, so that there is memory to compare.
    (0..8).for_each(|worker| fleet.store(worker, None, 1..5_001));
    (0..8).for_each(|worker| fleet.store(worker, None, 1..5_001));
    let (fresh, churned) = (fleet.rebuilt().cost(), fleet.cost());
    assert!(churned <= fresh + fresh / 4 + KEPT, "{churned} bytes after churn, {fresh} when rebuilt");
}

#[test]
fn workers_that_leave_for_ever_cost_little() {
    let mut fleet = Fleet::new();
    for worker in 0..60_000 {
        fleet.store(worker, None, 1..3);
        fleet.apply(worker, EventData::WorkerRemoved);
    }
    let cost = fleet.cost();
    // The index remembers the last few thousand, so that it can reject their late events.
    assert!(cost < 2 * KEPT, "{cost} bytes");
}

#[test]
fn a_dead_tail_is_trimmed_down_to_a_holder_or_a_child() {
    let mut fleet = Fleet::new();
    let blocks = |fleet: &mut Fleet| fleet.settle().indexed_blocks;
    fleet.store(0, None, 1..1001);
    fleet.store(1, None, 1..301);
    fleet.store(1, Some(300), 5000..5010);
    assert_eq!(blocks(&mut fleet), 1010);
    fleet.evict(0, 11..1001);
    assert_eq!(blocks(&mut fleet), 310, "trimmed down to the other holder");
    fleet.evict(1, 1..301);
    assert_eq!(blocks(&mut fleet), 310, "there is a child, and its holder may fill the hole");
    fleet.store(1, None, 1..301);
    let (_, workers) = fleet.writer.status();
    assert_eq!(workers.iter().map(|w| w.held_blocks).sum::<u64>(), 10 + 310);
    fleet.evict(1, 1..301);
    fleet.evict(1, 5000..5010);
    assert_eq!(blocks(&mut fleet), 10, "trimmed down to what the first worker holds");
    fleet.evict(0, 1..11);
    assert_eq!(blocks(&mut fleet), 0);
}

#[test]
fn an_idle_index_keeps_nothing_for_outdated_snapshots() {
    let mut fleet = Fleet::new();
    fleet.store(0, None, 1..100_000);
    fleet.settle();
    fleet.writer.publish();
    fleet.apply(0, EventData::Cleared);
    let cost = fleet.cost();
    assert!(cost < KEPT, "{cost} bytes");
}
