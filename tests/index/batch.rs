//! `find_many` gives the same answer to every query as `find`, and answers all queries of a batch as of one moment.

use kvleap::baseline::reference::Reference;
use kvleap::{Block, Event, EventData, Index, Matches, Worker};
use proptest::prelude::*;

use crate::common::random::*;

fn same_as_one_by_one(shape: Shape, cases: u32) {
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    proptest!(config, |(
        events in events(shape, 80),
        drawn in queries(shape),
        shards in 1usize..=3,
        shorter in 0usize..40,
    )| {
        let index = Index::builder().shards(shards).jump_stride(2).build().expect("valid settings");
        let mut reference = Reference::new();
        for event in &events {
            index.send(event.clone()).expect("open");
            // The index rejects the same events, so the result does not matter.
            let _ = reference.apply(event);
        }
        index.flush().expect("open");
        let mut queries = spelled(&events);
        queries.extend(drawn);
        queries.push(Vec::new());
        let (mut room, mut single) = (Vec::new(), Matches::new());
        // The second batch is smaller than the first, and reuses room that holds the answers to other queries.
        for queries in [&queries[..], &queries[shorter.min(queries.len())..]] {
            let answers = index.find_many(queries, &mut room);
            prop_assert_eq!(answers.len(), queries.len());
            for (query, answer) in queries.iter().zip(answers) {
                index.find(query, &mut single);
                prop_assert_eq!(by_worker(answer), reference.find(query), "query {:?}", query);
                prop_assert!(answer.iter().eq(single.iter()), "the order is the same, too");
                prop_assert!(answer.watermarks().eq(single.watermarks()));
            }
        }
    });
}

#[test]
fn batches_equal_single_lookups_in_dense_fleets() {
    same_as_one_by_one(DENSE, 60);
}

#[test]
fn batches_equal_single_lookups_over_long_sequences() {
    same_as_one_by_one(LONG, 40);
}

#[test]
fn batches_equal_single_lookups_in_spread_fleets() {
    same_as_one_by_one(SPREAD, 60);
}

#[test]
fn an_empty_batch_has_no_answers() {
    let (_writer, reader) = Index::builder().build_local().expect("valid settings");
    let mut room = vec![Matches::new()];
    assert!(reader.find_many(&[[0; 0]; 0], &mut room).is_empty());
    let answers = reader.find_many(&[[0; 0]; 100], &mut room);
    assert!(answers.len() == 100 && answers.iter().all(Matches::is_empty));
    assert!(answers.iter().all(|answer| answer.watermarks().len() == 1));
}

/// A writer thread keeps applying events while batches are looked up.
#[test]
fn all_answers_of_a_batch_are_as_of_one_moment() {
    let index = Index::builder().shards(2).publish_batch(1).build().expect("valid settings");
    let writer = index.clone();
    let block = Block { sequence: 1, local: 0 };
    let writing = std::thread::spawn(move || {
        for id in 0..20_000 {
            let data = match id / 8 % 2 {
                0 => EventData::Stored { parent: None, blocks: vec![block] },
                _ => EventData::Cleared,
            };
            writer.send(Event { worker: Worker::new(id % 8, 0), id, data }).expect("open");
        }
    });
    let mut room = Vec::new();
    while !writing.is_finished() {
        let answers = index.find_many(&[[0]; 50], &mut room);
        assert!(answers.iter().all(|answer| answer.watermarks().eq(answers[0].watermarks())));
        assert!(answers.iter().all(|answer| answer.iter().eq(answers[0].iter())));
    }
    writing.join().expect("no panic");
}
