//! Code that the benches share: a server's allocator, and events of workers that store chains of blocks.
#![allow(dead_code, reason = "each bench uses only a part")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what is measured is for a terminal")]

pub(crate) mod cores;
pub(crate) mod pinned;

use kvleap::{Block, Event, EventData, Index, Reader, Worker, Writer};

// CI builds the bench `instructions` without it: with mimalloc, counts differ a little between runs.
#[cfg(feature = "command")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Builds an index without a writer thread, with a fixed seed so that all runs are alike.
pub(crate) fn index() -> (Writer, Reader) {
    Index::builder().seed(1).build_local().expect("valid settings")
}

/// Hashes a number with `SplitMix64`, which has no collisions.
pub(crate) fn hash(number: u64) -> u64 {
    let x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Returns the hashes of consecutive numbers, as the blocks of a sequence. Disjoint ranges share no block.
pub(crate) fn chain(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.map(hash).collect()
}

pub(crate) fn event(worker: u64, data: EventData) -> Event {
    Event { worker: Worker::new(worker, 0), id: 0, data }
}

/// Returns the event of a worker that stores these blocks. A block's local and sequence hash are the same number.
pub(crate) fn stored(worker: u64, parent: Option<u64>, hashes: &[u64]) -> Event {
    let blocks = hashes.iter().map(|&hash| Block { sequence: hash, local: hash }).collect();
    event(worker, EventData::Stored { parent, blocks })
}

pub(crate) fn removed(worker: u64, hashes: &[u64]) -> Event {
    event(worker, EventData::Removed { blocks: hashes.to_vec() })
}

pub(crate) fn cleared(worker: u64) -> Event {
    event(worker, EventData::Cleared)
}

/// Applies events, all of which must be valid.
pub(crate) fn apply<'a>(writer: &mut Writer, events: impl IntoIterator<Item = &'a Event>) {
    for event in events {
        writer.apply(event).expect("a valid event");
    }
}
