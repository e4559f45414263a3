//! Requests drawn from a model.

use std::cmp::Reverse;
use std::iter;

use fastrand::Rng;

use super::limits::{Limits, PATIENCE};
use super::model::{Leaf, Model, Request, Then};
use super::options::Options;
use crate::trace::{Row, ToolError};

/// So many leaves, next to each other in their order by depth, change places.
const SIMILAR: usize = 128;

/// A stream of requests, the same for the same model, options and seed.
///
/// **Prefixes.** Every request leaves the tree where one of the source did. They are drawn without putting back, so
/// that after as many requests as the source had every prefix was passed as often as there; then the tree is replaced by
/// a copy with fresh ids. Reuse is thus the source's, however many requests are drawn: were the same tree walked for
/// ever, every prefix in it would sooner or later be cached. What does not fill another tree is spread over the others.
/// The order is the source's, shuffled within stretches of [`Options::shuffle`] requests, since what is used again is
/// mostly used again soon.
///
/// **Unique prompts** change places among requests whose shared prefixes are of nearly the same length: the two depend
/// on each other, and hit rates on both.
///
/// **Answers and times** are drawn from the source's values, independently.
#[derive(Debug)]
pub struct Requests<'a> {
    model: &'a Model,
    left: u64,
    /// Requests of a deck beyond the source's.
    extra: usize,
    shuffle: usize,
    speedup: f64,
    prompt: f64,
    limits: Limits,
    random: Rng,
    copies: Vec<TreeCopy>,
    /// Where each node's blocks begin among the ids of a copy, and how many there are, by the multiplier.
    places: Vec<(u64, u32)>,
    /// Ids of a copy.
    blocks: u64,
    next_id: u64,
    now: f64,
    /// Requests that are yet to arrive now.
    burst: u32,
    way: Vec<u32>,
}

/// One of the disjoint trees.
#[derive(Clone, Debug, Default)]
struct TreeCopy {
    /// Its first id.
    base: u64,
    /// Requests of the source in the order in which they are drawn, the next one last.
    deck: Vec<u32>,
    /// Which leaf each leaf gives its place to.
    leaves: Vec<u32>,
}

impl Model {
    /// Requests like those that the model was learnt from.
    ///
    /// # Errors
    /// [`ToolError::Option`] when an option is out of its range. The iterator gives [`ToolError::NothingPasses`] when
    /// a million requests in a row do not pass the limits.
    pub fn requests(&self, options: &Options) -> Result<Requests<'_>, ToolError> {
        options.check()?;
        Ok(Requests::new(self, options))
    }
}

impl<'a> Requests<'a> {
    pub(super) fn new(model: &'a Model, options: &Options) -> Self {
        let mut blocks = 0;
        let scaled = |depth: u32| (f64::from(depth) * options.prefix_len_multiplier).round() as u64;
        // Rounding the ends of prefixes, not their lengths, scales every path to the block.
        let places = model.tree.nodes.iter().map(|node| {
            let length = scaled(node.end()) - scaled(node.start);
            blocks += length;
            (blocks - length, length as u32)
        });
        let places = places.collect();
        let mut random = Rng::with_seed(options.seed);
        let burst = model.bursts.draw(&mut random, 1);
        Self {
            model,
            left: options.num_requests,
            extra: extra(options, model.requests.len() as u64),
            shuffle: options.shuffle as usize,
            speedup: options.speedup_ratio,
            prompt: options.prompt_len_multiplier,
            limits: options.limits.clone(),
            random,
            copies: vec![TreeCopy::default(); options.prefix_root_multiplier as usize],
            places,
            blocks,
            next_id: 0,
            now: 0.0,
            burst,
            way: Vec::new(),
        }
    }

    /// The next request that passes the limits. Those that do not leave their time empty.
    fn draw(&mut self) -> Result<Row, ToolError> {
        let (mut shortest, mut longest) = (u64::MAX, 0);
        for _ in 0..PATIENCE {
            self.tick();
            let copy = self.random.usize(..self.copies.len());
            let source = self.deal(copy) as usize;
            let Request { node, then } = self.model.requests[source];
            let (leaf, tail) = match then {
                Then::End { tail } => (0, tail),
                Then::Leaf(leaf) => {
                    let leaf = self.copies[copy].leaves[leaf as usize];
                    let Leaf { blocks, tail } = self.model.leaves[leaf as usize];
                    ((f64::from(blocks) * self.prompt).round().max(1.0) as u64, tail)
                }
            };
            let output_length = self.model.output_lengths.draw(&mut self.random, 1);
            self.model.tree.way(node, &mut self.way);
            let shared: u64 = self.way.iter().map(|&node| u64::from(self.places[node as usize].1)).sum();
            let before = (shared + leaf).saturating_sub(1) * u64::from(self.model.block_size);
            let input_length = before + u64::from(tail);
            if let Some(input_length) = self.limits.input(input_length) {
                return Ok(Row {
                    timestamp: self.now as u64,
                    input_length,
                    output_length: self.limits.output(output_length),
                    hash_ids: self.ids(copy, shared, leaf),
                    session_id: None,
                });
            }
            (shortest, longest) = (shortest.min(input_length), longest.max(input_length));
        }
        Err(ToolError::NothingPasses { drawn: PATIENCE, shortest, longest })
    }

    /// Lets time pass until there is a request.
    fn tick(&mut self) {
        while self.burst == 0 {
            self.now += self.model.gaps.draw(&mut self.random, 0) as f64 / self.speedup;
            self.burst = self.model.bursts.draw(&mut self.random, 1);
        }
        self.burst -= 1;
    }

    /// Draws a request of the source from a copy's deck.
    fn deal(&mut self, copy: usize) -> u32 {
        let TreeCopy { base, deck, leaves } = &mut self.copies[copy];
        deck.pop().unwrap_or_else(|| {
            *base = self.next_id;
            self.next_id += self.blocks;
            let requests = self.model.requests.len() as u32;
            deck.extend(0..requests);
            deck.extend(iter::repeat_with(|| self.random.u32(..requests)).take(self.extra));
            deck.sort_unstable_by_key(|&request| Reverse(request));
            deck.chunks_mut(self.shuffle).for_each(|stretch| self.random.shuffle(stretch));
            leaves.clear();
            leaves.extend(0..self.model.leaves.len() as u32);
            leaves.chunks_mut(SIMILAR).for_each(|similar| self.random.shuffle(similar));
            deck.pop().expect("a model is learnt from at least one row")
        })
    }

    /// The ids of the way, and fresh ones.
    fn ids(&mut self, copy: usize, shared: u64, leaf: u64) -> Vec<u64> {
        let mut ids = Vec::with_capacity((shared + leaf) as usize);
        for &node in &self.way {
            let (start, length) = self.places[node as usize];
            let first = self.copies[copy].base + start;
            ids.extend(first..first + u64::from(length));
        }
        ids.extend(self.next_id..self.next_id + leaf);
        self.next_id += leaf;
        ids
    }
}

/// How many requests more than the source had each deck needs, if all but the last are to be used up.
fn extra(options: &Options, source: u64) -> usize {
    let wanted = options.num_requests.div_ceil(options.prefix_root_multiplier.into());
    let decks = (wanted / source).max(1);
    wanted.div_ceil(decks).saturating_sub(source) as usize
}

/// After an error nothing follows.
impl Iterator for Requests<'_> {
    type Item = Result<Row, ToolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let drawn = self.draw();
        self.left *= u64::from(drawn.is_ok());
        Some(drawn)
    }
}
