//! What the benches share: an allocator like a server's, and workers that store chains of blocks.
#![allow(dead_code, reason = "every bench uses its own part")]

use kvleap::{Block, Event, EventData, Index, Reader, Worker, Writer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An index without a thread, the same in every run.
pub(crate) fn index() -> (Writer, Reader) {
    Index::builder().seed(1).build_local().expect("valid settings")
}

/// Numbers as well spread as hashes, without a collision (`SplitMix64`).
pub(crate) fn hash(number: u64) -> u64 {
    let x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes of consecutive numbers: the blocks of a sequence, told apart from those of every other range.
pub(crate) fn chain(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.map(hash).collect()
}

pub(crate) fn event(worker: u64, data: EventData) -> Event {
    Event { worker: Worker::new(worker, 0), id: 0, data }
}

/// The worker stores these blocks, each under one name for both hashes.
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

/// Applies events that fit.
pub(crate) fn apply<'a>(writer: &mut Writer, events: impl IntoIterator<Item = &'a Event>) {
    for event in events {
        writer.apply(event).expect("fits");
    }
}
