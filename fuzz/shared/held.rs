//! What an index holds, read from its export.

use std::collections::BTreeMap;

use kvleap::service::Model;
use kvleap::{EventData, Worker};

/// By worker of the index, the local hashes on the way to each block that it holds, by sequence hash.
pub type Held = BTreeMap<Worker, BTreeMap<u64, Vec<u64>>>;

pub fn held(model: &Model) -> Held {
    let mut held = Held::new();
    for event in model.index().export().unwrap() {
        let of = held.entry(event.worker).or_default();
        match event.data {
            EventData::Stored { parent, blocks } => {
                let mut path = parent.map_or_else(Vec::new, |parent| of[&parent].clone());
                for block in blocks {
                    path.push(block.local);
                    of.insert(block.sequence, path.clone());
                }
            }
            EventData::Removed { blocks } => blocks.iter().for_each(|hash| drop(of.remove(hash))),
            _ => {}
        }
    }
    held
}
