//! Counts the events of a fleet by time and worker.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::record::{self, BlockChange};
use super::{Cell, Density, TimeUnit};
use crate::event::Worker;
use crate::figures::words::count;
use crate::figures::{FiguresError, Options, Source, Topic};
use crate::mock::{Config, Copies};
use crate::sweep::{Partition, What};

/// The most columns that time is divided into.
const COLUMNS: f64 = 120.0;
/// The built-in workload takes ten virtual minutes.
const REQUESTS: u64 = 6_000;
const REQUESTS_PER_SECOND: u32 = 10;
/// With this many blocks, a cache is full after a minute or two.
const BLOCKS: u32 = 16_384;
/// With this interval, a few of the engines are reset, each once.
const RESET_EVERY_NS: u64 = 120_000_000_000;

pub(in crate::figures) fn collect(options: &Options, progress: &mut dyn FnMut(f64)) -> Result<Density, FiguresError> {
    let name = |path: &std::path::Path| path.file_name().map_or("-".into(), |name| name.to_string_lossy().into_owned());
    let engine = Config { blocks: BLOCKS, copies: Copies::Merged, ..Partition::default().engine };
    let partition = match &options.source {
        Source::BuiltIn => Partition {
            requests: Some(REQUESTS),
            requests_per_second: REQUESTS_PER_SECOND,
            reset_every_ns: Some(RESET_EVERY_NS),
            engine,
            seed: options.seed,
            ..Partition::default()
        },
        Source::Trace(path, trace_block_size) => Partition {
            trace: Some(path.clone()),
            trace_block_size: *trace_block_size,
            engine,
            seed: options.seed,
            ..Partition::default()
        },
        Source::Record(path) => {
            let mut tally = Tally::default();
            let requests = record::read(path, |at, worker, change| tally.count(at as f64, worker, &change))?;
            return tally.finish(name(path), TimeUnit::Requests, requests);
        }
    };
    let schedule = partition.schedule(|done, total| progress(0.9 * done as f64 / total.max(1) as f64))?;
    let source = partition.trace.as_deref().map_or("built-in workload".to_owned(), name);
    let source = format!(
        "{source} on {} simulated engines with {} blocks of {} tokens each",
        schedule.workers,
        count(schedule.blocks_per_worker),
        schedule.block_size
    );
    let mut tally = Tally::default();
    let mut requests = 0;
    for op in schedule.ops {
        match op.what {
            What::Lookup(_) => requests += 1,
            What::Event(event) => tally.count(op.at_ns as f64 / 1e9, event.worker, &BlockChange::of(&event.data)),
        }
    }
    tally.finish(source, TimeUnit::Seconds, requests)
}

/// Counts events by time and worker. Columns are made at the end, when the length is known.
#[derive(Default)]
struct Tally {
    held: HashMap<Worker, HashSet<u64>>,
    counted: Vec<(f64, Worker, Cell)>,
}

impl Tally {
    fn count(&mut self, at: f64, worker: Worker, change: &BlockChange) {
        let held = self.held.entry(worker).or_default();
        let mut cell = Cell::default();
        match change {
            BlockChange::Stored(blocks) => {
                held.extend(blocks);
                cell.stored = blocks.len() as u64;
            }
            BlockChange::Removed(blocks) => {
                for block in blocks {
                    held.remove(block);
                }
                cell.removed = blocks.len() as u64;
            }
            BlockChange::Cleared => cell.cleared = std::mem::take(held).len() as u64,
        }
        self.counted.push((at, worker, cell));
    }

    fn finish(self, source: String, clock: TimeUnit, requests: u64) -> Result<Density, FiguresError> {
        let last = self.counted.iter().map(|counted| counted.0).fold(0.0, f64::max);
        let mut workers: Vec<Worker> = self.held.into_keys().collect();
        workers.sort_unstable();
        let step = round_up(last / COLUMNS);
        let mut cells: BTreeMap<(u32, u32), Cell> = BTreeMap::new();
        for (at, worker, said) in &self.counted {
            let place = ((at / step) as u32, workers.binary_search(worker).unwrap_or(0) as u32);
            let cell = cells.entry(place).or_insert(Cell { column: place.0, worker: place.1, ..Cell::default() });
            cell.stored += said.stored;
            cell.removed += said.removed;
            cell.cleared += said.cleared;
        }
        if cells.values().all(|cell| cell.stored + cell.removed + cell.cleared == 0) {
            return Err(FiguresError::Empty { topic: Topic::Density, what: "no worker stored a block" });
        }
        let workers = workers.into_iter().map(|worker| (worker.id, worker.dp_rank)).collect();
        let events = self.counted.len() as u64;
        Ok(Density { source, clock, step, workers, requests, events, cells: cells.into_values().collect() })
    }
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn round_up(step: f64) -> f64 {
    let decade = 10_f64.powf(step.max(1e-9).log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= step).unwrap_or(10.0);
    factor * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Worker = Worker::new(1, 0);
    const B: Worker = Worker::new(1, 1);

    #[test]
    fn what_is_said_is_counted_once_and_cleared_is_what_was_held() {
        let mut tally = Tally::default();
        tally.count(0.0, B, &BlockChange::Stored(vec![1, 2, 3]));
        tally.count(0.4, B, &BlockChange::Removed(vec![2]));
        tally.count(0.5, A, &BlockChange::Stored(vec![1]));
        tally.count(119.0, B, &BlockChange::Cleared);
        let density = tally.finish("test".to_owned(), TimeUnit::Seconds, 7).unwrap();
        assert_eq!((density.step, density.events, density.totals()), (1.0, 4, [4, 1, 2]));
        assert_eq!(density.workers, [(1, 0), (1, 1)]);
        let cell =
            |column, worker, [stored, removed, cleared]: [u64; 3]| Cell { column, worker, stored, removed, cleared };
        assert_eq!(density.cells, [cell(0, 0, [1, 0, 0]), cell(0, 1, [3, 1, 0]), cell(119, 1, [0, 0, 2])]);
    }

    #[test]
    fn nothing_said_is_no_figure() {
        let nothing = Tally::default().finish("test".to_owned(), TimeUnit::Seconds, 0);
        assert!(matches!(nothing, Err(FiguresError::Empty { topic: Topic::Density, .. })));
    }

    #[test]
    fn steps_are_round() {
        let steps = [0.3, 1.0, 1.1, 2.5, 7.0, 120.0].map(|step| round_up(step).to_string());
        assert_eq!(steps, ["0.5", "1", "2", "5", "10", "200"]);
    }
}
