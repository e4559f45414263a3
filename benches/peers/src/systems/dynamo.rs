//! dynamo-kv-router: `ConcurrentRadixTreeCompressed`, its production index, and `PositionalIndexer`.
//!
//! Cost model: asynchronous. Both run behind their own `ThreadPoolIndexer` with one event thread and an unbounded
//! queue, so the time per block is the wall time of two threads that work side by side. Lookups run on the caller's
//! thread, take locks along the path and return a newly allocated map, which is read out here. The harness flushes
//! before a lookup that must see everything.
//!
//! Neither promises exact depths. The compressed tree keeps one cutoff per worker and edge, so a worker that loses a
//! block in the middle also loses the blocks behind it. The positional index compares how many workers hold a position,
//! not which ones. It recomputes sequence hashes, so it needs engines that follow its rule; those of our workloads do.

use std::sync::Arc;

use dynamo_kv_router::indexer::{SyncIndexer, ThreadPoolIndexer};
use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent,
};
use dynamo_kv_router::{ConcurrentRadixTreeCompressed, PositionalIndexer};
use kvleap::{Event, EventData};

use super::{Fleet, Open, Reader, System, Writer};

/// The stride in the example of the crate's documentation.
const JUMP: usize = 32;

pub struct Compressed;
pub struct Positional;

impl System for Compressed {
    type Writer = Feed<ConcurrentRadixTreeCompressed>;
    type Reader = Lookup<ConcurrentRadixTreeCompressed>;

    fn open(fleet: Fleet) -> Open<Self::Writer, Self::Reader> {
        pool(ConcurrentRadixTreeCompressed::new(), fleet)
    }
}

impl System for Positional {
    type Writer = Feed<PositionalIndexer>;
    type Reader = Lookup<PositionalIndexer>;

    fn open(fleet: Fleet) -> Open<Self::Writer, Self::Reader> {
        pool(PositionalIndexer::new(JUMP), fleet)
    }
}

fn pool<T: SyncIndexer>(backend: T, fleet: Fleet) -> Open<Feed<T>, Lookup<T>> {
    let pool = Arc::new(ThreadPoolIndexer::new(backend, 1, fleet.block_size));
    let backend = pool.backend_arc();
    Open { encode: Box::new(encode), writer: Feed(pool), reader: Lookup(backend) }
}

pub struct Feed<T: SyncIndexer>(Arc<ThreadPoolIndexer<T>>);

impl<T: SyncIndexer> Writer for Feed<T> {
    type Event = RouterEvent;

    fn apply(&mut self, event: RouterEvent) {
        self.0.enqueue_event(event).expect("the event thread runs");
    }

    fn flush(&mut self) {
        pollster::block_on(self.0.flush_and_wait()).expect("the event thread runs");
    }
}

fn encode(event: Event) -> RouterEvent {
    let data = match event.data {
        EventData::Stored { parent, blocks } => KvCacheEventData::Stored(KvCacheStoreData {
            parent_hash: parent.map(ExternalSequenceBlockHash),
            start_position: None,
            blocks: blocks
                .iter()
                .map(|block| KvCacheStoredBlockData {
                    block_hash: ExternalSequenceBlockHash(block.sequence),
                    tokens_hash: LocalBlockHash(block.local),
                    mm_extra_info: None,
                })
                .collect(),
        }),
        EventData::Removed { blocks } => KvCacheEventData::Removed(KvCacheRemoveData {
            block_hashes: blocks.into_iter().map(ExternalSequenceBlockHash).collect(),
        }),
        EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded => KvCacheEventData::Cleared,
        EventData::CopiesCounted => unreachable!("no workload counts copies"),
    };
    RouterEvent::new(event.worker.id, KvCacheEvent { event_id: event.id, data, dp_rank: event.worker.dp_rank })
}

pub struct Lookup<T: SyncIndexer>(Arc<T>);

impl<T: SyncIndexer> Reader for Lookup<T> {
    type Query = Vec<LocalBlockHash>;

    fn query(&self, hashes: &[u64]) -> Self::Query {
        hashes.iter().copied().map(LocalBlockHash).collect()
    }

    fn all(&mut self, query: &Self::Query, mut report: impl FnMut(u32, u32)) {
        for (worker, depth) in self.0.find_matches(query, false).scores {
            report(worker.worker_id as u32, depth);
        }
    }
}
