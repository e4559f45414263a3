//! Measures one lookup in an index that fits into the caches, by the depth of the query and by the number of workers
//! that share it.

mod common;

use common::{apply, chain, index, stored};
use criterion::{Criterion, criterion_group};
use kvleap::{Matches, Reader};

/// Times the lookup of `query`, of which `workers` workers hold `depth` leading blocks.
fn lookup(criterion: &mut Criterion, id: &str, reader: &Reader, query: &[u64], workers: usize, depth: u64) {
    let mut matches = Matches::new();
    criterion.bench_function(&format!("lookup/{id}"), |bench| bench.iter(|| reader.find(query, &mut matches)));
    assert_eq!(matches.len(), workers);
    assert_eq!(matches.best().map_or(0, |layer| u64::from(layer.depth())), depth);
}

fn by_depth(criterion: &mut Criterion) {
    for depth in [10, 100, 1_000, 10_000] {
        let (mut writer, reader) = index();
        let held = chain(0..depth);
        let strange = chain(1 << 32..(1 << 32) + depth);
        apply(&mut writer, [&stored(1, None, &held)]);
        writer.publish();
        let half = (depth / 2) as usize;
        let partial = [&held[..half], &strange[half..]].concat();
        lookup(criterion, &format!("hit/{depth}"), &reader, &held, 1, depth);
        lookup(criterion, &format!("miss/{depth}"), &reader, &strange, 0, 0);
        lookup(criterion, &format!("partial/{depth}"), &reader, &partial, 1, depth / 2);
    }
}

fn by_workers(criterion: &mut Criterion) {
    for workers in [1, 64, 1_000] {
        let (mut writer, reader) = index();
        let shared = chain(0..100);
        for worker in 0..workers {
            apply(&mut writer, [&stored(worker, None, &shared)]);
        }
        writer.publish();
        lookup(criterion, &format!("shared_by/{workers}"), &reader, &shared, workers as usize, 100);
    }
}

criterion_group!(benches, by_depth, by_workers);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
