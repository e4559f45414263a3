//! Measures one publication, by the number of runs that changed since the last one.

mod common;

use std::time::Instant;

use common::{apply, chain, cleared, index, removed, stored};
use criterion::{Criterion, criterion_group};
use kvleap::Matches;

const RUNS: u64 = 20_000;
const LEN: u64 = 8;

fn run(number: u64) -> Vec<u64> {
    chain(number * LEN..(number + 1) * LEN)
}

fn publications(criterion: &mut Criterion) {
    let (mut writer, reader) = index();
    for number in 0..RUNS {
        apply(&mut writer, [&stored(1, None, &run(number))]);
    }
    writer.publish();
    let mut matches = Matches::new();
    for dirty in [0, 1, 100, 10_000] {
        // A second worker stores the blocks of `dirty` runs in one iteration and removes them in the next.
        let mut came = false;
        criterion.bench_function(&format!("publish/{dirty}"), |bench| {
            bench.iter_custom(|iterations| {
                let timed = (0..iterations).map(|_| {
                    came = !came;
                    for number in 0..dirty {
                        let blocks = run(number);
                        let change = if came { stored(2, None, &blocks) } else { removed(2, &blocks) };
                        apply(&mut writer, [&change]);
                    }
                    let start = Instant::now();
                    writer.publish();
                    start.elapsed()
                });
                timed.sum()
            });
        });
        for number in [0, dirty / 2, dirty, RUNS - 1] {
            reader.find(&run(number), &mut matches);
            assert_eq!(matches.len(), if came && number < dirty { 2 } else { 1 }, "run {number} of {dirty}");
        }
        apply(&mut writer, [&cleared(2)]);
        writer.publish();
    }
}

criterion_group!(benches, publications);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
