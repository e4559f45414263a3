//! A small index, filled by a few simulated engines.

use super::Structure;
use super::tree::tree;
use crate::Builder;
use crate::figures::{FiguresError, Options, Topic};
use crate::mock::{Config, Copies};
use crate::sweep::{Partition, What};

/// Few enough to be drawn run by run.
const REQUESTS: u64 = 14;
const WORKERS: u32 = 4;
const BLOCKS: u32 = 40;
const BLOCK_SIZE: u32 = 256;

pub(in crate::figures) fn collect(options: &Options) -> Result<Structure, FiguresError> {
    let engine =
        Config { block_size: BLOCK_SIZE, blocks: BLOCKS, copies: Copies::Merged, ..Partition::default().engine };
    let partition =
        Partition { requests: Some(REQUESTS), workers: WORKERS, engine, seed: options.seed, ..Partition::default() };
    let schedule = partition.schedule(|_, _| ())?;
    let (mut writer, _) = Builder::default().seed(options.seed).build_local()?;
    let mut events = 0;
    for op in schedule.ops {
        if let What::Event(event) = op.what {
            // What it rejects is no part of what it holds.
            let _ = writer.apply(&event);
            events += 1;
        }
    }
    let (runs, nodes) = (writer.structure(), tree(&writer.export()));
    if nodes.is_empty() {
        return Err(FiguresError::Empty { topic: Topic::Structure, what: "nothing is held" });
    }
    let (block_size, blocks_per_worker) = (BLOCK_SIZE, BLOCKS);
    Ok(Structure { requests: REQUESTS, events, block_size, blocks_per_worker, runs, nodes })
}
