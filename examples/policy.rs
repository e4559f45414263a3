//! A policy of one's own: long prompts go to workers reserved for them, so that short ones never wait behind them.
//!
//! `cargo run --example policy` routes four requests and checks where they go.

use std::error::Error;

use kvleap::route::{Candidates, Policy, Random, Request, Router};
use kvleap::{Block, Event, EventData, Index, Matches, Worker};

/// What a worker would have to compute decides which part of the fleet serves the request, not its length: a long
/// prompt that somebody has cached is a short one.
#[derive(Debug)]
struct LongApart {
    /// A prompt is long if even the worker that holds the most must compute this many blocks.
    long_from: f32,
    /// Workers with a smaller id are reserved for long prompts.
    reserved: u64,
}

impl Policy for LongApart {
    fn name(&self) -> &'static str {
        "long-apart"
    }

    fn why(&self) -> &'static str {
        "the fewest blocks to compute before it answers, in its part of the fleet"
    }

    fn choose(&mut self, request: &Request<'_>, candidates: &Candidates<'_>, _: &mut Random) -> Option<usize> {
        // Figures are slices by seat, a worker's dense number in the router.
        let missing = |seat: usize| request.blocks.len() as f32 - candidates.credits()[seat];
        let least = candidates.iter().map(missing).fold(f32::INFINITY, f32::min);
        let long = least >= self.long_from;
        let part = candidates.iter().filter(|&seat| (candidates.worker(seat).id < self.reserved) == long);
        // `None`, and with it a refused request, where that part of the fleet is empty.
        let wait = |seat: usize| candidates.queue_blocks()[seat] + missing(seat);
        part.min_by(|&a, &b| wait(a).total_cmp(&wait(b)))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let policy = LongApart { long_from: 50.0, reserved: 1 };
    let mut router = Router::builder().policy(Box::new(policy)).block_size(16).build()?;
    (0..4).for_each(|id| assert!(router.add_worker(Worker::new(id, 0))));

    // Worker 2 holds the first 90 of 100 blocks of a document.
    let document: Vec<u64> = (1..=100).collect();
    let (mut writer, reader) = Index::builder().build_local()?;
    let blocks = document[..90].iter().map(|&local| Block { sequence: local, local }).collect();
    writer.apply(&Event { worker: Worker::new(2, 0), id: 1, data: EventData::Stored { parent: None, blocks } })?;
    writer.publish();

    let mut matches = Matches::new();
    let mut send = |prompt: &[u64], now_ns: u64| {
        reader.find(prompt, &mut matches);
        let request = Request { blocks: prompt, tokens: 16 * prompt.len() as u64, ..Request::default() };
        router.route(&request, &[&matches], now_ns).map(|(decision, _ticket)| decision.worker.id)
    };
    let long: Vec<u64> = (1001..=1100).collect();
    assert_eq!(send(&long, 1)?, 0, "a long prompt goes to the reserved worker");
    assert_eq!(send(&long[..60], 2)?, 0, "and so does the next, although that one is busy now");
    assert_ne!(send(&[7, 8, 9], 3)?, 0, "a short one never does");
    assert_eq!(send(&document, 4)?, 2, "and a long one that is cached goes where most of it is");
    Ok(())
}
