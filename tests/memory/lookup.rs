//! C5: a lookup into an answer that was used before allocates nothing.

use kvleap::{Block, Event, EventData, Index, Matches, Worker};

use super::ALLOCATIONS;

fn stored(worker: Worker, id: u64, parent: Option<u64>, blocks: impl Iterator<Item = u64>) -> Event {
    let blocks = blocks.map(|hash| Block { sequence: hash, local: hash }).collect();
    Event { worker, id, data: EventData::Stored { parent, blocks } }
}

#[test]
fn a_warm_lookup_allocates_nothing() {
    let index = Index::builder().shards(2).build().expect("valid settings");
    for id in 0..500 {
        let worker = Worker::new(id, 0);
        index.send(stored(worker, 1, None, 1..65)).expect("open");
        index.send(stored(worker, 2, Some(64), (0..300).map(|i| 1000 * (id % 20 + 1) + i))).expect("open");
        if id % 10 == 0 {
            // The parent is unknown, so the index leaves these blocks out.
            index.send(stored(worker, 3, Some(7777), 1..3)).expect("open");
        }
    }
    index.flush().expect("open");
    let queries: Vec<Vec<u64>> =
        (0..20).map(|id| (1..65).chain((0..400).map(|i| 1000 * (id + 1) + i)).collect()).collect();
    let mut matches = Matches::new();
    let mut workers = 0;
    let mut look_up = |matches: &mut Matches| {
        for query in &queries {
            index.find(query, matches);
            workers += matches.iter().count() + matches.top_k(3).count();
            workers += matches.best().map_or(0, |layer| layer.workers().count());
            assert!(matches.best().is_some_and(|layer| layer.depth() > 64));
            assert_eq!(matches.len(), 500);
            assert_eq!((matches.incomplete().count(), matches.incomplete_slots().count()), (50, 50));
        }
    };
    look_up(&mut matches);
    let mut room = Vec::new();
    let look_up_many = |room: &mut Vec<Matches>| {
        for count in [queries.len(), 3, 0, queries.len()] {
            let answers = index.find_many(&queries[..count], room);
            assert!(answers.len() == count && answers.iter().all(|matches| matches.len() == 500));
        }
    };
    look_up_many(&mut room);
    let warm = ALLOCATIONS.get();
    for _ in 0..50 {
        look_up(&mut matches);
        look_up_many(&mut room);
    }
    assert_eq!(ALLOCATIONS.get() - warm, 0);
    assert!(warm > 0, "the allocator counts");
}
