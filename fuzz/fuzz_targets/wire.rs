//! What an engine says, in msgpack and as Dynamo's JSON, and what the index then holds of it. The judge is an engine
//! that knows its own blocks: every rank and tier must have exactly these, or the doubt or counter that says why not.
//!
//! Then the same bytes come with some of them overwritten, and arbitrary ones. They must neither panic nor allocate
//! more than the bound, and every batch must be counted.
//!
//! Left out, because nothing is promised of it: how often removals of unknown blocks are counted; in which way blocks
//! are hashed once an engine's way of hashing has changed; several publishers of one worker.
#![no_main]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arbitrary::Arbitrary;
use kvleap::service::ingest::{Applied, DynamoEvent, apply, dynamo_events};
use kvleap::service::publisher::{Copies, Count, Publisher, Skip};
use kvleap::service::wire::{self, MAX_EXPANSION};
use kvleap::service::{Doubt, Key, Model, Models, Tier};
use kvleap::{Index, Matches, Worker};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

use engine::{Batch, Engine, Setup, Spoken, speak};
use held::{Held, held};

#[path = "../shared/engine/mod.rs"]
mod engine;
#[path = "../shared/held.rs"]
mod held;

#[derive(Arbitrary, Debug)]
struct Input {
    setup: Setup,
    /// Whether the engine is registered as rank 3, so that it cannot speak for others.
    third: bool,
    single: bool,
    batches: Vec<Batch>,
    spoken: Vec<Spoken>,
    noise: Vec<(u8, u16, u8)>,
    bytes: Vec<u8>,
}

/// Compares a publisher, and what the index holds of its workers, with the engine.
fn judge(model: &Model, publisher: &Publisher, engine: &Engine, held: &Held) {
    for (count, expected) in [
        (Count::Stored, engine.stored),
        (Count::Removed, engine.removed),
        (Count::Cleared, engine.cleared),
        (Count::Blocks, engine.blocks),
        (Count::Undecodable, engine.undecodable),
        (Count::Contradictions, engine.contradictions),
    ] {
        assert_eq!(publisher.count(count), expected, "{}", count.name());
    }
    for why in Skip::ALL.into_iter().filter(|&why| why != Skip::UnknownHash) {
        assert_eq!(publisher.skipped(why), engine.skipped.get(why.name()).copied().unwrap_or(0), "{}", why.name());
    }
    let instance = publisher.worker().id;
    let workers = engine.ranks.keys().map(|&rank| Worker::new(instance, rank));
    let named = if engine.ranks.is_empty() { vec![publisher.worker()] } else { workers.collect() };
    assert_eq!(publisher.workers(), named);

    let doubted = model.doubts();
    let mut matches = Matches::new();
    for (&number, rank) in &engine.ranks {
        let worker = Worker::new(instance, number);
        let doubts = doubted.iter().filter(|(other, _)| *other == worker).flat_map(|(_, doubts)| doubts.iter());
        // There is no listener.
        let doubts: BTreeSet<Doubt> = doubts.filter(|&doubt| doubt != Doubt::NotHeard).collect();
        rank.judge_doubts(&doubts);
        let mut blocks = BTreeMap::new();
        for tier in Tier::ALL {
            // A tier that was never used has no worker; it would hold what faster ones do.
            let used = held.get(&tier.worker(worker));
            blocks = used.cloned().unwrap_or(blocks);
            for (hash, path) in &blocks {
                assert_eq!(Some(path), engine.paths.get(hash), "the tokens of {hash}");
            }
            rank.judge_held(tier as usize, &blocks.keys().copied().collect(), &doubts);
            let Some((hash, path)) = used.and_then(|blocks| blocks.iter().max_by_key(|(_, path)| path.len())) else {
                continue;
            };
            model.index().find(path, &mut matches);
            let prefixes: BTreeSet<&[u64]> = blocks.values().map(Vec::as_slice).collect();
            let depth = (1..=path.len()).take_while(|&depth| prefixes.contains(&path[..depth])).count();
            assert_eq!(matches.depth(tier.worker(worker)), depth as u32, "the query that leads to {hash}");
        }
    }
}

/// Reads bytes that may be anything.
fn bear(model: &Model, publisher: &Publisher, number: u64, bytes: &[u8]) {
    if let Ok(batch) = wire::Batch::decode(bytes) {
        assert!(batch.bytes() <= MAX_EXPANSION * (bytes.len() + 4));
    }
    apply(model, publisher, number, bytes).unwrap();
}

thread_local! {
    /// A model, which inputs use one after another, and how often it was used.
    static MODEL: RefCell<Option<(Arc<Model>, u32)>> = const { RefCell::new(None) };
}

/// The model has a bounded number of workers that were named once.
const MOST_USES: u32 = 400;

fn model() -> Arc<Model> {
    MODEL.with_borrow_mut(|kept| {
        if let Some((model, uses)) = kept
            && *uses < MOST_USES
        {
            *uses += 1;
            return Arc::clone(model);
        }
        let models = Models::new(Index::builder().seed(1), 1);
        let model = models.get_or_add(&Key::new("m"), engine::BLOCK_SIZE as u32).unwrap();
        if let Some((old, _)) = kept.replace((Arc::clone(&model), 0)) {
            old.index().shutdown().unwrap();
        }
        model
    })
}

fuzz_target!(|input: Input| {
    let model = model();
    let worker = if input.third { Worker::new(8, 3) } else { Worker::new(7, 0) };
    let copies = if input.single { Copies::Single } else { Copies::Counted };
    let new = |worker| Arc::new(Publisher::zmq(worker, "tcp://127.0.0.1:5557").copies(copies));
    let (publisher, noisy) = (new(worker), new(Worker::new(6, 0)));
    let http = Arc::new(Publisher::http(Worker::new(9, 0)));
    [&publisher, &noisy, &http].into_iter().for_each(|publisher| model.publishers().put(publisher));

    let mut engine = Engine::new(input.setup, worker.dp_rank, input.single);
    let said: Vec<_> = input.batches.iter().take(20).map(|batch| engine.say(batch)).collect();
    for (number, bytes) in (0..).zip(&said) {
        bear(&model, &publisher, number, bytes);
    }
    assert_eq!(publisher.count(Count::Batches), said.len() as u64);

    let mut speaker = Engine::new(input.setup, 0, true);
    let (mut next, mut applied) = (0, Applied::default());
    let spoken = input.spoken.iter().take(40).map(|&said| speak(&mut speaker, said, &mut next, &mut applied));
    let text = Value::from(spoken.collect::<Vec<_>>()).to_string();
    let events: Vec<DynamoEvent> = serde_json::from_str(&text).unwrap();
    assert_eq!(dynamo_events(&model, &http, &events), Ok(applied));

    model.index().flush().unwrap();
    let found = held(&model);
    judge(&model, &publisher, &engine, &found);
    judge(&model, &http, &speaker, &found);

    let mut noise = said;
    for &(batch, place, byte) in &input.noise {
        let batches = noise.len().max(1);
        if let Some(there) = noise.get_mut(usize::from(batch) % batches).and_then(|it| it.get_mut(usize::from(place))) {
            *there = byte;
        }
    }
    if !input.noise.is_empty() || !input.bytes.is_empty() {
        noise.push(input.bytes);
        for (number, bytes) in (0..).zip(&noise) {
            bear(&model, &noisy, number, bytes);
        }
        assert_eq!(noisy.count(Count::Batches), noise.len() as u64);
    }
    let workers: BTreeSet<_> = model.index().export().unwrap().iter().map(|event| event.worker).collect();
    workers.into_iter().for_each(|worker| model.index().remove_worker(worker).unwrap());
});
