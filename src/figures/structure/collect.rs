//! Fills a small index with the events of a few simulated engines that serve a few conversations.

use super::Structure;
use super::tree::tree;
use crate::event::{Event, Worker};
use crate::figures::{FiguresError, Options, Topic};
use crate::hash::hash_pair;
use crate::index::Builder;
use crate::mock::{Config, Copies, Engine, Request};

const WORKERS: u32 = 4;
const BLOCK_SIZE: u32 = 256;
/// So few that the last worker must evict.
const BLOCKS: u32 = 16;

/// Turns of conversations, in order: the worker that serves each, and its texts with the position at which each ends.
/// Equal beginnings are shared system prompts and earlier turns.
const TURNS: [(usize, &[(u64, u64)]); 10] = [
    (0, &[(1, 4), (10, 6)]),
    (3, &[(1, 4), (20, 7)]),
    (1, &[(2, 3), (30, 5)]),
    (1, &[(1, 4), (10, 9)]),
    (0, &[(1, 4), (20, 10)]),
    (2, &[(2, 3), (30, 8)]),
    (2, &[(1, 4), (10, 6), (11, 8)]),
    (3, &[(2, 3), (30, 11)]),
    (1, &[(2, 3), (30, 5), (31, 7)]),
    (2, &[(1, 4), (10, 12)]),
];

pub(in crate::figures) fn collect(options: &Options) -> Result<Structure, FiguresError> {
    let config = Config { block_size: BLOCK_SIZE, blocks: BLOCKS, copies: Copies::Merged, ..Config::default() };
    let engine = |id: u32| Engine::new(Worker::new(id.into(), 0), config.clone()).expect("the settings are in range");
    let mut engines: Vec<Engine> = (0..WORKERS).map(engine).collect();
    let mut said: Vec<Event> = Vec::new();
    for (worker, texts) in TURNS {
        let text = |at: u64| texts.iter().find(|text| at < text.1).map_or(0, |text| text.0);
        let end = texts.last().map_or(0, |text| text.1);
        let prompt = (0..end).map(|at| hash_pair(options.seed, hash_pair(text(at), at))).collect();
        let engine = &mut engines[worker];
        engine.submit(0, Request { prompt, ..Request::default() }).expect("an idle engine takes what fits");
        engine.run_until(u64::MAX, |step| said.extend(step.events));
    }
    let (mut writer, _) = Builder::default().seed(options.seed).build_local()?;
    for event in &said {
        // A rejected event does not change what the index holds.
        let _ = writer.apply(event);
    }
    let (runs, nodes) = (writer.structure(), tree(&writer.export()));
    if nodes.is_empty() {
        return Err(FiguresError::Empty { topic: Topic::Structure, what: "the index is empty" });
    }
    Ok(Structure {
        workers: WORKERS,
        requests: TURNS.len() as u64,
        events: said.len() as u64,
        block_size: BLOCK_SIZE,
        blocks_per_worker: BLOCKS,
        runs,
        nodes,
    })
}
