//! The index keeps its contract, as the literal reference has it: C1 exact, C2 opaque engines, C6 nothing lost
//! silently.

use kvleap::baseline::reference::Reference;
use kvleap::{Block, Event, EventData, Index, Matches, Reader, Worker, WorkerStatus, Writer};
use proptest::prelude::*;

use crate::common::random::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, ..ProptestConfig::default() }
}

fn agree(reader: &Reader, reference: &Reference, query: &[u64]) -> Result<(), TestCaseError> {
    let mut matches = Matches::new();
    reader.find(query, &mut matches);
    prop_assert_eq!(by_worker(&matches), reference.find(query), "query {:?}", query);
    prop_assert_eq!(incomplete(&matches), reference.incomplete());
    let named = matches.incomplete_slots().map(|slot| matches.worker(slot).expect("a slot of the answer"));
    prop_assert!(named.eq(matches.incomplete()), "slots name the same workers");
    prop_assert_eq!(matches.len(), matches.iter().count());
    let named = matches.slots().map(|(slot, depth)| (matches.worker(slot).expect("a slot of the answer"), depth));
    prop_assert!(named.eq(matches.iter()), "slots name the same workers");
    let deepest = matches.best().map(|layer| layer.slots().map(|slot| matches.worker(slot)).collect::<Vec<_>>());
    prop_assert_eq!(deepest, matches.best().map(|layer| layer.workers().map(Some).collect()));
    let depths: Vec<_> = matches.iter().map(|(_, depth)| depth).collect();
    prop_assert!(depths.is_sorted_by(|a, b| a >= b), "deepest first");
    let layers: Vec<_> = matches.layers().map(|layer| layer.depth()).collect();
    prop_assert!(layers.is_sorted_by(|a, b| a > b), "one layer per depth");
    prop_assert_eq!(matches.best().map(|layer| layer.depth()), depths.first().copied());
    Ok(())
}

/// Checks that every worker's status agrees with the reference.
fn same_holdings(writer: &mut Writer, reference: &Reference) -> Result<(), TestCaseError> {
    let (_, status) = writer.status();
    for WorkerStatus { worker, held_blocks, extra_copies, left_out_blocks, .. } in status {
        prop_assert_eq!(held_blocks, reference.held(worker) as u64);
        prop_assert_eq!(extra_copies, reference.extra_copies(worker));
        prop_assert_eq!(left_out_blocks, reference.left_out(worker));
    }
    Ok(())
}

/// Applies the events to the index and to the reference. Compares what becomes of each event, and the answers after
/// every few events and at the end.
fn check_local(
    shape: Shape,
    events: &[Event],
    queries: &[Vec<u64>],
    stride: u32,
    limits: (u32, u32),
) -> Result<(Writer, Reader, Reference), TestCaseError> {
    let (positions, workers) = limits;
    let builder = Index::builder().jump_stride(stride).max_positions(positions).max_workers(workers).seed(1);
    let (mut writer, reader) = builder.build_local().expect("valid settings");
    let mut reference = Reference::new().max_positions(positions).max_workers(workers);
    let mut paths = spelled(events);
    paths.extend_from_slice(queries);
    for (number, event) in events.iter().enumerate() {
        prop_assert_eq!(writer.apply(event), reference.apply(event), "event {} {:?}", number, event);
        if number % 5 == 0 {
            writer.publish();
            same_holdings(&mut writer, &reference)?;
            if shape.blocks < 20 {
                for query in paths.iter().skip(number % 7).step_by(7) {
                    agree(&reader, &reference, query)?;
                }
            }
        }
    }
    writer.publish();
    for query in &paths {
        agree(&reader, &reference, query)?;
    }
    same_holdings(&mut writer, &reference)?;
    Ok((writer, reader, reference))
}

fn same_as_the_reference(shape: Shape, most_events: usize, runs: u32) {
    proptest!(cases(runs), |(
        events in events(shape, most_events),
        queries in queries(shape),
        stride in prop::sample::select(vec![1u32, 2, 3, 32]),
    )| {
        check_local(shape, &events, &queries, stride, (u32::MAX, u32::MAX))?;
    });
}

#[test]
fn answers_equal_the_reference_in_dense_fleets() {
    same_as_the_reference(DENSE, 120, 400);
}

#[test]
fn answers_equal_the_reference_over_long_sequences() {
    same_as_the_reference(LONG, 60, 150);
}

#[test]
fn answers_equal_the_reference_in_spread_fleets() {
    same_as_the_reference(SPREAD, 150, 250);
}

/// Where a turn does not repeat what was decoded, the index changes the places of blocks. So an export must say the same
/// as ever, too.
#[test]
fn answers_equal_the_reference_in_conversations() {
    proptest!(cases(400), |(events in conversations(120), stride in prop::sample::select(vec![1u32, 2, 32]))| {
        let (original, _, mut reference) = check_local(DENSE, &events, &[], stride, (u32::MAX, u32::MAX))?;
        let (mut copy, reader) = Index::builder().build_local().expect("valid settings");
        prop_assert_eq!(copy.import(&original.export()), Ok(()));
        copy.publish();
        reference.forget_left_out();
        for query in spelled(&events) {
            agree(&reader, &reference, &query)?;
        }
    });
}

/// The run has more branch points than fit into a head. Queries leave it at each of them, or not at all.
#[test]
fn answers_equal_the_reference_on_runs_with_many_branch_points() {
    let store = |worker: u64, parent: Option<u64>, names: std::ops::Range<u64>| {
        let blocks = names.map(|name| Block { sequence: name, local: name }).collect();
        Event { worker: Worker::new(worker, 0), id: 0, data: EventData::Stored { parent, blocks } }
    };
    let mut events = vec![store(0, None, 1..101)];
    for branch in 1..15 {
        events.push(store(branch, None, 1..7 * branch + 1));
        events.push(store(branch, Some(7 * branch), 1000 * branch..1000 * branch + 5));
        check_local(SPREAD, &events, &[], 32, (u32::MAX, u32::MAX)).expect("the same as the reference");
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn answers_equal_the_reference_under_tiny_limits(
        events in events(DENSE, 100),
        queries in queries(DENSE),
        positions in 1u32..8,
        workers in 1u32..6,
    ) {
        check_local(DENSE, &events, &queries, 2, (positions, workers))?;
    }

    /// The copy gives the same answers as the original, and still does after more events.
    #[test]
    fn an_import_of_an_export_rebuilds_the_state(
        before in events(DENSE, 80),
        after in events(DENSE, 40),
        queries in queries(DENSE),
    ) {
        let (original, _, mut reference) = check_local(DENSE, &before, &queries, 2, (u32::MAX, u32::MAX))?;
        let (mut copy, reader) = Index::builder().seed(99).build_local().expect("valid settings");
        prop_assert_eq!(copy.import(&original.export()), Ok(()));
        reference.forget_left_out();
        copy.publish();
        for query in spelled(&before).iter().chain(&queries) {
            agree(&reader, &reference, query)?;
        }
        let mut original = original;
        let (_, mut a) = original.status();
        let (_, mut b) = copy.status();
        a.sort_by_key(|w| w.worker);
        b.sort_by_key(|w| w.worker);
        let visible = |w: &WorkerStatus| (w.worker, w.held_blocks, w.extra_copies, w.last_event_id);
        prop_assert_eq!(a.iter().map(visible).collect::<Vec<_>>(), b.iter().map(visible).collect::<Vec<_>>());
        // An export does not mention removed workers. Whoever imports it has to mark them.
        let removed = |e: &&Event| before.iter().any(|b| b.worker == e.worker && b.data == EventData::WorkerRemoved);
        for event in after.iter().filter(|event| !removed(event)) {
            prop_assert_eq!(copy.apply(event), reference.apply(event));
        }
        copy.publish();
        for query in spelled(&before).iter().chain(&spelled(&after)).chain(&queries) {
            agree(&reader, &reference, query)?;
        }
        same_holdings(&mut copy, &reference)?;
    }

    /// The index is replaced by a copy of itself every few events, sometimes by importing the export and sometimes by
    /// applying it.
    #[test]
    fn copies_of_copies_lose_nothing_and_count_nothing_twice(
        events in events(DENSE, 100),
        queries in queries(DENSE),
        every in 1usize..30,
    ) {
        let local = || Index::builder().build_local().expect("valid settings");
        let (mut writer, mut reader) = local();
        let mut reference = Reference::new();
        let mut removed = Vec::new();
        for (number, event) in events.iter().enumerate() {
            prop_assert_eq!(writer.apply(event), reference.apply(event), "event {} {:?}", number, event);
            match event.data {
                EventData::WorkerRemoved => removed.push(event.clone()),
                EventData::WorkerAdded => removed.retain(|r: &Event| r.worker != event.worker),
                _ => {}
            }
            if number % every == 0 {
                let export = writer.export();
                (writer, reader) = local();
                if number % 2 == 0 {
                    prop_assert_eq!(writer.import(&export), Ok(()));
                } else {
                    for event in &export {
                        prop_assert_eq!(writer.apply(event), Ok(()));
                    }
                }
                // An export has neither what was left out nor the marks of removed workers.
                reference.forget_left_out();
                for event in &removed {
                    prop_assert_eq!(writer.apply(event), Ok(()));
                }
                same_holdings(&mut writer, &reference)?;
            }
        }
        writer.publish();
        for query in spelled(&events).iter().chain(&queries) {
            agree(&reader, &reference, query)?;
        }
    }

    #[test]
    fn a_sharded_index_equals_the_reference_after_a_flush(
        events in events(DENSE, 60),
        queries in queries(DENSE),
        shards in 1usize..=4,
        mailbox in 1usize..4,
        batch in 1u64..4,
    ) {
        let index = Index::builder().shards(shards).mailbox(mailbox).publish_batch(batch).build().expect("valid settings");
        let mut reference = Reference::new();
        let mut rejected = 0;
        for event in &events {
            index.send(event.clone()).expect("open");
            rejected += u64::from(reference.apply(event).is_err());
        }
        index.flush().expect("open");
        let mut matches = Matches::new();
        for query in spelled(&events).iter().chain(&queries) {
            index.find(query, &mut matches);
            prop_assert_eq!(by_worker(&matches), reference.find(query));
            prop_assert_eq!(incomplete(&matches), reference.incomplete());
            prop_assert_eq!(matches.watermarks().map(|w| w.events).sum::<u64>(), events.len() as u64);
        }
        let status = index.status();
        let workers = status.workers.iter().flat_map(|w| w.rejected);
        let strangers = status.shards.iter().flat_map(|s| s.rejected_strangers);
        let removed_since = events.iter().any(|e| e.data == EventData::WorkerRemoved);
        prop_assert!(removed_since || workers.chain(strangers).sum::<u64>() == rejected, "every rejection is counted");
    }
}

/// An export expresses a hole as a removal, and so does whatever evicts blocks to bound memory. Such a removal is of a
/// block, and not of one copy.
#[test]
fn an_import_removes_a_block_with_all_of_its_copies() {
    let (mut writer, _) = Index::builder().build_local().expect("valid settings");
    let say = |id, data| Event { worker: Worker::new(1, 0), id, data };
    let blocks: Vec<_> = [1, 2, 3].map(|name| Block { sequence: name, local: name }).to_vec();
    let stored = EventData::Stored { parent: None, blocks };
    writer.apply(&say(0, EventData::CopiesCounted)).expect("well-formed");
    (1..4).for_each(|id| writer.apply(&say(id, stored.clone())).expect("well-formed"));
    let held = |writer: &mut Writer| {
        let status = writer.status().1[0];
        (status.held_blocks, status.extra_copies, status.unknown_removals)
    };
    assert_eq!(held(&mut writer), (3, Some(6), 0));
    writer.import(&[say(3, EventData::Removed { blocks: vec![3, 2] })]).expect("well-formed");
    assert_eq!(held(&mut writer), (1, Some(2), 0));
    writer.apply(&say(4, EventData::Removed { blocks: vec![3, 1, 1] })).expect("well-formed");
    assert_eq!(held(&mut writer), (1, Some(0), 1));
    // An import replaces what was known of the worker, including that its copies are counted.
    writer.import(&[say(4, EventData::WorkerAdded), say(4, stored.clone()), say(4, stored)]).expect("well-formed");
    assert_eq!(held(&mut writer), (3, None, 1));
}

/// A search that skips comparisons would get these wrong: one local hash at every position and under many prefixes,
/// zeros, consecutive numbers, and queries that differ from a stored sequence in one block, at every position.
#[test]
fn collisions_are_told_apart() {
    const LEN: usize = 150;
    let mut stored: Vec<Vec<u64>> = vec![vec![0; LEN], vec![7; LEN], vec![u64::MAX; LEN]];
    stored.extend((0..4).map(|first| (first..).take(LEN).collect()));
    // The same blocks under other prefixes, and shifted by one.
    stored.extend((0..4).map(|first| [first].into_iter().chain([0; LEN - 1]).collect()));
    stored.extend((1..4).map(|first| [0; 40].into_iter().chain(first..).take(LEN).collect()));
    let (mut writer, reader) = Index::builder().build_local().expect("valid settings");
    let mut reference = Reference::new();
    for (worker, locals) in (0..).zip(&stored) {
        let blocks = (0..).zip(locals).map(|(i, &local)| Block { sequence: worker << 32 | i, local }).collect();
        let worker = Worker::new(worker % 5, 0);
        let event = Event { worker, id: 1, data: EventData::Stored { parent: None, blocks } };
        assert_eq!((writer.apply(&event), reference.apply(&event)), (Ok(()), Ok(())));
    }
    writer.publish();
    let mut matches = Matches::new();
    for locals in &stored {
        for changed in 0..LEN {
            for other in [0, 1, 7, u64::MAX, locals[(changed + 1) % LEN]] {
                let mut query = locals.clone();
                query[changed] = other;
                reader.find(&query, &mut matches);
                assert_eq!(by_worker(&matches), reference.find(&query), "block {changed} of {locals:?} is {other}");
            }
        }
    }
}
