//! Readers and writers at the same time: C3 consistent snapshots, C4 flush, C5 readers never wait, C6 nothing lost at
//! shutdown.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kvleap::baseline::reference::Reference;
use kvleap::{Block, Closed, Event, EventData, Index, Matches, TrySendError, Worker};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::common::random::*;

/// Depths, and the incomplete workers.
type Answer = (Vec<(Worker, u32)>, Vec<Worker>);

/// Draws a random value that depends on the seed alone.
fn sample<T>(strategy: impl Strategy<Value = T>, seed: u8) -> T {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    strategy.new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).expect("no filters").current()
}

/// Returns the shard of a worker, which is the one that applies an event of it.
fn shard_of(index: &Index, worker: Worker) -> usize {
    let events = |index: &Index| index.status().shards.iter().map(|s| s.applied_events).collect::<Vec<_>>();
    let before = events(index);
    index.add_worker(worker).expect("open");
    let after = events(index);
    before.iter().zip(after).position(|(b, a)| *b != a).expect("one shard applies it")
}

/// Checks that every answer that a reader gets while the writers are busy equals the reference's at the watermarks that
/// the answer reports, and that the watermarks never go back.
fn every_answer_is_exact_at_its_watermark(shards: usize, seed: u8) {
    let workers: Vec<_> = (0..DENSE.workers).flat_map(|id| [Worker::new(id, 0), Worker::new(id, 1)]).collect();
    let builder = || Index::builder().shards(shards).seed(5);
    let index = builder().build().expect("valid settings");
    let shard_of: Vec<_> = workers.iter().map(|&worker| (worker, shard_of(&index, worker))).collect();
    let shard_of = |worker| shard_of.iter().find(|(w, _)| *w == worker).expect("all are listed").1;

    let events: Vec<Event> = sample(stream(DENSE, 1500..1501), seed);
    let mut queries = spelled(&events[..100]);
    queries.extend(sample(queries_of(DENSE), seed));
    queries.truncate(24);
    // Indexed by shard, watermark and query.
    let expected: Vec<Vec<Vec<Answer>>> = (0..shards)
        .map(|shard| {
            let mut reference = Reference::new();
            let answers = |reference: &Reference| {
                queries.iter().map(|query| (reference.find(query), reference.incomplete())).collect()
            };
            let mut at: Vec<Vec<Answer>> = vec![answers(&reference)];
            for event in events.iter().filter(|event| shard_of(event.worker) == shard) {
                let _ = reference.apply(event);
                at.push(answers(&reference));
            }
            at
        })
        .collect();

    // Tiny batches and intervals, so that readers see many states.
    let index = builder()
        .mailbox(16)
        .publish_batch(3)
        .publish_interval(std::time::Duration::ZERO)
        .build()
        .expect("valid settings");
    let checked = AtomicU64::new(0);
    // Set when a writer died, so that the readers do not wait for it.
    let dead = AtomicBool::new(false);
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (index, queries, expected) = (&index, &queries, &expected);
            let (checked, dead, barrier) = (&checked, &dead, &barrier);
            scope.spawn(move || {
                let mut matches = Matches::new();
                let mut last = vec![(0, 0); shards];
                barrier.wait();
                for turn in reader.. {
                    let query = turn % queries.len();
                    index.find(&queries[query], &mut matches);
                    let marks: Vec<_> = matches.watermarks().map(|w| (w.events, w.generation)).collect();
                    assert!(marks.iter().zip(&last).all(|(now, last)| now >= last), "{marks:?} after {last:?}");
                    let mut answer = Answer::default();
                    for (expected, (events, _)) in expected.iter().zip(&marks) {
                        let (depths, incomplete) = &expected[*events as usize][query];
                        answer.0.extend(depths);
                        answer.1.extend(incomplete);
                    }
                    answer.0.sort_unstable();
                    answer.1.sort_unstable();
                    let given = (by_worker(&matches), incomplete(&matches));
                    assert_eq!(given, answer, "query {query} at {marks:?}, seed {seed}");
                    checked.fetch_add(1, Ordering::Relaxed);
                    last = marks;
                    let all = (0..shards).all(|s| last[s].0 as usize + 1 == expected[s].len());
                    if all || dead.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        barrier.wait();
        let sent = events.iter().try_for_each(|event| index.send(event.clone()));
        dead.store(sent.is_err() || index.flush().is_err(), Ordering::Relaxed);
    });
    assert!(!dead.into_inner(), "seed {seed}");
    assert!(checked.load(Ordering::Relaxed) > 100);
}

fn queries_of(shape: Shape) -> impl Strategy<Value = Vec<Vec<u64>>> {
    queries(shape)
}

#[test]
fn one_shard_is_exact_at_every_watermark() {
    (0..4).for_each(|seed| every_answer_is_exact_at_its_watermark(1, seed));
}

#[test]
fn three_shards_are_exact_at_every_watermark() {
    (4..8).for_each(|seed| every_answer_is_exact_at_its_watermark(3, seed));
}

fn stored(worker: u64, id: u64) -> Event {
    let blocks = vec![Block { sequence: id, local: id }];
    Event { worker: Worker::new(worker, 0), id, data: EventData::Stored { parent: None, blocks } }
}

#[test]
fn what_was_accepted_before_a_flush_is_visible_after_it() {
    let index = Index::builder().shards(3).mailbox(2).build().expect("valid settings");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let index = index.clone();
            scope.spawn(move || {
                let mut matches = Matches::new();
                for id in 0..300 {
                    index.send(stored(worker, id)).expect("open");
                    index.flush().expect("open");
                    index.find(&[id], &mut matches);
                    assert_eq!(matches.depth(Worker::new(worker, 0)), 1);
                }
            });
        }
    });
}

/// Two senders, a reader and a flusher are busy when the index is shut down. Every event was applied if it was
/// accepted, and was given back if not.
#[test]
fn a_shutdown_in_the_middle_loses_no_accepted_event() {
    for round in 0..20 {
        let index = Index::builder().shards(2).mailbox(1 + round % 3).build().expect("valid settings");
        let accepted = [AtomicU64::new(0), AtomicU64::new(0)];
        let over = AtomicBool::new(false);
        let barrier = Barrier::new(5);
        std::thread::scope(|scope| {
            for worker in 0..2 {
                let (index, accepted, barrier) = (index.clone(), &accepted[worker as usize], &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for id in 0.. {
                        let event = stored(worker, id);
                        if id % 2 == 0 {
                            match index.send(event.clone()) {
                                Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                                Err(back) => {
                                    assert_eq!(back.0, event);
                                    return;
                                }
                            };
                        } else {
                            match index.try_send(event.clone()) {
                                Ok(()) => accepted.fetch_add(1, Ordering::Relaxed),
                                Err(TrySendError::Full(back)) => {
                                    assert_eq!(back, event);
                                    continue;
                                }
                                Err(TrySendError::Closed(_)) => return,
                            };
                        }
                    }
                });
            }
            let (reader, barrier, over) = (index.clone(), &barrier, &over);
            scope.spawn(move || {
                let mut matches = Matches::new();
                barrier.wait();
                while !over.load(Ordering::Relaxed) {
                    reader.find(&[1], &mut matches);
                }
            });
            let flusher = index.clone();
            scope.spawn(move || {
                barrier.wait();
                while flusher.flush() != Err(Closed) {}
            });
            barrier.wait();
            // Wait until every sender has got some events through.
            while accepted.iter().any(|n| n.load(Ordering::Relaxed) < 20) {
                std::thread::yield_now();
            }
            assert_eq!(index.shutdown(), Ok(()));
            over.store(true, Ordering::Relaxed);
        });
        let mut matches = Matches::new();
        index.find(&[0], &mut matches);
        assert_eq!(matches.len(), 2, "lookups go on");
        assert_eq!(
            matches.watermarks().map(|w| w.events).sum::<u64>(),
            accepted.iter().map(|n| n.load(Ordering::Relaxed)).sum::<u64>()
        );
        assert_eq!(index.flush(), Err(Closed));
        assert_eq!(index.export(), Err(Closed));
        assert!(index.send(stored(9, 1)).is_err());
        assert!(index.status().shards.iter().all(|shard| !shard.alive));
        assert_eq!(index.shutdown(), Ok(()), "a second shutdown does no harm");
    }
}

/// Big events keep the writer busy behind a mailbox of one. `try_send` gives back exactly the events that do not fit.
#[test]
fn a_full_mailbox_gives_the_event_back() {
    let index = Index::builder().mailbox(1).build().expect("valid settings");
    let big = |id: u64| {
        let blocks = (0..20_000).map(|i| Block { sequence: id << 32 | i, local: i }).collect();
        Event { worker: Worker::new(id, 0), id, data: EventData::Stored { parent: None, blocks } }
    };
    let mut accepted = 0;
    let mut full = 0;
    let mut id = 0;
    while full == 0 || accepted < 4 {
        match index.try_send(big(id)) {
            Ok(()) => accepted += 1,
            Err(TrySendError::Full(back)) => {
                assert_eq!(back, big(id));
                full += 1;
            }
            Err(TrySendError::Closed(_)) => panic!("open"),
        }
        id += 1;
    }
    index.flush().expect("open");
    assert_eq!(index.status().shards[0].applied_events, accepted);
}
