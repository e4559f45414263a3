//! Requests that are drawn from a model.

use std::cmp::Reverse;
use std::iter;

use fastrand::Rng;

use super::limits::{Limits, PATIENCE};
use super::model::{Leaf, Model, Request, Then};
use super::options::Options;
use crate::trace::{Row, ToolError};

/// This many leaves that are neighbours in the order by depth are shuffled with each other.
const SIMILAR: usize = 128;

/// A stream of requests. Equal models, options and seeds give equal requests.
///
/// **Prefixes.** Every request leaves the tree where a request of the source did. The source's requests are drawn
/// without replacement, like cards from a deck: when the deck is used up, every prefix has been passed as often as in
/// the source, and the tree is replaced by a copy with fresh ids. Reuse is therefore that of the source, however many
/// requests are drawn; if one tree were used for ever, all of it would be cached sooner or later. If the number of
/// requests is not a multiple of the deck, the remainder is spread over all decks. The order is that of the source,
/// shuffled within groups of [`Options::shuffle`] requests, because prefixes tend to be reused soon.
///
/// **Unique prompts** are exchanged among requests whose shared prefixes have nearly the same length: the two lengths
/// are correlated, and hit rates depend on both.
///
/// **Answers and times** are drawn independently from the values of the source.
#[derive(Debug)]
pub struct Requests<'a> {
    model: &'a Model,
    left: u64,
    /// Requests in a deck beyond those of the source.
    extra: usize,
    shuffle: usize,
    speedup: f64,
    prompt: f64,
    limits: Limits,
    random: Rng,
    copies: Vec<TreeCopy>,
    /// For each node, the first of its blocks among the ids of a copy, and their number, after scaling.
    places: Vec<(u64, u32)>,
    /// Ids in a copy.
    blocks: u64,
    next_id: u64,
    now: f64,
    /// Requests that are still to arrive at the current time.
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
    /// For each leaf, the leaf that takes its place.
    leaves: Vec<u32>,
}

impl Model {
    /// Draws requests like those that the model was learnt from.
    ///
    /// # Errors
    /// [`ToolError::Option`] if an option is out of range. The iterator returns [`ToolError::NothingPasses`] if a
    /// million requests in a row do not pass the limits.
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

    /// Draws the next request that passes the limits. The arrival times of those that do not pass stay empty.
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

    /// Advances the time until there is a request.
    fn tick(&mut self) {
        while self.burst == 0 {
            self.now += self.model.gaps.draw(&mut self.random, 0) as f64 / self.speedup;
            self.burst = self.model.bursts.draw(&mut self.random, 1);
        }
        self.burst -= 1;
    }

    /// Draws a request of the source from the deck of a copy.
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

    /// Returns the ids of the path, and fresh ones for the leaf.
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

/// Returns how many requests each deck needs beyond those of the source, so that the wanted number fills whole decks.
fn extra(options: &Options, source: u64) -> usize {
    let wanted = options.num_requests.div_ceil(options.prefix_root_multiplier.into());
    let decks = (wanted / source).max(1);
    wanted.div_ceil(decks).saturating_sub(source) as usize
}

/// An error ends the requests.
impl Iterator for Requests<'_> {
    type Item = Result<Row, ToolError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let drawn = self.draw();
        self.left *= u64::from(drawn.is_ok());
        Some(drawn)
    }
}
