//! C6: nothing is lost silently, and every setting out of range is refused.

use std::thread;

use kvleap::{
    Block, Builder, Closed, ConfigError, Event, EventData, ImportError, Index, MAX_SHARDS, Matches, Rejection,
    SendError, ShardStatus, TrySendError, Worker,
};

const A: Worker = Worker::new(1, 0);
const B: Worker = Worker::new(1, 1);

fn stored(worker: Worker, id: u64, parent: Option<u64>, names: &[u64]) -> Event {
    let blocks = names.iter().map(|&name| Block { sequence: name, local: name }).collect();
    Event { worker, id, data: EventData::Stored { parent, blocks } }
}

fn removed(worker: Worker, id: u64, blocks: &[u64]) -> Event {
    Event { worker, id, data: EventData::Removed { blocks: blocks.to_vec() } }
}

#[test]
fn gaps_repeats_and_unknown_removals_are_counted() {
    let index = Index::builder().shards(2).build().expect("valid settings");
    // The first id may be any. 12 and 13 are missing, then 6, then 8 and 9. The second 14 and the 5 are repeats.
    for id in [10, 11, 14, 14, 5, 7, 10] {
        index.send(stored(A, id, None, &[id])).expect("open");
    }
    index.send(removed(A, 11, &[10, 99, 98, 10])).expect("open");
    // Every worker counts its own ids. The ids of events that the index makes itself do not matter.
    index.send(stored(B, 1, None, &[1])).expect("open");
    index.add_worker(A).expect("open");
    let status = index.status();
    let [a, b] = &status.workers[..] else { panic!("two workers: {status:?}") };
    assert_eq!((a.worker, a.held_blocks, a.last_event_id), (A, 4, Some(11)));
    assert_eq!((a.gaps, a.missing_events, a.repeated_events, a.unknown_removals), (3, 5, 2, 3));
    assert_eq!((b.worker, b.held_blocks, b.last_event_id), (B, 1, Some(1)));
    assert_eq!((b.gaps, b.missing_events, b.repeated_events, b.unknown_removals), (0, 0, 0, 0));
    assert!(a.lag.is_some() && b.lag.is_some(), "every worker's last event took some time to become visible");
    let sum = |of: fn(&ShardStatus) -> u64| status.shards.iter().map(of).sum::<u64>();
    assert_eq!((sum(|s| s.applied_events), sum(|s| s.published_events), sum(|s| s.lag.len())), (10, 10, 10));
    assert_eq!((sum(|s| s.applied_blocks), sum(|s| s.held_blocks), sum(|s| s.indexed_blocks)), (12, 5, 5));
    assert!(status.shards.iter().all(|shard| shard.alive && shard.mailbox_depth == 0));
}

#[test]
fn indexed_blocks_are_each_counted_once_together_with_those_before_them_that_nobody_holds() {
    let (mut writer, _) = Index::builder().build_local().expect("valid settings");
    for event in [stored(A, 1, None, &[1, 2, 3]), stored(B, 1, None, &[1, 2]), removed(A, 2, &[1, 2])] {
        writer.apply(&event).expect("a good event");
    }
    let (shard, _) = writer.status();
    let counts = |shard: &ShardStatus| (shard.held_blocks, shard.indexed_blocks, shard.distinct_blocks);
    assert_eq!(counts(&shard), (3, 3, 2), "a shared prefix counts once");
    writer.apply(&removed(B, 2, &[1, 2])).expect("a good event");
    let (shard, _) = writer.status();
    assert_eq!(counts(&shard), (1, 3, 0), "more than anybody holds");
}

#[test]
fn event_ids_may_be_anything() {
    let (mut writer, _) = Index::builder().build_local().expect("valid settings");
    for id in [0, u64::MAX, 0, u64::MAX, u64::MAX] {
        assert_eq!(writer.apply(&stored(A, id, None, &[1])), Ok(()));
    }
    let (_, workers) = writer.status();
    assert_eq!((workers[0].gaps, workers[0].missing_events, workers[0].repeated_events), (2, u64::MAX, 2));
}

#[test]
fn every_kind_of_rejection_is_counted_and_changes_nothing() {
    let index = Index::builder().max_positions(3).max_workers(1).build().expect("valid settings");
    let stranger = Worker::new(7, 0);
    index.send(stored(A, 1, None, &[1, 2])).expect("open");
    for (kind, event) in [
        (Rejection::TooManyWorkers, stored(B, 1, None, &[1])),
        (Rejection::Empty, stored(A, 2, None, &[])),
        (Rejection::Empty, removed(A, 3, &[])),
        (Rejection::SelfParent, stored(A, 4, Some(2), &[2])),
        (Rejection::SelfParent, stored(A, 5, None, &[8, 9, 9])),
        (Rejection::UnknownParent, stored(A, 6, Some(77), &[8])),
        (Rejection::TooDeep, stored(A, 7, Some(2), &[8, 9])),
    ] {
        let before = index.status();
        index.send(event).expect("open");
        let after = index.status();
        let count = |status: &kvleap::Status| {
            status.workers.iter().map(|w| w.rejected(kind)).sum::<u64>()
                + status.shards[0].rejected_strangers[kind as usize]
        };
        assert_eq!(count(&after), count(&before) + 1, "{kind}");
        assert_eq!(after.shards[0].held_blocks, 2);
        assert_eq!((after.shards[0].runs, after.shards[0].indexed_blocks), (1, 2));
    }
    index.remove_worker(stranger).expect("open");
    index.send(stored(stranger, 1, None, &[1])).expect("open");
    assert_eq!(index.status().shards[0].rejected_strangers, [1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(index.status().workers[0].rejected, [0, 0, 2, 2, 1, 1, 0]);
    let mut matches = Matches::new();
    index.find(&[1, 2, 8], &mut matches);
    assert_eq!(matches.iter().collect::<Vec<_>>(), [(A, 2)]);
    // The last position is within the limit.
    index.send(stored(A, 8, Some(2), &[8])).expect("open");
    index.flush().expect("open");
    index.find(&[1, 2, 8], &mut matches);
    assert_eq!(matches.depth(A), 3);
    let names: Vec<_> = Rejection::ALL.into_iter().map(|kind| (kind.name(), kind.to_string())).collect();
    assert!(names.iter().all(|(name, text)| !name.is_empty() && !text.is_empty()));
}

#[test]
fn an_import_reports_a_rejection_and_applies_the_rest() {
    let original = Index::builder().build().expect("valid settings");
    original.send(stored(A, 5, None, &[1, 2, 3])).expect("open");
    original.send(stored(B, 6, None, &[1])).expect("open");
    let export = original.export().expect("open");
    assert_eq!([A, B].map(|worker| original.export_worker(worker).expect("open")).concat(), export);
    let copy = Index::builder().max_positions(2).build().expect("valid settings");
    assert_eq!(copy.import(export.clone()), Err(ImportError::Rejected(Rejection::TooDeep)));
    let mut matches = Matches::new();
    copy.find(&[1, 2, 3], &mut matches);
    assert_eq!(matches.iter().collect::<Vec<_>>(), [(B, 1)], "the rest was applied, and is visible");
    // An import replaces what the index knew of these workers.
    original.send(stored(B, 7, None, &[9])).expect("open");
    assert_eq!(original.import(export), Ok(()));
    original.find(&[9], &mut matches);
    assert!(matches.is_empty());
    let ids = original.status().workers.into_iter().map(|w| (w.last_event_id, w.gaps, w.repeated_events));
    assert_eq!(
        ids.collect::<Vec<_>>(),
        [(Some(5), 0, 0), (Some(6), 0, 0)],
        "an import starts the counts of gaps and repeats again"
    );
}

#[test]
fn copies_are_counted_for_the_workers_that_ask_for_it() {
    let index = Index::builder().shards(2).build().expect("valid settings");
    index.count_copies(A).expect("open");
    for worker in [A, B] {
        (1..4).for_each(|id| index.send(stored(worker, id, None, &[1, 2])).expect("open"));
        index.send(removed(worker, 4, &[2])).expect("open");
    }
    let copies = |index: &Index| -> Vec<_> {
        index.status().workers.iter().map(|w| (w.held_blocks, w.extra_copies, w.last_event_id)).collect()
    };
    assert_eq!(copies(&index), [(2, Some(3), Some(4)), (1, None, Some(4))]);
    let copy = Index::builder().build().expect("valid settings");
    copy.import(index.export().expect("open")).expect("it fits");
    assert_eq!(copies(&copy), copies(&index));
    // A worker that has sent no event.
    let fresh = Worker::new(9, 0);
    index.count_copies(fresh).expect("open");
    copy.import(index.export_worker(fresh).expect("open")).expect("it fits");
    assert_eq!(copies(&copy)[2], (0, Some(0), None));
    index.remove_worker(A).expect("open");
    index.count_copies(A).expect("open");
    assert!(index.status().workers.iter().all(|w| w.worker != A), "a removed worker has to be added first");
}

#[test]
fn after_shutdown_lookups_go_on_and_everything_else_is_closed() {
    let index = Index::builder().shards(2).build().expect("valid settings");
    let event = stored(A, 1, None, &[1]);
    index.send(event.clone()).expect("open");
    let other = index.clone();
    assert_eq!(other.shutdown(), Ok(()));
    assert_eq!(index.send(event.clone()), Err(SendError(event.clone())));
    assert_eq!(index.try_send(event.clone()), Err(TrySendError::Closed(event.clone())));
    assert!(index.add_worker(B).is_err() && index.remove_worker(A).is_err() && index.count_copies(A).is_err());
    assert_eq!((index.flush(), index.export()), (Err(Closed), Err(Closed)));
    assert_eq!(index.export_worker(A), Err(Closed));
    assert_eq!(index.import(vec![event]), Err(ImportError::Closed));
    let status = index.status();
    assert_eq!((status.shards.len(), status.workers.len()), (2, 0));
    assert!(status.shards.iter().all(|shard| !shard.alive));
    assert_eq!(status.shards.iter().map(|shard| shard.published_events).sum::<u64>(), 1);
    let mut matches = Matches::new();
    index.find(&[1], &mut matches);
    assert_eq!(matches.depth(A), 1, "what was accepted was applied");
    assert_eq!(index.shutdown(), Ok(()), "a second shutdown does no harm");
}

fn refused(builder: Builder) -> ConfigError {
    builder.build().expect_err("out of range")
}

#[test]
fn settings_out_of_range_are_refused() {
    let zero = |builder, setting: &str| {
        let error = refused(builder);
        assert!(matches!(error, ConfigError::Zero { name } if name == setting), "{error}");
        assert!(error.to_string().contains(setting));
    };
    zero(Index::builder().shards(0), "shards");
    zero(Index::builder().mailbox(0), "mailbox");
    zero(Index::builder().mailbox_bytes(0), "mailbox_bytes");
    zero(Index::builder().publish_batch(0), "publish_batch");
    zero(Index::builder().jump_stride(0), "jump_stride");
    zero(Index::builder().max_positions(0), "max_positions");
    zero(Index::builder().max_workers(0), "max_workers");
    let error = refused(Index::builder().shards(MAX_SHARDS + 1));
    assert!(matches!(error, ConfigError::TooManyShards { shards } if shards == MAX_SHARDS + 1), "{error}");
    let error = Index::builder().shards(2).max_workers(u32::MAX).build().expect_err("slots are 32 bits");
    assert!(matches!(error, ConfigError::TooManyWorkers { max_workers: u32::MAX, shards: 2 }), "{error}");
    let local = Index::builder().shards(0).pin(vec![usize::MAX]).build_local();
    assert!(local.is_ok(), "settings that only threads need do not matter without threads");
    assert!(Index::builder().jump_stride(0).build_local().is_err());
}

#[test]
fn writers_are_pinned_to_cores_that_exist() {
    let error = refused(Index::builder().pin(vec![usize::MAX]));
    let ConfigError::NoSuchCore { core: usize::MAX, cores } = error else { panic!("{error}") };
    let Some(&core) = cores.first() else { return };
    let index = Index::builder().shards(2).pin(vec![core]).build().expect("the core exists");
    assert!(index.status().shards.iter().all(|shard| shard.pinned == Some(core)));
    let unpinned = Index::builder().build().expect("valid settings");
    assert_eq!(unpinned.status().shards[0].pinned, None);
}

/// A writer with a core for itself looks into its mailbox for a while before it sleeps. It misses nothing meanwhile,
/// neither events nor the end.
#[test]
fn a_pinned_writer_that_waits_misses_nothing() {
    let ConfigError::NoSuchCore { cores, .. } = refused(Index::builder().pin(vec![usize::MAX])) else { panic!() };
    let Some(&core) = cores.first() else { return };
    let index = Index::builder().pin(vec![core]).build().expect("the core exists");
    let mut random = fastrand::Rng::with_seed(1);
    for id in 0..300 {
        index.send(stored(Worker::new(7, 0), id, None, &[id])).expect("open");
        // Events come while it looks, when it is about to sleep, and when it sleeps.
        (0..random.u32(..500)).for_each(|_| thread::yield_now());
        if random.bool() {
            index.flush().expect("the writer is alive");
            assert_eq!(index.status().workers[0].held_blocks, id + 1);
        }
    }
    index.shutdown().expect("the writer is alive");
    let mut matches = Matches::new();
    index.find(&[299], &mut matches);
    assert_eq!(matches.depth(Worker::new(7, 0)), 1);
}

#[test]
fn the_state_of_some_workers_is_that_of_all() {
    for shards in [1, 3] {
        let index = Index::builder().shards(shards).build().expect("valid settings");
        for id in 0..20 {
            index.send(stored(Worker::new(id, 0), 1, None, &[id, id + 1])).expect("open");
            index.send(stored(Worker::new(id, 0), 2, Some(99), &[id])).expect("open");
        }
        let asked = [Worker::new(3, 0), Worker::new(99, 0), Worker::new(17, 0)];
        let mut answer = index.status_of(&asked).expect("open");
        answer.sort_unstable_by_key(|of| of.worker);
        let all = index.status().workers;
        let expected = all.iter().filter(|of| asked.contains(&of.worker));
        assert!(expected.map(|of| format!("{of:?}")).eq(answer.iter().map(|of| format!("{of:?}"))));
        let three = &answer[0];
        assert_eq!((answer.len(), three.held_blocks, three.rejected(Rejection::UnknownParent)), (2, 2, 1));
        assert!(index.status_of(&[]).expect("open").is_empty());
        index.shutdown().expect("the writers are alive");
        assert!(index.status_of(&asked).is_err());
    }
}
