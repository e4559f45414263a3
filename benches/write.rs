//! Measures how the writer applies one event of 32 blocks: at the end, in the middle or beside what it holds already.

mod common;

use std::time::Instant;

use common::{apply, chain, cleared, index, removed, stored};
use criterion::{Criterion, Throughput, criterion_group};
use kvleap::{Event, Matches, Worker};

/// Blocks of the conversation.
const LONG: u64 = 1_000;
/// Blocks of the timed event.
const TURN: u64 = 32;
/// The worker that holds the conversation.
const HOLDER: u64 = 1;
/// A worker that does not hold the conversation.
const OTHER: u64 = 2;

/// One repetition of an operation: the events that prepare it, and the event that is timed. Afterwards, [`HOLDER`] and
/// [`OTHER`] hold `depths` leading blocks of `query`.
struct Round {
    before: Vec<Event>,
    event: Event,
    query: Vec<u64>,
    depths: [u64; 2],
}

/// Returns blocks that no other round has.
fn fresh(round: u64) -> Vec<u64> {
    let first = (round + 1) << 32;
    chain(first..first + TURN)
}

fn append(round: u64) -> Round {
    let (prompt, answer) = (fresh(2 * round), fresh(2 * round + 1));
    let event = stored(HOLDER, prompt.last().copied(), &answer);
    let before = vec![cleared(HOLDER), stored(HOLDER, None, &prompt)];
    Round { before, event, query: [prompt, answer].concat(), depths: [2 * TURN, 0] }
}

fn join(_: u64) -> Round {
    let query = chain(0..TURN);
    let event = stored(OTHER, None, &query);
    Round { before: vec![cleared(OTHER)], event, query, depths: [TURN, TURN] }
}

fn diverge(round: u64) -> Round {
    let (stem, branch) = (chain(0..LONG / 2), fresh(round));
    let before = round.checked_sub(1).map(|last| removed(HOLDER, &fresh(last)));
    let event = stored(HOLDER, stem.last().copied(), &branch);
    Round { before: before.into_iter().collect(), event, query: [stem, branch].concat(), depths: [LONG / 2 + TURN, 0] }
}

fn remove_tail(_: u64) -> Round {
    let query = chain(0..LONG);
    let (stem, tail) = query.split_at((LONG - TURN) as usize);
    let backwards: Vec<u64> = tail.iter().rev().copied().collect();
    let before = vec![stored(HOLDER, stem.last().copied(), tail)];
    Round { before, event: removed(HOLDER, &backwards), query, depths: [LONG - TURN, 0] }
}

fn remove_middle(_: u64) -> Round {
    let query = chain(0..LONG);
    let (stem, rest) = query.split_at((LONG / 2) as usize);
    let middle = &rest[..TURN as usize];
    let before = vec![stored(HOLDER, stem.last().copied(), middle)];
    Round { before, event: removed(HOLDER, middle), query, depths: [LONG / 2, 0] }
}

fn clear(_: u64) -> Round {
    let query = chain(0..TURN);
    Round { before: vec![stored(OTHER, None, &query)], event: cleared(OTHER), query, depths: [TURN, 0] }
}

/// Makes the round with the given number.
type Operation = fn(u64) -> Round;

fn writes(criterion: &mut Criterion) {
    let operations: [(&str, Operation); 6] = [
        ("append", append),
        ("join", join),
        ("diverge", diverge),
        ("remove_tail", remove_tail),
        ("remove_middle", remove_middle),
        ("clear", clear),
    ];
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(TURN));
    for (name, operation) in operations {
        let (mut writer, reader) = index();
        apply(&mut writer, [&stored(HOLDER, None, &chain(0..LONG))]);
        let mut rounds = (0..).map(operation);
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                let timed = rounds.by_ref().take(iterations as usize).map(|round| {
                    apply(&mut writer, &round.before);
                    let start = Instant::now();
                    let result = writer.apply(&round.event);
                    let time = start.elapsed();
                    assert_eq!(result, Ok(()));
                    time
                });
                timed.sum()
            });
        });
        let Round { before, event, query, depths } = rounds.next().expect("the rounds never end");
        apply(&mut writer, before.iter().chain([&event]));
        writer.publish();
        let mut matches = Matches::new();
        reader.find(&query, &mut matches);
        let found = [HOLDER, OTHER].map(|worker| u64::from(matches.depth(Worker::new(worker, 0))));
        assert_eq!(found, depths, "{name}");
    }
}

criterion_group!(benches, writes);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
