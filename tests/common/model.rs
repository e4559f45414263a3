//! A model of the service, and what its index holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvleap::service::{Key, Model, Models, Tier};
use kvleap::{EventData, Index, Matches, Worker};

/// Creates an empty model with this block size.
pub(crate) fn model(block_size: u32) -> Arc<Model> {
    Models::new(Index::builder().seed(1), 1).get_or_add(&Key::new("m"), block_size).expect("valid settings")
}

/// Returns what each worker holds, as local hashes by sequence hash. The workers that stand for slower tiers are
/// included.
pub(crate) fn held(model: &Model) -> BTreeMap<Worker, BTreeMap<u64, u64>> {
    let mut held: BTreeMap<Worker, BTreeMap<u64, u64>> = BTreeMap::new();
    for event in model.index().export().expect("the index is there") {
        let of = held.entry(event.worker).or_default();
        match event.data {
            EventData::Stored { blocks, .. } => of.extend(blocks.iter().map(|block| (block.sequence, block.local))),
            EventData::Removed { blocks } => of.retain(|sequence, _| !blocks.contains(sequence)),
            _ => {}
        }
    }
    held.retain(|_, blocks| !blocks.is_empty());
    held
}

/// Returns how many leading blocks of the query a worker has on this tier or a faster one.
pub(crate) fn depth(model: &Model, tier: Tier, worker: Worker, query: &[u64]) -> u32 {
    model.index().flush().expect("the index is there");
    let mut matches = Matches::new();
    model.index().find(query, &mut matches);
    matches.depth(tier.worker(worker))
}
