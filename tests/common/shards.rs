//! Which shard of an index a worker is in.

use std::collections::HashMap;

use kvleap::{Index, Worker};

/// Finds the shards of workers in an index of so many shards. An export lists the workers of one shard after those of
/// another, and the status says how many each of them has.
pub(crate) fn shards_of(shards: usize, workers: impl Iterator<Item = Worker>) -> HashMap<Worker, usize> {
    let index = Index::builder().shards(shards).seed(0).build().expect("valid settings");
    workers.for_each(|worker| index.add_worker(worker).expect("the index is there"));
    let mut added = index.export().expect("the index is there").into_iter().map(|event| event.worker);
    let status = index.status().shards;
    let mut places = HashMap::new();
    for shard in status {
        places.extend(added.by_ref().take(shard.applied_events as usize).map(|worker| (worker, shard.shard)));
    }
    places
}
