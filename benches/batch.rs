//! Compares `find_many` with a loop of `find`, in an index far larger than the caches.
//!
//! The queries come in a random order, so that no cache holds what the next one needs. Their paths are those of
//! conversations: a system prompt, a few documents below it, and chats that branch off each other.

mod common;

use common::{apply, chain, hash, index, stored};
use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use kvleap::{Matches, Reader};

/// Queries per iteration.
const BATCH: usize = 64;
const SYSTEM: u64 = 64;
const DOCUMENT: u64 = 96;
const TURN: u64 = 24;
const TURNS: u64 = 4;

/// Returns the blocks of chat number `chat`. Its last turn is its own, the turn before it is shared by two neighbouring
/// chats, the one before that by four, and so on.
fn path(chat: u64) -> Vec<u64> {
    let part = |kind: u64, number: u64, len: u64| {
        let first = (kind << 56) + (number << 16);
        chain(first..first + len)
    };
    let turns = (0..TURNS).map(|turn| part(3 + turn, chat >> (TURNS - 1 - turn), TURN));
    [part(1, 0, SYSTEM), part(2, chat / 64, DOCUMENT)].into_iter().chain(turns).flatten().collect()
}

fn load(chats: u64) -> Reader {
    let (mut writer, reader) = index();
    for chat in 0..chats {
        // The whole path, because an event without its first blocks would have to name their parent. Blocks that the
        // worker already holds change nothing.
        apply(&mut writer, [&stored(chat / 8 % 64, None, &path(chat))]);
        if chat % 256 == 0 {
            writer.publish();
        }
    }
    writer.publish();
    reader
}

fn batches(criterion: &mut Criterion) {
    let testing = std::env::args().any(|argument| argument == "--test");
    let chats: u64 = if testing { 1 << 10 } else { 1 << 18 };
    let reader = load(chats);
    let depth = (SYSTEM + DOCUMENT + TURN * TURNS) as u32;
    // Draws the queries of a batch. Each ends with a block that no worker holds.
    let mut number = 0;
    let mut draw = || -> Vec<Vec<u64>> {
        let mut query = || {
            number += 1;
            path(hash(number) % chats).into_iter().chain([hash(1 << 63 | number)]).collect()
        };
        (0..BATCH).map(|_| query()).collect()
    };
    let check = |matches: &Matches| assert_eq!(matches.best().map(|layer| layer.depth()), Some(depth));

    let mut group = criterion.benchmark_group("cold");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("loop", |bench| {
        let mut matches = Matches::new();
        bench.iter_batched_ref(
            &mut draw,
            |queries| {
                for query in queries {
                    reader.find(query, &mut matches);
                    check(&matches);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("find_many", |bench| {
        let mut room = Vec::new();
        bench.iter_batched_ref(
            &mut draw,
            |queries| reader.find_many(queries, &mut room).iter().for_each(check),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, batches);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
