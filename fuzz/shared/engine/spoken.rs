//! Events that an engine sends over HTTP, in JSON.

use arbitrary::Arbitrary;
use kvleap::service::Doubt;
use kvleap::service::ingest::Applied;
use kvleap::service::publisher::Skip;
use serde_json::{Value, json};

use super::Engine;
use super::said::Chain;

/// An event in JSON.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Spoken {
    what: SpokenWhat,
    chain: Chain,
    tier: u8,
    rank: u8,
    id: u8,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum SpokenWhat {
    Store,
    Remove,
    Clear,
}

/// The tier of storage that no instance owns.
const EXTERNAL: u8 = 3;
const TOO_HIGH: u32 = 1 << 28;

impl Spoken {
    fn rank(self) -> u32 {
        if self.rank % 8 == 7 { TOO_HIGH } else { u32::from(self.rank % 3) }
    }

    /// Returns the number of the event behind one with the number before `next`.
    fn number(self, next: u64) -> u64 {
        match self.id % 8 {
            0..5 => next,
            5 => next.saturating_sub(1),
            6 => next + 2,
            _ => next.saturating_sub(3),
        }
    }
}

/// Says an event over HTTP, and notes what is to be expected. Returns it in JSON.
pub fn speak(engine: &mut Engine, said: Spoken, next: &mut u64, applied: &mut Applied) -> Value {
    let (tier, rank, id) = (said.tier % 4, said.rank(), said.number(*next));
    match *next {
        0 if id > 1 => engine.doubt_all(Doubt::JoinedLate),
        0 => {}
        next if id > next || id + 1 < next => engine.doubt_all(Doubt::EventIds),
        _ => {}
    }
    *next = id + 1;
    let named = engine.name(said.chain);
    let data = match said.what {
        SpokenWhat::Store => {
            let blocks = named.hashes.iter().zip(&named.locals);
            let blocks: Vec<_> =
                blocks.map(|(hash, local)| json!({"block_hash": hash, "tokens_hash": local})).collect();
            json!({"stored": {"parent_hash": named.parent, "blocks": blocks}})
        }
        SpokenWhat::Remove => json!({"removed": {"block_hashes": named.hashes}}),
        SpokenWhat::Clear => json!("cleared"),
    };
    let mut event = json!({"worker_id": 9, "event": {"event_id": id, "data": data}});
    if rank > 0 {
        event["event"]["dp_rank"] = rank.into();
    }
    if tier > 0 {
        event["storage_tier"] = ["device", "host_pinned", "disk", "external"][usize::from(tier)].into();
    }
    if rank == TOO_HIGH || tier == EXTERNAL {
        let why = if rank == TOO_HIGH { Skip::Rank } else { Skip::Shared };
        *engine.skipped.entry(why.name()).or_default() += 1;
        applied.skipped += 1;
        if rank == TOO_HIGH {
            engine.doubt_all(Doubt::Rank);
        }
        return event;
    }
    applied.events += 1;
    let (tier, rank) = (usize::from(tier), engine.rank(rank));
    let blocks = named.hashes.len() as u64;
    match said.what {
        SpokenWhat::Store => {
            rank.needs(tier, named.parent);
            named.hashes.iter().for_each(|&hash| rank.take(tier, hash, true));
            (engine.stored, engine.blocks) = (engine.stored + 1, engine.blocks + blocks);
            applied.blocks += blocks;
        }
        SpokenWhat::Remove => {
            named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
            (engine.removed, engine.blocks) = (engine.removed + 1, engine.blocks + blocks);
            applied.blocks += blocks;
        }
        SpokenWhat::Clear => {
            rank.clear();
            engine.cleared += 1;
        }
    }
    event
}
