//! Which shard of an index a worker is in.

use std::collections::HashMap;

use kvleap::{Index, Worker};

/// Finds the shards of workers by what an index of so many shards does with them.
pub(crate) fn shards_of(shards: usize, workers: impl Iterator<Item = Worker>) -> HashMap<Worker, usize> {
    let index = Index::builder().shards(shards).seed(0).build().expect("valid settings");
    let mut events = vec![0; shards];
    let mut shard_of = |worker| {
        // A removal leaves no worker behind, so asking for the status stays cheap.
        index.remove_worker(worker).expect("the index is there");
        let status = index.status();
        let shard = status.shards.iter().position(|shard| shard.applied_events > events[shard.shard]);
        let shard = shard.expect("one shard applies it");
        events[shard] += 1;
        shard
    };
    workers.map(|worker| (worker, shard_of(worker))).collect()
}
