//! Checks the claim that a lookup takes the same time however many workers are registered, if equally many match.

use std::time::Instant;

use kvleap::{Matches, Reader};

use crate::Scale;
use crate::common::{apply, chain, hash, index, stored};

const FEW: u64 = 64;
const MANY: u64 = 4_096;
/// Workers that match a query.
const SHARED_BY: u64 = 16;
const PROMPTS: u64 = 500;
const DEPTH: u64 = 100;
const ROUNDS: u64 = 101;

/// Builds an index with `workers` workers. Those that match a query are neighbours, or spread over all workers.
fn load(workers: u64, neighbours: bool) -> Reader {
    let (mut writer, reader) = index();
    for worker in 0..workers {
        // A worker's first event registers it.
        apply(&mut writer, [&stored(worker, None, &[hash(1 << 40 | worker)])]);
    }
    let distance = if neighbours { 1 } else { workers / SHARED_BY };
    for prompt in 0..PROMPTS {
        for sharer in 0..SHARED_BY {
            apply(&mut writer, [&stored(sharer * distance, None, &query(prompt))]);
        }
    }
    writer.publish();
    reader
}

fn query(prompt: u64) -> Vec<u64> {
    chain(prompt * DEPTH..(prompt + 1) * DEPTH)
}

/// Looks up all queries and returns the nanoseconds per lookup.
fn time(reader: &Reader, queries: &[Vec<u64>], matches: &mut Matches) -> f64 {
    let start = Instant::now();
    for query in queries {
        reader.find(query, matches);
        assert_eq!(matches.best().map(|layer| u64::from(layer.depth())), Some(DEPTH));
    }
    start.elapsed().as_nanos() as f64 / queries.len() as f64
}

pub(crate) fn measure(scale: Scale) {
    let queries: Vec<_> = (0..PROMPTS).map(query).collect();
    for (kind, neighbours) in [("neighbouring", true), ("spread-out", false)] {
        let (few, many) = (load(FEW, neighbours), load(MANY, neighbours));
        let (mut of_few, mut of_many) = (Matches::new(), Matches::new());
        // The two take turns, so that other load on the machine affects both.
        let mut ratios: Vec<f64> = (0..scale.pick(ROUNDS, 3))
            .map(|_| time(&many, &queries, &mut of_many) / time(&few, &queries, &mut of_few))
            .collect();
        ratios.sort_by(f64::total_cmp);
        assert_eq!((of_few.len() as u64, of_many.len() as u64), (SHARED_BY, SHARED_BY));
        let claim = format!("lookup with {MANY} workers over {FEW}, {SHARED_BY} {kind} ones match");
        scale.report(&claim, ratios[ratios.len() / 2], 1.1, "x");
    }
}
