//! The designs that the index is compared with. Each agrees with the literal reference where it should, gives the wrong
//! answers that its file describes, and never panics.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kvleap::baseline::reference::Reference;
use kvleap::baseline::{Backend, Collisions, Design, Reader, Writers};
use kvleap::{Block, Event, EventData, Worker};
use proptest::prelude::*;

use Design::{ConcurrentRadixTree, Inverted, Nested, NestedActor, Positional, RadixTree};

use crate::common::fleet::{Act, Fleet, acts};
use crate::common::random::{DENSE, events, queries, spelled};

const SIX: [Design; 6] = [Nested, NestedActor, Inverted, RadixTree, ConcurrentRadixTree, Positional];
const TREES: [Design; 2] = [RadixTree, ConcurrentRadixTree];

const A: Worker = Worker::new(1, 0);
const B: Worker = Worker::new(1, 1);

fn open(design: Design) -> Box<dyn Backend> {
    design.open(&Writers { threads: 3, pin: Vec::new() }).expect("threads can be started")
}

/// Opens a backend and applies these events to it.
fn fed(design: Design, events: &[Event]) -> Box<dyn Backend> {
    let backend = open(design);
    for event in events {
        backend.apply(event.clone());
    }
    backend.flush();
    backend
}

/// Returns a backend's answer in the order that the reference uses.
fn find(reader: &mut dyn Reader, query: &[u64]) -> Vec<(Worker, u32)> {
    let mut scores = vec![(B, 99)];
    reader.find(query, &mut scores);
    scores.sort_unstable();
    scores
}

fn store(worker: Worker, parent: Option<u64>, pairs: &[(u64, u64)]) -> Event {
    let blocks = pairs.iter().map(|&(sequence, local)| Block { sequence, local }).collect();
    Event { worker, id: 0, data: EventData::Stored { parent, blocks } }
}

fn remove(worker: Worker, sequences: &[u64]) -> Event {
    Event { worker, id: 0, data: EventData::Removed { blocks: sequences.to_vec() } }
}

fn cleared(worker: Worker) -> Event {
    Event { worker, id: 0, data: EventData::Cleared }
}

/// Asserts that the reference and every design say that A's depth is `truth`, except the designs listed in `wrong`,
/// which say the depth listed with them.
fn claim(events: &[Event], query: &[u64], truth: u32, wrong: &[(&[Design], u32)]) {
    for design in SIX.into_iter().chain([Design::Reference]) {
        let scores = find(&mut *fed(design, events).reader(), query);
        let depth = scores.iter().find(|(worker, _)| *worker == A).map_or(0, |(_, depth)| *depth);
        let claimed = wrong.iter().find(|(designs, _)| designs.contains(&design)).map_or(truth, |(_, depth)| *depth);
        assert_eq!(depth, claimed, "{design}");
    }
}

/// The designs that know blocks, but neither positions nor prefixes.
const PLACELESS: &[Design] = &[Nested, NestedActor, Inverted];
/// The placeless designs, and the one that looks at few positions.
const FLAT: &[Design] = &[Nested, NestedActor, Inverted, Positional];
/// The designs that know places, and record which workers hold a place but not under how many names.
const PLACED: &[Design] = &[RadixTree, ConcurrentRadixTree, Positional];

#[test]
fn flat_designs_mix_up_sequences_that_share_a_block() {
    let events = [store(A, None, &[(1, 10), (2, 11)]), store(A, None, &[(3, 20), (4, 21)])];
    claim(&events, &[10, 21], 1, &[(FLAT, 2)]);
    claim(&events, &[11, 10], 0, &[(PLACELESS, 2)]);
    claim(&events, &[10, 11], 2, &[]);
    // Two different prefixes now precede equal blocks at the same position, so the positional design compares prefixes.
    let events = [&events[..], &[store(B, None, &[(5, 30), (6, 21)])]].concat();
    claim(&events, &[10, 21], 1, &[(PLACELESS, 2)]);
    claim(&events, &[20, 21], 2, &[]);
}

#[test]
fn the_positional_design_jumps_over_a_block_that_differs() {
    let pairs: Vec<_> = (0..40).map(|i| (i, i)).collect();
    let events = [store(A, None, &pairs)];
    let mut query: Vec<_> = (0..40).collect();
    claim(&events, &query, 40, &[]);
    for differs in [1, 7, 31, 33, 38] {
        query[differs] = 999;
        claim(&events, &query, differs as u32, &[(&[Positional], 40)]);
        query[differs] = differs as u64;
    }
    for differs in [0, 32, 39] {
        query[differs] = 999;
        claim(&events, &query, differs as u32, &[]);
        query[differs] = differs as u64;
    }
}

#[test]
fn the_positional_design_overlooks_a_hole() {
    let pairs: Vec<_> = (0..40).map(|i| (i, i)).collect();
    let query: Vec<_> = (0..40).collect();
    claim(&[store(A, None, &pairs), remove(A, &[7])], &query, 7, &[(&[Positional], 40)]);
    // The worker holds an equal block elsewhere, and the flat designs take it for the missing one.
    let events = [store(A, None, &[(1, 10), (2, 11), (3, 12)]), store(A, None, &[(4, 11)]), remove(A, &[2])];
    claim(&events, &[10, 11, 12], 1, &[(FLAT, 3)]);
}

#[test]
fn the_trees_forget_what_lies_behind_a_hole_that_is_filled_again() {
    let events = [store(A, None, &[(1, 10), (2, 11), (3, 12)]), remove(A, &[2]), store(A, Some(1), &[(2, 11)])];
    claim(&events, &[10, 11, 12], 3, &[(&TREES, 2)]);
}

#[test]
fn the_positional_design_credits_a_worker_with_blocks_of_another() {
    let chain = [(1, 10), (2, 11), (3, 12)];
    let events = [store(A, None, &chain[..2]), store(B, None, &chain), remove(B, &[1])];
    claim(&events, &[10, 11, 12], 2, &[(&[Positional], 3)]);
}

#[test]
fn placeless_designs_store_a_block_with_an_unknown_parent() {
    let events = [store(A, None, &[(1, 10)]), store(A, Some(99), &[(2, 11)])];
    claim(&events, &[10, 11], 1, &[(PLACELESS, 2)]);
}

#[test]
fn every_design_rejects_a_block_that_is_its_own_parent() {
    let first = store(A, None, &[(1, 10)]);
    claim(&[first.clone(), store(A, Some(1), &[(1, 11)])], &[10, 11], 1, &[]);
    claim(&[first, store(A, Some(1), &[(2, 11), (2, 12)])], &[10, 11], 1, &[]);
}

#[test]
fn only_the_reference_follows_a_sequence_hash_that_moves() {
    let events = [store(A, None, &[(1, 10)]), store(A, None, &[(1, 20)])];
    claim(&events, &[10], 0, &[(&SIX, 1)]);
    let events = [&events[..], &[cleared(A)]].concat();
    claim(&events, &[10], 0, &[(PLACED, 1)]);
    claim(&events, &[20], 0, &[]);
}

#[test]
fn placed_designs_drop_a_block_when_one_of_its_two_names_is_removed() {
    let events = [store(A, None, &[(1, 10), (2, 11)]), store(A, Some(1), &[(3, 11)]), remove(A, &[3])];
    claim(&events, &[10, 11], 2, &[(PLACED, 1)]);
}

#[test]
fn the_collision_workload_tells_exact_designs_from_others() {
    let workload = Collisions::new();
    for design in SIX.into_iter().chain([Design::Reference]) {
        let wrong = workload.wrong_answers(&*open(design));
        assert_eq!(wrong > 0, FLAT.contains(&design), "{design}: {wrong} wrong answers");
    }
}

#[test]
fn the_null_design_finds_nobody() {
    assert_eq!(find(&mut *fed(Design::Null, &[store(A, None, &[(1, 10)])]).reader(), &[10]), []);
}

#[test]
fn threads_are_pinned_to_cores_that_exist() {
    let Some(&core) = core_affinity::get_core_ids().unwrap_or_default().first() else { return };
    for design in Design::ALL {
        let pinned = design.open(&Writers { threads: 3, pin: vec![core.id] }).expect("the core exists");
        pinned.apply(store(A, None, &[(1, 10)]));
        pinned.flush();
        let refused = design.open(&Writers { threads: 3, pin: vec![core.id, 4_000_000] }).expect_err("no such core");
        assert!(refused.to_string().contains("core 4000000"), "{refused}");
    }
}

/// The chain is long enough to overflow the stack if a design dropped it by recursion.
#[test]
fn long_sequences_come_and_go() {
    const LEN: u64 = 100_000;
    let pairs: Vec<_> = (0..LEN).map(|i| (i, i)).collect();
    let query: Vec<_> = (0..LEN).collect();
    for design in SIX {
        let backend = open(design);
        for end in [cleared(A), remove(B, &[1])] {
            backend.apply(store(A, None, &pairs));
            backend.flush();
            assert_eq!(find(&mut *backend.reader(), &query), [(A, LEN as u32)], "{design}");
            backend.apply(end);
        }
    }
}

/// Checks that the designs agree with the reference after every few events and at the end, and that they reject as many
/// events.
fn agree(
    designs: &[Design],
    fleet: &mut Fleet,
    acts: &[(Worker, Act)],
    more: &[Vec<u64>],
) -> Result<(), TestCaseError> {
    let events: Vec<_> = acts.iter().map(|act| fleet.play(act)).collect();
    // Each query goes one block further than what was stored.
    let beyond = |path: &Vec<u64>| [&path[..], &[1 << 40]].concat();
    let queries: Vec<_> = fleet.known.iter().map(beyond).chain(more.iter().cloned()).collect();
    for &design in designs {
        let backend = open(design);
        let mut reader = backend.reader();
        let mut reference = Reference::new();
        let mut rejected = 0;
        for (number, event) in events.iter().enumerate() {
            rejected += u64::from(reference.apply(event).is_err());
            backend.apply(event.clone());
            if number % 9 == 0 || number + 1 == events.len() {
                backend.flush();
                for query in &queries {
                    prop_assert_eq!(find(&mut *reader, query), reference.find(query), "{} {:?}", design, query);
                }
                prop_assert_eq!((backend.rejected(), backend.queued()), (rejected, 0), "{}", design);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn all_are_exact_where_blocks_are_unique(acts in acts()) {
        agree(&SIX, &mut Fleet::new(true), &acts, &[])?;
    }

    #[test]
    fn trees_are_exact_where_caches_hold_whole_prefixes(acts in acts(), more in queries(DENSE)) {
        agree(&TREES, &mut Fleet::new(false), &acts, &more)?;
    }

    /// The events have unknown parents and names, names that move, and holes. Answers may be wrong, but no depth
    /// exceeds the query's length, no worker is named twice, and every worker that is named sent an event.
    #[test]
    fn no_design_panics_on_senseless_events(events in events(DENSE, 120), more in queries(DENSE)) {
        for design in SIX {
            let backend = fed(design, &events);
            let mut reader = backend.reader();
            for query in spelled(&events).iter().chain(&more) {
                let scores = find(&mut *reader, query);
                prop_assert!(scores.iter().all(|&(_, depth)| 0 < depth && depth as usize <= query.len()));
                prop_assert!(scores.is_sorted_by(|a, b| a.0 < b.0));
                prop_assert!(scores.iter().all(|(worker, _)| events.iter().any(|event| event.worker == *worker)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Several threads apply events, each for its own workers, while other threads look up. In the end the answers are
    /// the reference's.
    #[test]
    fn threads_do_not_disturb_each_other(acts in acts()) {
        const FEEDERS: u64 = 3;
        let mut fleet = Fleet::new(true);
        let events: Vec<_> = acts.iter().map(|act| fleet.play(act)).collect();
        let mut reference = Reference::new();
        for event in &events {
            let _ = reference.apply(event);
        }
        for design in SIX {
            let backend = open(design);
            let feeding = AtomicUsize::new(FEEDERS as usize);
            std::thread::scope(|scope| {
                for feeder in 0..FEEDERS {
                    let (backend, events, feeding) = (&backend, &events, &feeding);
                    scope.spawn(move || {
                        for event in events.iter().filter(|event| event.worker.id % FEEDERS == feeder) {
                            backend.apply(event.clone());
                        }
                        feeding.fetch_sub(1, Relaxed);
                    });
                }
                for _ in 0..2 {
                    scope.spawn(|| {
                        let mut reader = backend.reader();
                        while feeding.load(Relaxed) > 0 {
                            for query in &fleet.known {
                                let scores = find(&mut *reader, query);
                                assert!(scores.iter().all(|&(_, depth)| depth as usize <= query.len()));
                            }
                        }
                    });
                }
            });
            backend.flush();
            for query in &fleet.known {
                prop_assert_eq!(find(&mut *backend.reader(), query), reference.find(query), "{}", design);
            }
        }
    }
}
