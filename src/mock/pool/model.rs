//! The pool against a literal model, in any order of operations.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};

use super::*;

const BLOCK: usize = 3;

/// An operation on a pool. Numbers choose among the current sequences; tokens are 0 or 1.
#[derive(Clone, Debug)]
enum Op {
    Attach(Vec<u64>),
    Extend(usize, Vec<u64>),
    Fork(usize),
    Detach(usize),
    Clear,
}

/// Generates series of equal tokens, so that blocks are often equal.
fn tokens(most: usize) -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        4 => (0..2_u64, 1..=most).prop_map(|(token, count)| vec![token; count]),
        1 => prop::collection::vec(0..2_u64, 1..=most),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => tokens(5 * BLOCK).prop_map(Op::Attach),
        9 => (any::<usize>(), tokens(3 * BLOCK)).prop_map(|(which, tokens)| Op::Extend(which, tokens)),
        2 => any::<usize>().prop_map(Op::Fork),
        4 => any::<usize>().prop_map(Op::Detach),
        1 => Just(Op::Clear),
    ]
}

/// Returns the hashes of the full blocks.
fn names(tokens: &[u64]) -> Vec<Block> {
    let mut before = 7;
    let name = |block: &[u64]| {
        let local = block.iter().fold(1, |local, token| 2 * local + token);
        before = crate::hash::hash_pair(before, local);
        Block { sequence: before, local }
    };
    tokens.chunks_exact(BLOCK).map(name).collect()
}

/// A slot of the model: its tokens and, once it is full, the whole prefix that it ends.
#[derive(Debug, Default)]
struct Page {
    tokens: Vec<u64>,
    prefix: Option<Vec<u64>>,
    references: usize,
    last_used: u64,
}

/// A literal model of every rule of the pool, which searches all slots each time.
#[derive(Debug)]
struct Model {
    capacity: usize,
    keep: usize,
    merged: bool,
    pages: Vec<Page>,
}

impl Model {
    fn used(&self) -> usize {
        self.pages.iter().filter(|page| page.references > 0).count()
    }

    fn evictable(&self) -> usize {
        self.pages.iter().filter(|page| page.references == 0 && page.prefix.is_some()).count()
    }

    fn holds(&self, prefix: &[u64]) -> bool {
        self.pages.iter().any(|page| page.prefix.as_deref() == Some(prefix))
    }

    /// Returns how many leading blocks of `tokens` are cached.
    fn cached(&self, tokens: &[u64]) -> usize {
        (1..=tokens.len() / BLOCK).take_while(|end| self.holds(&tokens[..end * BLOCK])).count()
    }

    /// Evicts blocks and returns the prefixes that are published as removed, in order.
    fn evict(&mut self, blocks: usize) -> Vec<Vec<u64>> {
        let mut gone = Vec::new();
        for _ in 0..blocks {
            let idle = self.pages.iter_mut().filter(|page| page.references == 0 && page.prefix.is_some());
            let next = idle.min_by_key(|page| (page.last_used, Reverse(page.prefix.as_ref().map(Vec::len))));
            let prefix = next.and_then(|page| page.prefix.take()).expect("as many are evictable");
            if !(self.merged && self.holds(&prefix)) {
                gone.push(prefix);
            }
        }
        gone
    }

    fn take(&mut self) -> usize {
        let page = Page { references: 1, ..Page::default() };
        let unused = self.pages.iter().position(|page| page.references == 0 && page.prefix.is_none());
        match unused {
            Some(at) => self.pages[at] = page,
            None => self.pages.push(page),
        }
        unused.unwrap_or(self.pages.len() - 1)
    }

    /// Appends a token. Returns whether that is published as a stored block.
    fn write(&mut self, page: usize, prefix: &[u64]) -> bool {
        let known = self.merged && self.holds(prefix);
        let page = &mut self.pages[page];
        page.tokens.extend(prefix.last());
        let full = page.tokens.len() == BLOCK;
        if full {
            page.prefix = Some(prefix.to_vec());
        }
        full && !known
    }
}

/// A sequence in the pool and in the model.
#[derive(Debug)]
struct Pair {
    real: Sequence,
    pages: Vec<usize>,
    tokens: Vec<u64>,
}

/// The pool, the model, and what a listener knows.
#[derive(Debug)]
struct Harness {
    pool: Pool,
    model: Model,
    live: Vec<Pair>,
    /// Advances with every detaching, because the model does not define the order of eviction between two sequences
    /// that are detached at the same time.
    now: u64,
    /// The page of the model for each slot that is used or cached.
    page_of: HashMap<SlotId, usize>,
    /// The prefix of each sequence hash.
    prefixes: HashMap<u64, Vec<u64>>,
    /// How many copies of each prefix have been stored and not removed.
    heard: HashMap<Vec<u64>, usize>,
}

impl Harness {
    fn new(capacity: u32, keep: Option<usize>, copies: Copies) -> Self {
        let pool = Pool::new(BLOCK as u32, capacity, keep.map(|keep| (keep * BLOCK) as u64), copies);
        let (keep, merged) = (keep.unwrap_or(usize::MAX), copies == Copies::Merged);
        let model = Model { capacity: capacity as usize, keep, merged, pages: Vec::new() };
        Self {
            pool,
            model,
            live: Vec::new(),
            now: 0,
            page_of: HashMap::new(),
            prefixes: HashMap::new(),
            heard: HashMap::new(),
        }
    }

    fn attach(&mut self, tokens: &[u64]) -> Result<(), TestCaseError> {
        let cached = self.model.cached(tokens);
        prop_assert_eq!(self.pool.prefix(&names(tokens)).blocks, cached);
        let available = self.pool.available();
        let evictable = self.pool.prefix(&names(tokens)).evictable;
        let real = self.pool.attach(&names(tokens));
        prop_assert_eq!(available - self.pool.available(), evictable);
        // Any of several copies is correct.
        let pages: Vec<usize> = real.table.iter().map(|slot| self.page_of[slot]).collect();
        prop_assert_eq!(pages.len(), cached);
        for &page in &pages {
            self.model.pages[page].references += 1;
        }
        self.live.push(Pair { real, pages, tokens: tokens[..cached * BLOCK].to_vec() });
        Ok(())
    }

    fn extend(&mut self, which: usize, more: &[u64]) -> Result<(), TestCaseError> {
        let which = which % self.live.len();
        let Pair { real, pages, tokens } = &mut self.live[which];
        let all = [&tokens[..], more].concat();
        for (at, name) in names(&all).iter().enumerate() {
            self.prefixes.insert(name.sequence, all[..(at + 1) * BLOCK].to_vec());
        }
        let before = real.table.clone();
        let mut events = Vec::new();
        let result = self.pool.extend(real, more.len() as u64, &names(&all), &mut events);

        let last = tokens.len() / BLOCK;
        let shared = pages.get(last).is_some_and(|&page| self.model.pages[page].references > 1);
        let needed = all.len().div_ceil(BLOCK) - pages.len() + usize::from(shared);
        let free = self.model.capacity - self.model.used() - self.model.evictable();
        if needed > free + self.model.evictable() {
            prop_assert_eq!((result, &real.table, events.len()), (Err(Shortage), &before, 0));
            return Ok(());
        }
        prop_assert_eq!(result, Ok(()));
        let gone = self.model.evict(needed.saturating_sub(free));
        if shared {
            let copy = self.model.take();
            self.model.pages[copy].tokens = self.model.pages[pages[last]].tokens.clone();
            self.model.pages[pages[last]].references -= 1;
            pages[last] = copy;
        }
        let mut stored = Vec::new();
        for end in tokens.len() + 1..=all.len() {
            if (end - 1) / BLOCK == pages.len() {
                pages.push(self.model.take());
            }
            if self.model.write(pages[(end - 1) / BLOCK], &all[..end]) {
                stored.push(all[..end].to_vec());
            }
        }
        *tokens = all;
        // Slots that are reused belong to other pages than before.
        self.page_of.extend(real.table.iter().copied().zip(pages.iter().copied()));
        self.hear(&events, &gone, &stored)
    }

    fn fork(&mut self, which: usize) {
        let Pair { real, pages, tokens } = &self.live[which % self.live.len()];
        for &page in pages {
            self.model.pages[page].references += 1;
        }
        let fork = Pair { real: self.pool.fork(real), pages: pages.clone(), tokens: tokens.clone() };
        self.live.push(fork);
    }

    fn detach(&mut self, which: usize) -> Result<(), TestCaseError> {
        self.now += 1;
        let pair = self.live.swap_remove(which % self.live.len());
        let mut events = Vec::new();
        self.pool.detach(pair.real, self.now, &mut events);
        for page in pair.pages {
            self.model.pages[page].references -= 1;
            self.model.pages[page].last_used = self.now;
        }
        let gone = self.model.evict(self.model.evictable().saturating_sub(self.model.keep));
        self.hear(&events, &gone, &[])
    }

    fn clear(&mut self) -> Result<(), TestCaseError> {
        while !self.live.is_empty() {
            self.detach(0)?;
        }
        self.pool.clear();
        self.model.pages.clear();
        self.heard.clear();
        Ok(())
    }

    /// Checks that the events are those of the model: evictions first, and each block after its parent.
    fn hear(&mut self, events: &[EventData], gone: &[Vec<u64>], stored: &[Vec<u64>]) -> Result<(), TestCaseError> {
        let (mut removed, mut told) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                EventData::Removed { blocks } => {
                    prop_assert!(told.is_empty() && !blocks.is_empty());
                    removed.extend(blocks.iter().map(|name| self.prefixes[name].clone()));
                }
                EventData::Stored { parent, blocks } => {
                    let mut before = parent.map_or(Vec::new(), |parent| self.prefixes[&parent].clone());
                    for block in blocks {
                        let prefix = &self.prefixes[&block.sequence];
                        prop_assert_eq!(&prefix[..prefix.len() - BLOCK], &before[..]);
                        prop_assert_eq!(names(prefix).pop(), Some(*block));
                        before.clone_from(prefix);
                        told.push(prefix.clone());
                    }
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(&removed[..], gone);
        prop_assert_eq!(&told[..], stored);
        for prefix in removed {
            let copies = self.heard.get_mut(&prefix).expect("only what was stored is removed");
            *copies -= 1;
            if *copies == 0 {
                self.heard.remove(&prefix);
            }
        }
        for prefix in told {
            *self.heard.entry(prefix).or_default() += 1;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let Self { pool, model, .. } = self;
        prop_assert_eq!(pool.used() + pool.evictable() + pool.free(), model.capacity);
        prop_assert_eq!((pool.used(), pool.evictable()), (model.used(), model.evictable()));
        // A listener knows what is cached: every copy, or one of each.
        let cached = || model.pages.iter().filter_map(|page| page.prefix.clone());
        let copies = if model.merged { cached().collect::<HashSet<_>>().len() } else { cached().count() };
        prop_assert_eq!(self.heard.values().sum::<usize>(), copies);
        // Slots and pages correspond one to one, and each sequence reads its own tokens, so nothing is shared that
        // should not be.
        let mut slot_of = HashMap::new();
        for pair in &self.live {
            let read: Vec<u64> = pair.pages.iter().flat_map(|&page| model.pages[page].tokens.clone()).collect();
            prop_assert_eq!(&read, &pair.tokens);
            prop_assert_eq!(pair.real.tokens() as usize, pair.tokens.len());
            prop_assert_eq!(pair.real.blocks(), pair.pages.len());
            for (slot, page) in pair.real.table.iter().zip(&pair.pages) {
                prop_assert_eq!(self.page_of[slot], *page);
                prop_assert_eq!(slot_of.entry(page).or_insert(slot), &slot);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    /// In pools so small that everything is shared, copied, evicted and short of room.
    #[test]
    fn any_order_of_operations_agrees_with_the_model(
        capacity in 1..12_u32,
        keep in prop::option::weighted(0.3, 0..4_usize),
        merged: bool,
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut run = Harness::new(capacity, keep, if merged { Copies::Merged } else { Copies::Announced });
        for op in ops {
            match op {
                Op::Attach(tokens) => run.attach(&tokens)?,
                Op::Clear => run.clear()?,
                _ if run.live.is_empty() => {}
                Op::Extend(which, tokens) => run.extend(which, &tokens)?,
                Op::Fork(which) => run.fork(which),
                Op::Detach(which) => run.detach(which)?,
            }
            run.check()?;
        }
        while !run.live.is_empty() {
            run.detach(0)?;
        }
        prop_assert_eq!(run.pool.used(), 0, "no slot is leaked");
    }
}
