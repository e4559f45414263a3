//! Making schedules from requests, and saving and loading them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use kvleap::baseline::reference::Reference;
use kvleap::mock::{Config, Rates};
use kvleap::sweep::{Op, Partition, PartitionError, Schedule, ScheduleError, What};
use kvleap::{Block, Event, EventData, Worker};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::common::scratch::Scratch;
use crate::common::shared::shared;

const ROWS: &str = r#"{"timestamp": 7, "input_length": 1100, "output_length": 40, "hash_ids": [0, 1, 2]}
{"timestamp": 7, "input_length": 1536, "output_length": 600, "hash_ids": [0, 1, 3]}
{"timestamp": 9, "input_length": 512, "output_length": 1, "hash_ids": [4]}
"#;

/// Returns the built-in workload, small enough for a debug build and large enough to overflow the caches.
fn generated() -> Partition {
    let engine = Config { block_size: 64, blocks: 512, ..Partition::default().engine };
    Partition { requests: Some(200), workers: 4, engine, ..Partition::default() }
}

fn of_trace(path: &Path) -> Partition {
    let engine = Config { block_size: 256, blocks: 16, ..Partition::default().engine };
    Partition { trace: Some(path.to_owned()), workers: 2, engine, ..Partition::default() }
}

fn schedule(partition: &Partition) -> Schedule {
    partition.schedule(|_, _| {}).expect("a sensible partition")
}

fn lookups(schedule: &Schedule) -> Vec<(u64, &[u64])> {
    let lookups = schedule.ops.iter().filter_map(|op| match &op.what {
        What::Lookup(prompt) => Some((op.at_ns, &prompt[..])),
        What::Event(_) => None,
    });
    lookups.collect()
}

fn events(schedule: &Schedule) -> impl Iterator<Item = &Event> {
    schedule.ops.iter().filter_map(|op| match &op.what {
        What::Event(event) => Some(event),
        What::Lookup(_) => None,
    })
}

/// Asserts that operations are in order, that no worker's event numbers have a gap, and that the reference accepts
/// every event.
fn assert_sound(schedule: &Schedule) {
    assert!(schedule.ops.is_sorted_by_key(|op| op.at_ns));
    assert!(schedule.ops.last().is_none_or(|last| last.at_ns <= schedule.length_ns));
    let mut reference = Reference::new();
    let mut last: BTreeMap<Worker, u64> = BTreeMap::new();
    let mut blocks = 0;
    for op in &schedule.ops {
        match &op.what {
            What::Lookup(prompt) => blocks += prompt.len() as u64,
            What::Event(event) => {
                blocks += event.data.len() as u64;
                let last = last.entry(event.worker).or_default();
                *last += 1;
                assert_eq!(event.id, *last);
                assert!(event.worker.id < schedule.workers.into());
                assert_eq!(reference.apply(event), Ok(()), "{event:?}");
            }
        }
    }
    assert_eq!(schedule.block_operations(), blocks);
    assert_eq!(schedule.operations(), schedule.ops.len() as u64);
}

#[test]
fn the_built_in_workload_is_spread_over_all_workers_and_depends_on_the_seed() {
    let mut calls = Vec::new();
    let first = generated().schedule(|done, total| calls.push((done, total))).unwrap();
    assert!(calls.into_iter().eq((1..=200).map(|done| (done, 200))));
    assert_sound(&first);
    assert_eq!(lookups(&first).len(), 200);
    assert_eq!(events(&first).map(|event| event.worker).collect::<HashSet<_>>().len(), 4);
    assert!(events(&first).any(|event| matches!(event.data, EventData::Removed { .. })), "the caches overflow");
    assert_eq!(schedule(&generated()), first);
    assert_ne!(schedule(&Partition { seed: 1, ..generated() }), first);
}

#[test]
fn rows_arrive_at_their_times_and_their_blocks_are_stored_once_computed() {
    let scratch = Scratch::new("rows");
    let partition = Partition { workers: 1, ..of_trace(&scratch.file_path("t.jsonl", ROWS)) };
    let schedule = schedule(&partition);
    assert_sound(&schedule);
    let asked = lookups(&schedule);
    assert_eq!(
        asked.iter().map(|&(at, prompt)| (at, prompt.len())).collect::<Vec<_>>(),
        [(0, 4), (0, 6), (2_000_000, 2)]
    );
    assert_eq!(asked[0].1[..4], asked[1].1[..4], "the first two trace blocks are shared");
    let stored = |event: &Event| if let EventData::Stored { blocks, .. } = &event.data { blocks.len() } else { 0 };
    // Four blocks of the first prompt, two more of the second, two of its answer, and two of the third prompt.
    assert_eq!(events(&schedule).map(stored).sum::<usize>(), 4 + 2 + 2 + 2);
    assert!(matches!(schedule.ops[..2], [Op { at_ns: 0, .. }, Op { at_ns: 0, .. }]));
}

#[test]
fn lengths_are_multiplied_and_copies_share_nothing() {
    let scratch = Scratch::new("factors");
    let path = scratch.file_path("t.jsonl", ROWS);
    for base in [generated(), Partition { engine: Config { blocks: 64, ..of_trace(&path).engine }, ..of_trace(&path) }]
    {
        let base = Partition { requests: Some(3), engine: Config { blocks: 4096, ..base.engine.clone() }, ..base };
        let once = schedule(&base);
        let long = schedule(&Partition { length_factor: 3, ..base.clone() });
        let twice = schedule(&Partition { length_factor: 3, duplication_factor: 2, ..base });
        for schedule in [&once, &long, &twice] {
            assert_sound(schedule);
        }
        let (once, long, twice) = (lookups(&once), lookups(&long), lookups(&twice));
        assert_eq!((once.len(), long.len(), twice.len()), (3, 3, 6));
        for (short, long) in once.iter().zip(&long) {
            assert_eq!((short.0, 3 * short.1.len()), (long.0, long.1.len()));
            assert!(long.1.iter().step_by(3).eq(short.1));
        }
        // The parts of a lengthened block occur nowhere else.
        let distinct =
            |lookups: &[(u64, &[u64])]| lookups.iter().flat_map(|lookup| lookup.1).collect::<HashSet<_>>().len();
        assert_eq!(distinct(&long), 3 * distinct(&once));
        // Requests share prefixes if and only if they did before.
        let shared = |one: &[u64], other: &[u64]| one.iter().zip(other).take_while(|(one, other)| one == other).count();
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            assert_eq!(shared(long[i].1, long[j].1), 3 * shared(once[i].1, once[j].1));
        }
        let (even, odd): (Vec<_>, Vec<_>) = twice.iter().enumerate().partition(|(number, _)| number % 2 == 0);
        assert!(even.iter().map(|(_, lookup)| *lookup).eq(&long));
        let blocks = |part: Vec<(usize, &(u64, &[u64]))>| -> HashSet<u64> {
            part.into_iter().flat_map(|(_, lookup)| lookup.1.to_vec()).collect()
        };
        let (even, odd) = (blocks(even), blocks(odd));
        assert!(even.is_disjoint(&odd));
        assert_eq!(even.len(), odd.len());
    }
}

#[test]
fn bad_input_is_refused_before_anything_runs() {
    let scratch = Scratch::new("bad");
    let refusal = |partition: &Partition| {
        let refused = partition.schedule(|_, _| panic!("nothing may run"));
        refused.expect_err("bad input")
    };
    let with = |text: &str| of_trace(&scratch.file_path("t.jsonl", text));
    let good = with(ROWS);

    let text = refusal(&with(&ROWS.replace("\"timestamp\": 9", "\"timestamp\": 6"))).to_string();
    assert!(text.contains("t.jsonl:3: the request arrives at 6 ms, before") && text.contains("sort"), "{text}");
    let error = refusal(&with(&ROWS.replace("[0, 1, 3]", "[0, 5, 2]")));
    assert!(matches!(error, PartitionError::TwoParents { line: 2, id: 2, parents: [Some(1), Some(5)], .. }), "{error}");
    let error = refusal(&with(&ROWS.replace("[4]", "[1]")));
    assert!(matches!(error, PartitionError::TwoParents { line: 3, id: 1, parents: [Some(0), None], .. }), "{error}");
    let error = refusal(&with(&ROWS.replace("[0, 1, 3]", "[0]")));
    assert!(error.to_string().contains("t.jsonl:2: 1 ids are too few"), "{error}");
    assert!(matches!(refusal(&with("not a trace")), PartitionError::Trace(_)));

    let engine = |change: fn(&mut Config)| {
        let mut partition = with(ROWS);
        change(&mut partition.engine);
        partition
    };
    let error = refusal(&engine(|engine| engine.blocks = 8));
    // The second request has 1536 + 599 tokens, which take nine blocks of 256.
    assert!(matches!(error, PartitionError::TooLong { request: 2, blocks: 9, capacity: 8 }), "{error}");
    assert!(schedule(&engine(|engine| engine.blocks = 9)).operations() > 3);
    assert!(matches!(refusal(&engine(|engine| engine.block_size = 100)), PartitionError::BlockSizes(_)));
    assert!(matches!(refusal(&engine(|engine| engine.block_size = 0)), PartitionError::Engine(_)));
    assert!(matches!(refusal(&engine(|engine| engine.blocks = 0)), PartitionError::Engine(_)));
    let error = refusal(&Partition { length_factor: u32::MAX, ..good.clone() });
    assert!(matches!(error, PartitionError::TooLong { request: 1, .. }), "{error}");

    for (option, partition) in [
        ("workers", Partition { workers: 0, ..good.clone() }),
        ("length-factor", Partition { length_factor: 0, ..good.clone() }),
        ("duplication-factor", Partition { duplication_factor: 0, ..good.clone() }),
        ("requests", Partition { requests: Some(0), ..good.clone() }),
        ("trace-block-size", Partition { trace_block_size: 0, ..good.clone() }),
        ("requests-per-second", Partition { requests_per_second: 0, ..good.clone() }),
    ] {
        let error = refusal(&partition);
        assert!(matches!(error, PartitionError::Zero { option: named } if named == option), "{option}: {error}");
    }
    let error = refusal(&Partition { workers: u32::MAX, ..good.clone() });
    assert!(matches!(error, PartitionError::TooManyWorkers { .. }), "{error}");

    // A worker that takes one request per second refuses the second request, which is only known while it runs.
    let rates = Rates { requests_per_second: Some(1.0), ..Rates::default() };
    let strict = Partition { workers: 1, engine: Config { rates, ..good.engine.clone() }, ..good };
    let error = strict.schedule(|_, _| {}).expect_err("a refusal");
    assert!(matches!(error, PartitionError::Refused { request: 2, .. }), "{error}");
}

#[test]
fn published_traces_are_partitioned() {
    let traces = [("conversation_trace.jsonl", 512), ("mooncake_trace_1000.jsonl", 512), ("agentic_dev.jsonl.gz", 64)];
    for (name, block_size) in traces {
        let Some(path) = shared(&format!("traces/{name}")) else { continue };
        let engine = Config { block_size, blocks: 16_384, ..Partition::default().engine };
        let partition = Partition { trace: Some(path), trace_block_size: block_size, engine, ..Partition::default() };
        let schedule = schedule(&Partition { requests: Some(500), ..partition });
        assert_eq!(lookups(&schedule).len(), 500);
        assert_sound(&schedule);
    }
}

fn hashes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..20)
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let block = (any::<u64>(), any::<u64>()).prop_map(|(sequence, local)| Block { sequence, local });
    let data = prop_oneof![
        (any::<Option<u64>>(), prop::collection::vec(block, 0..20))
            .prop_map(|(parent, blocks)| EventData::Stored { parent, blocks }),
        hashes().prop_map(|blocks| EventData::Removed { blocks }),
        Just(EventData::Cleared),
        Just(EventData::WorkerRemoved),
        Just(EventData::WorkerAdded),
        Just(EventData::CopiesCounted),
    ];
    let event = (any::<u64>(), any::<u32>(), any::<u64>(), data).prop_map(|(worker, rank, id, data)| Event {
        worker: Worker::new(worker, rank),
        id,
        data,
    });
    let what = prop_oneof![hashes().prop_map(|prompt| What::Lookup(prompt.into())), event.prop_map(What::Event),];
    let ops = prop::collection::vec((any::<u64>(), what), 0..30);
    (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), ops).prop_map(
        |(block_size, workers, blocks_per_worker, length_ns, ops)| {
            let mut ops: Vec<Op> = ops.into_iter().map(|(at_ns, what)| Op { at_ns, what }).collect();
            ops.sort_by_key(|op| op.at_ns);
            Schedule { block_size, workers, blocks_per_worker, length_ns, ops }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    #[test]
    fn a_saved_schedule_is_loaded_and_damage_is_noticed(
        schedule in any_schedule(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1..=u8::MAX), 20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 20),
    ) {
        let scratch = Scratch::new("saved");
        let path = scratch.0.join("schedule");
        schedule.save(&path).unwrap();
        prop_assert_eq!(scratch.names(), ["schedule"]);
        prop_assert_eq!(&Schedule::load(&path).unwrap(), &schedule);

        let whole = fs::read(&path).unwrap();
        for cut in cuts {
            fs::write(&path, &whole[..cut.index(whole.len())]).unwrap();
            prop_assert!(Schedule::load(&path).is_err());
        }
        for (at, flip) in damage {
            let mut bytes = whole.clone();
            bytes[at.index(whole.len())] ^= flip;
            fs::write(&path, &bytes).unwrap();
            // Some changes do no harm. A larger decoding window, for one, gives the same content.
            prop_assert!(Schedule::load(&path).map_or(true, |loaded| loaded == schedule));
        }
        fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
        prop_assert!(Schedule::load(&path).is_err(), "nothing may follow");
    }
}

#[test]
fn files_that_are_not_schedules_are_refused_with_the_reason() {
    let scratch = Scratch::new("files");
    let path = scratch.0.join("schedule");
    schedule(&generated()).save(&path).unwrap();
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Schedule::load(&path).expect_err("a bad file")
    };
    let whole = fs::read(&path).unwrap();
    let mut newer = whole.clone();
    newer[8] = 9;
    let error = refusal(&newer);
    assert!(matches!(error, ScheduleError::Version { found: 9, .. }), "{error}");
    assert!(error.to_string().contains("version 9") && error.to_string().contains("schedule: "), "{error}");
    assert!(matches!(refusal(b"kvleap"), ScheduleError::NotASchedule { .. }));
    assert!(matches!(refusal(ROWS.as_bytes()), ScheduleError::NotASchedule { .. }));
    let error = refusal(&whole[..whole.len() / 2]);
    assert!(matches!(error, ScheduleError::Damaged { .. }), "{error}");
    assert!(matches!(Schedule::load(scratch.0.join("missing")), Err(ScheduleError::File { .. })));

    let earlier = Op { at_ns: 0, what: What::Lookup([].into()) };
    let later = Op { at_ns: 1, ..earlier.clone() };
    let unsorted =
        Schedule { block_size: 1, workers: 1, blocks_per_worker: 1, length_ns: 1, ops: vec![later, earlier] };
    assert!(unsorted.save(scratch.0.join("unsorted")).is_err());
    assert!(unsorted.save(scratch.0.join("missing/schedule")).is_err());
    assert_eq!(scratch.names(), ["schedule"], "nothing else is left");
}
