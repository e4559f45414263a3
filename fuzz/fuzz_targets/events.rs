//! Applies arbitrary streams of events to the index and to the literal reference: the result of every event, every
//! answer and every count must be the same. The inputs are drawn from few values, so that they collide often.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use kvleap::baseline::reference::Reference;
use kvleap::{Block, Builder, Event, EventData, Index, Matches, Reader, Rejection, Worker, Writer};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    stride: u8,
    positions: Positions,
    workers: Option<u8>,
    seed: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Positions {
    Few(u8),
    /// More than a stride of the prefix hash.
    Some,
    /// More than several strides, so that jumps double.
    Many,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Store {
        by: By,
        parent: Option<u8>,
        sequences: Sequences,
        locals: Vec<Repeat>,
    },
    Remove {
        by: By,
        sequences: Vec<u8>,
    },
    /// Removes blocks from the tail, as caches evict them.
    Evict {
        by: By,
        last: u8,
        count: u8,
    },
    Clear(By),
    RemoveWorker(By),
    /// Adds a worker, or has its copies counted. A bit of the worker's number that means nothing else decides which, so
    /// that recorded inputs keep their meaning.
    AddWorker(By),
    /// Repeats what an earlier event said, for any worker.
    Again {
        by: By,
        number: u8,
    },
    Find(Vec<Repeat>),
    Publish,
    CatchUp,
    /// Replaces the index by a copy that is made from its export.
    Copy {
        seed: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct By {
    worker: u8,
    event_id: u8,
}

/// Sequence hashes of consecutive blocks.
#[derive(Arbitrary, Debug)]
struct Sequences {
    first: u8,
    step: u8,
    /// Whether they are drawn from few values, so that a long event moves blocks that it has just stored.
    few: bool,
}

#[derive(Arbitrary, Debug)]
struct Repeat {
    local: u8,
    times: u8,
}

/// A local hash with which an earlier prefix hash collided, because two of them cancelled each other.
const TWICE: u64 = 1 << 63 | 1 << 31;
const LOCALS: [u64; 12] =
    [0, 1, 2, 1 << 32, 1 << 63, u64::MAX, TWICE, TWICE + 1, TWICE + 2, 1 << 31, 0b1_1011, 0b1_1010];
const MOST_STEPS: usize = 60;
const WATCHED: usize = 4;

fn spell(repeats: &[Repeat]) -> Vec<u64> {
    let one = |r: &Repeat| std::iter::repeat_n(LOCALS[r.local as usize % LOCALS.len()], (r.times / 2).max(1).into());
    repeats.iter().flat_map(one).take(400).collect()
}

/// Returns the event of a step, or `None` if the step is no event. `said` has the data of all earlier events.
fn event(step: &Step, said: &[EventData]) -> Option<Event> {
    let (by, data) = match step {
        Step::Store { by, parent, sequences, locals } => {
            let names = if sequences.few { 32 } else { 512 };
            let name = |i: u64| (u64::from(sequences.first) + i * (1 + u64::from(sequences.step % 3))) % names;
            let blocks = (0..).zip(spell(locals)).map(|(i, local)| Block { sequence: name(i), local }).collect();
            (by, EventData::Stored { parent: parent.map(u64::from), blocks })
        }
        Step::Remove { by, sequences } => {
            (by, EventData::Removed { blocks: sequences.iter().map(|&s| s.into()).collect() })
        }
        Step::Evict { by, last, count } => {
            (by, EventData::Removed { blocks: (last.saturating_sub(*count)..=*last).rev().map(u64::from).collect() })
        }
        Step::Again { by, number } => (by, said.get(*number as usize % said.len().max(1))?.clone()),
        Step::Clear(by) => (by, EventData::Cleared),
        Step::RemoveWorker(by) => (by, EventData::WorkerRemoved),
        Step::AddWorker(by) if by.worker & 8 == 0 => (by, EventData::WorkerAdded),
        Step::AddWorker(by) => (by, EventData::CopiesCounted),
        _ => return None,
    };
    let worker = Worker::new((by.worker % 4).into(), (by.worker / 4 % 2).into());
    Some(Event { worker, id: by.event_id.into(), data })
}

/// The counts that a worker's status should have.
#[derive(Default)]
struct Counts {
    last: Option<u64>,
    gaps: u64,
    missing: u64,
    repeated: u64,
    unknown: u64,
    rejected: [u64; Rejection::ALL.len()],
}

/// The reference, and everything that it does not count itself.
struct Model {
    reference: Reference,
    workers: BTreeMap<Worker, Counts>,
    removed: Vec<Worker>,
    strangers: [u64; Rejection::ALL.len()],
    /// Events applied to the present index. For a copy, this count and the next two start with its import.
    events: u64,
    blocks: u64,
    published: u64,
}

impl Model {
    /// Counts the blocks of a worker, every copy included.
    fn copies(&self, worker: Worker) -> u64 {
        self.reference.held(worker) as u64 + self.reference.extra_copies(worker).unwrap_or(0)
    }

    fn apply(&mut self, event: &Event) -> Result<(), Rejection> {
        let worker = event.worker;
        let before = self.copies(worker);
        let result = self.reference.apply(event);
        let after = self.copies(worker);
        self.events += 1;
        self.blocks += event.data.len() as u64;
        let admitted = !matches!(result, Err(Rejection::WorkerRemoved | Rejection::TooManyWorkers));
        match &event.data {
            EventData::WorkerRemoved => {
                self.workers.remove(&worker);
                self.removed.push(worker);
            }
            EventData::WorkerAdded if admitted => {
                self.workers.entry(worker).or_default();
                self.removed.retain(|w| *w != worker);
            }
            EventData::CopiesCounted if admitted => {
                self.workers.entry(worker).or_default();
            }
            data if admitted => {
                let counts = self.workers.entry(worker).or_default();
                match counts.last.replace(event.id) {
                    Some(last) if event.id <= last => counts.repeated += 1,
                    Some(last) if event.id > last + 1 => {
                        counts.gaps += 1;
                        counts.missing += event.id - last - 1;
                    }
                    _ => {}
                }
                if let EventData::Removed { blocks } = data {
                    counts.unknown += blocks.len() as u64 - (before - after);
                }
            }
            _ => {}
        }
        if let Err(rejection) = result {
            let rejected = self.workers.get_mut(&worker).map_or(&mut self.strangers, |counts| &mut counts.rejected);
            rejected[rejection as usize] += 1;
        }
        result
    }

    fn compare_status(&self, writer: &mut Writer) {
        let (shard, mut workers) = writer.status();
        workers.sort_by_key(|w| w.worker);
        assert!(workers.iter().map(|w| &w.worker).eq(self.workers.keys()));
        let mut held = 0;
        for (status, (worker, counts)) in workers.iter().zip(&self.workers) {
            assert_eq!(status.held_blocks, self.reference.held(*worker) as u64);
            assert_eq!(status.extra_copies, self.reference.extra_copies(*worker));
            assert_eq!(status.left_out_blocks, self.reference.left_out(*worker));
            assert_eq!((status.last_event_id, status.gaps), (counts.last, counts.gaps));
            assert_eq!((status.missing_events, status.repeated_events), (counts.missing, counts.repeated));
            assert_eq!((status.unknown_removals, status.rejected), (counts.unknown, counts.rejected));
            held += status.held_blocks;
        }
        assert_eq!((shard.applied_events, shard.published_events), (self.events, self.published));
        assert_eq!((shard.applied_blocks, shard.rejected_strangers), (self.blocks, self.strangers));
        assert_eq!(shard.held_blocks, held);
        assert!(shard.runs <= shard.indexed_blocks);
        assert!(held > 0 || shard.indexed_blocks == 0, "blocks that no worker holds are freed");
    }
}

/// Looks up `query`, checks the order of the answer, and returns it in the order of the reference.
fn find(reader: &Reader, query: &[u64], matches: &mut Matches) -> Vec<(Worker, u32)> {
    reader.find(query, matches);
    assert!(matches.iter().is_sorted_by(|a, b| a.1 >= b.1), "deepest first");
    let mut answer: Vec<_> = matches.iter().collect();
    assert_eq!(matches.len(), answer.len());
    assert_eq!(matches.best().map(|layer| layer.depth()), answer.first().map(|first| first.1));
    answer.sort_unstable();
    answer
}

/// Builds a copy of an index from its export, and makes the model match it: an export has neither the marks of removed
/// workers nor what was left out.
fn copy(original: &Writer, model: &mut Model, builder: Builder) -> (Writer, Reader) {
    let export = original.export();
    let (mut writer, reader) = builder.build_local().unwrap();
    assert_eq!(writer.import(&export), Ok(()));
    model.reference.forget_left_out();
    model.events = export.len() as u64;
    model.blocks = export.iter().map(|event| event.data.len() as u64).sum();
    model.published = 0;
    model.strangers = Default::default();
    model.workers.values_mut().for_each(|counts| *counts = Counts { last: counts.last, ..Counts::default() });
    for worker in std::mem::take(&mut model.removed) {
        let event = Event { worker, id: 0, data: EventData::WorkerRemoved };
        assert_eq!(writer.apply(&event), model.apply(&event));
    }
    (writer, reader)
}

fuzz_target!(|input: Input| {
    let positions = match input.positions {
        Positions::Few(few) => u32::from(few % 8) + 1,
        Positions::Some => 70,
        Positions::Many => 300,
    };
    let limit = input.workers.map_or(8, |workers| u32::from(workers % 8) + 1);
    let builder = |seed: u8| {
        let stride = u32::from(input.stride % 4) + 1;
        Index::builder().jump_stride(stride).max_positions(positions).max_workers(limit).seed(seed.into())
    };
    let (mut writer, mut reader) = builder(input.seed).build_local().unwrap();
    let mut model = Model {
        reference: Reference::new().max_positions(positions).max_workers(limit),
        workers: BTreeMap::new(),
        removed: Vec::new(),
        strangers: Default::default(),
        events: 0,
        blocks: 0,
        published: 0,
    };
    // Every path that was stored or looked up, and for each worker's sequence hash the path and the length to which it
    // leads.
    let mut paths: Vec<Vec<u64>> = Vec::new();
    let mut spelt: BTreeMap<(Worker, u64), (usize, usize)> = BTreeMap::new();
    // The answers after the last publication, which must not change until the next one.
    let mut visible: Vec<(Vec<u64>, Vec<(Worker, u32)>)> = Vec::new();
    let mut matches = Matches::new();
    let mut said = Vec::new();

    for step in input.steps.iter().take(MOST_STEPS).chain([&Step::Publish]) {
        if let Some(event) = event(step, &said) {
            said.push(event.data.clone());
            let result = model.apply(&event);
            assert_eq!(writer.apply(&event), result, "{event:?}");
            if let (EventData::Stored { parent, blocks }, Ok(())) = (event.data, result) {
                let mut path = parent.map_or(Vec::new(), |p| {
                    let (path, end) = spelt[&(event.worker, p)];
                    paths[path][..end].to_vec()
                });
                for block in blocks {
                    path.push(block.local);
                    spelt.insert((event.worker, block.sequence), (paths.len(), path.len()));
                }
                paths.push(path);
            }
            continue;
        }
        for (query, answer) in &visible {
            assert_eq!(&find(&reader, query, &mut matches), answer, "a snapshot does not change");
        }
        match step {
            Step::Find(query) => paths.push(spell(query)),
            Step::CatchUp => {
                writer.catch_up();
                model.compare_status(&mut writer);
            }
            Step::Publish | Step::Copy { .. } => {
                if let Step::Copy { seed } = step {
                    (writer, reader) = copy(&writer, &mut model, builder(*seed));
                }
                writer.publish();
                model.published = model.events;
                let watched = paths.iter().rev().take(WATCHED);
                visible = watched.map(|path| (path.clone(), model.reference.find(path))).collect();
                for (query, answer) in &visible {
                    assert_eq!(&find(&reader, query, &mut matches), answer, "{query:?}");
                    assert_eq!(matches.watermarks().next().unwrap().events, model.events);
                    let mut incomplete: Vec<_> = matches.incomplete().collect();
                    incomplete.sort_unstable();
                    assert_eq!(incomplete, model.reference.incomplete());
                }
            }
            // An event, which was handled above, or a repetition without an earlier event.
            _ => {}
        }
    }
    model.compare_status(&mut writer);
    paths.sort_unstable();
    paths.dedup();
    for path in &mut paths {
        // One block more, which no worker holds: 3 is not in `LOCALS`.
        path.push(3);
        assert_eq!(find(&reader, path, &mut matches), model.reference.find(path), "{path:?}");
        path.pop();
        assert_eq!(find(&reader, path, &mut matches), model.reference.find(path), "{path:?}");
    }
});
