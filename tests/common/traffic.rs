//! Random events and queries of a fleet, drawn so that what is rare in life is frequent: prefixes are shared and
//! branch, names repeat, holes are made and filled.

use std::collections::{HashMap, HashSet, VecDeque};

use kvleap::{Block, Event, EventData, Worker};

use super::draw::Draw;

/// What a fleet is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) workers: u64,
    /// The local hashes of blocks.
    pub(crate) locals: &'static [u64],
    pub(crate) names: Names,
    /// The longest event, in blocks.
    pub(crate) longest: u64,
    /// The longest sequence, in blocks; a few events go beyond it.
    pub(crate) positions: u64,
    /// About how many different prefixes there are. If they are few, all workers have parts of all of them.
    pub(crate) prefixes: usize,
}

/// How engines name blocks by sequence hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    /// All alike, by consecutive numbers.
    Shared,
    /// Each in its own way.
    Own,
    /// By so few hashes that blocks are stored under those of others all the time.
    Few(u64),
}

/// Local hashes that collide wherever a hash of prefixes is weak: two of them cancel each other, or differ in few bits.
pub(crate) const COLLIDING: &[u64] =
    &[0, 1, 2, 1 << 32, 1 << 63, u64::MAX, TWICE, TWICE + 1, TWICE + 2, 1 << 31, 0b1_1011, 0b1_1010];
const TWICE: u64 = 1 << 63 | 1 << 31;
/// One local hash for all blocks: only positions tell them apart.
pub(crate) const ONE: &[u64] = &[0];
pub(crate) const TWO: &[u64] = &[0, u64::MAX];

/// A block in its place: the tree of all prefixes that were ever thought of.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: Option<u32>,
    local: u64,
    depth: u32,
}

/// Where a conversation is.
#[derive(Clone, Copy, Debug)]
struct Conversation {
    /// The end of the prompt.
    prompt: u32,
    /// The end of what was decoded behind it.
    end: u32,
}

/// A fleet that sends events.
pub(crate) struct Traffic {
    shape: Shape,
    nodes: Vec<Node>,
    children: HashMap<(Option<u32>, u64), u32>,
    /// For each worker, the ends of what it stored last.
    stored: Vec<VecDeque<u32>>,
    /// For each worker, what it removed last.
    removed: Vec<VecDeque<u32>>,
    /// For each worker, the conversation that it serves.
    conversations: Vec<Option<Conversation>>,
    /// For each worker, the id of its last event.
    ids: Vec<u64>,
    said: VecDeque<EventData>,
}

/// How many of the latest are remembered.
const REMEMBERED: usize = 16;

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}

fn recall<T: Clone>(list: &VecDeque<T>, draw: &mut impl Draw) -> Option<T> {
    if list.is_empty() { None } else { list.get(draw.below(list.len() as u64) as usize).cloned() }
}

impl Traffic {
    pub(crate) fn new(shape: Shape) -> Self {
        let workers = shape.workers as usize;
        Self {
            shape,
            nodes: Vec::new(),
            children: HashMap::new(),
            stored: vec![VecDeque::new(); workers],
            removed: vec![VecDeque::new(); workers],
            conversations: vec![None; workers],
            ids: vec![0; workers],
            said: VecDeque::new(),
        }
    }

    /// Returns the name of a worker by its number: ids with one, two or three ranks.
    pub(crate) fn worker(number: u64) -> Worker {
        Worker::new(number / 6 * 3 + [0, 1, 1, 2, 2, 2][number as usize % 6], [0, 0, 1, 0, 1, 2][number as usize % 6])
    }

    /// Draws the next event.
    pub(crate) fn event(&mut self, draw: &mut impl Draw) -> Event {
        let by = draw.below(self.shape.workers);
        let data = self.data(by, draw);
        remember(&mut self.said, data.clone());
        let id = &mut self.ids[by as usize];
        *id = match draw.below(16) {
            0 => draw.below(256),
            1 => *id + 2 + draw.below(3),
            2 => *id,
            _ => *id + 1,
        };
        Event { worker: Self::worker(by), id: *id, data }
    }

    fn data(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        match draw.below(32) {
            0..8 => self.store(by, draw),
            8..13 => self.converse(by, draw),
            13..16 => self.refill(by, draw),
            16..24 => self.evict(by, draw),
            24..26 => self.punch(by, draw),
            26..28 => recall(&self.said, draw).unwrap_or(EventData::Cleared),
            28 => self.nonsense(draw),
            _ => match draw.below(16) {
                0..3 => EventData::Cleared,
                3..5 => EventData::WorkerRemoved,
                5..11 => EventData::WorkerAdded,
                _ => EventData::CopiesCounted,
            },
        }
    }

    /// A sequence, or the rest of one behind a block that the worker stored or that somebody did.
    fn store(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        let is_grown = self.nodes.len() >= self.shape.prefixes;
        let end = self.some(by, draw).filter(|_| is_grown || draw.below(3) > 0).unwrap_or_else(|| self.grow(draw));
        let depth = u64::from(self.nodes[end as usize].depth);
        let behind = match draw.below(8) {
            // An engine stores whole sequences, or what comes behind what it has.
            0..4 => 0,
            4 => draw.below(depth + 1),
            5 => depth,
            _ => self.latest(by).map_or(0, |latest| self.common(latest, end)),
        };
        let path = self.path(end, behind);
        let blocks: Vec<_> = path.iter().take(self.shape.longest as usize).copied().collect();
        let stored = blocks.last().copied();
        let parent = path.first().map_or(Some(end), |&first| self.nodes[first as usize].parent);
        if let Some(stored) = stored {
            remember(&mut self.stored[by as usize], stored);
        }
        self.stored_event(by, parent, &blocks, draw)
    }

    /// Goes on with a conversation: mostly by one decoded block, and otherwise by the next turn, which leaves the
    /// sequence at the end of the prompt or somewhere in what was decoded.
    fn converse(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        let with = if draw.one_in(8) { draw.below(self.shape.workers) } else { by };
        let known = self.conversations[with as usize].filter(|_| !draw.one_in(16));
        let fresh = || self.latest(by).map(|latest| Conversation { prompt: latest, end: latest });
        let Some(Conversation { prompt, end }) = known.or_else(fresh) else { return self.store(by, draw) };
        if !draw.one_in(5) {
            let Some(next) = self.next(end, draw) else { return self.store(by, draw) };
            self.conversations[by as usize] = Some(Conversation { prompt, end: next });
            remember(&mut self.stored[by as usize], next);
            // Whoever joins a conversation has to store it first.
            let joins = with != by && draw.one_in(2);
            let (parent, mut blocks) = if joins { (None, self.path(next, 0)) } else { (Some(end), vec![next]) };
            blocks.truncate(self.shape.longest as usize);
            return self.stored_event(by, parent, &blocks, draw);
        }
        let decoded = self.path(end, u64::from(self.nodes[prompt as usize].depth));
        let parent = if draw.one_in(4) { draw.pick(&decoded) } else { prompt };
        let (mut last, mut blocks) = (parent, Vec::new());
        for _ in 0..draw.size(self.shape.longest.min(8)) {
            let Some(next) = self.next(last, draw) else { break };
            last = next;
            blocks.push(next);
        }
        if blocks.is_empty() {
            return self.store(by, draw);
        }
        self.conversations[by as usize] = Some(Conversation { prompt: last, end: last });
        remember(&mut self.stored[by as usize], last);
        self.stored_event(by, Some(parent), &blocks, draw)
    }

    /// A block that follows another. `None` if it would be too deep or, mostly, if it would be one prefix too many.
    fn next(&mut self, parent: u32, draw: &mut impl Draw) -> Option<u32> {
        let local = draw.pick(self.shape.locals);
        if let Some(&known) = self.children.get(&(Some(parent), local)) {
            return Some(known);
        }
        let depth = self.nodes[parent as usize].depth + 1;
        let next = self.nodes.len() as u32;
        if u64::from(depth) > self.shape.positions || next as usize >= self.shape.prefixes && !draw.one_in(8) {
            return None;
        }
        self.children.insert((Some(parent), local), next);
        self.nodes.push(Node { parent: Some(parent), local, depth });
        Some(next)
    }

    /// A block that was removed is stored again, alone or with some that follow it.
    fn refill(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        let Some(first) = recall(&self.removed[by as usize], draw) else { return self.store(by, draw) };
        let end = self.some(by, draw).unwrap_or(first);
        let parent = self.nodes[first as usize].parent;
        let before = u64::from(self.nodes[first as usize].depth);
        let mut blocks = vec![first];
        if draw.one_in(4) && self.common(first, end) > before {
            blocks.extend(self.path(end, before + 1).into_iter().take(draw.size(self.shape.longest) as usize));
        }
        remember(&mut self.stored[by as usize], *blocks.last().expect("there is the first"));
        self.stored_event(by, parent, &blocks, draw)
    }

    /// Removes the end of a sequence, last blocks first, as caches evict them.
    fn evict(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        let Some(end) = self.some(by, draw) else { return EventData::Removed { blocks: vec![draw.below(8)] } };
        let depth = u64::from(self.nodes[end as usize].depth) + 1;
        let count = draw.size(depth.min(2 * self.shape.longest));
        let mut path = self.path(end, depth - count);
        if !draw.one_in(8) {
            path.reverse();
        }
        if let Some(parent) = self.nodes[end as usize].parent {
            remember(&mut self.stored[by as usize], parent);
        }
        self.removed_event(by, &path, draw)
    }

    /// Removes a few blocks from the middle of a sequence.
    fn punch(&mut self, by: u64, draw: &mut impl Draw) -> EventData {
        let Some(end) = self.some(by, draw) else { return EventData::Removed { blocks: vec![draw.below(8)] } };
        let path = self.path(end, 0);
        let blocks: Vec<_> = (0..draw.size(4)).map(|_| draw.pick(&path)).collect();
        self.removed_event(by, &blocks, draw)
    }

    /// Names that may be anything.
    fn nonsense(&mut self, draw: &mut impl Draw) -> EventData {
        let names = 1 + self.nodes.len() as u64;
        let any = |draw: &mut dyn FnMut(u64) -> u64, count| (0..count).map(|_| draw(names)).collect::<Vec<_>>();
        let count = draw.below(5);
        let blocks = any(&mut |n| draw.below(n), count);
        if draw.one_in(2) {
            return EventData::Removed { blocks };
        }
        let parent = if draw.one_in(2) { None } else { Some(draw.below(names)) };
        let local = draw.pick(self.shape.locals);
        EventData::Stored { parent, blocks: blocks.into_iter().map(|sequence| Block { sequence, local }).collect() }
    }

    fn stored_event(&self, by: u64, parent: Option<u32>, blocks: &[u32], draw: &mut impl Draw) -> EventData {
        // A second name for what an engine may hold already.
        let other = if draw.one_in(8) { 1 + draw.below(2) } else { 0 };
        let blocks = blocks
            .iter()
            .map(|&node| Block { sequence: self.name(by, node, other), local: self.nodes[node as usize].local });
        EventData::Stored { parent: parent.map(|parent| self.name(by, parent, 0)), blocks: blocks.collect() }
    }

    fn removed_event(&mut self, by: u64, blocks: &[u32], draw: &mut impl Draw) -> EventData {
        for &block in blocks.iter().take(4) {
            remember(&mut self.removed[by as usize], block);
        }
        let other = if draw.one_in(8) { 1 + draw.below(2) } else { 0 };
        EventData::Removed { blocks: blocks.iter().map(|&node| self.name(by, node, other)).collect() }
    }

    /// Draws a query: a path, as it is, or cut, extended, or changed in one block.
    pub(crate) fn query(&mut self, draw: &mut impl Draw) -> Vec<u64> {
        let by = draw.below(self.shape.workers);
        let Some(end) = self.some(by, draw) else { return vec![draw.pick(self.shape.locals)] };
        let mut query = self.locals(end);
        match draw.below(8) {
            0 => query.truncate(draw.below(1 + query.len() as u64) as usize),
            1 => {
                let at = draw.below(query.len() as u64) as usize;
                query[at] = draw.pick(self.shape.locals);
            }
            // 3 is in none of the alphabets.
            2 => query.push(3),
            3 => query.extend((0..draw.size(64)).map(|_| draw.pick(self.shape.locals))),
            _ => {}
        }
        query
    }

    /// Returns queries that cover all prefixes of which an event may have spoken: the paths to all leaves, or to about
    /// `most` of them.
    pub(crate) fn paths(&self, most: usize) -> impl Iterator<Item = Vec<u64>> {
        let parents: HashSet<_> = self.nodes.iter().filter_map(|node| node.parent).collect();
        let leaves: Vec<_> = (0..self.nodes.len() as u32).filter(|node| !parents.contains(node)).collect();
        let every = leaves.len().div_ceil(most).max(1);
        leaves.into_iter().step_by(every).map(|leaf| self.locals(leaf))
    }

    fn locals(&self, end: u32) -> Vec<u64> {
        self.path(end, 0).into_iter().map(|node| self.nodes[node as usize].local).collect()
    }

    /// A place that the worker stored lately or, less often, one that anybody ever did; the older ones more often.
    fn some(&self, by: u64, draw: &mut impl Draw) -> Option<u32> {
        if draw.below(4) > 0 && !self.stored[by as usize].is_empty() {
            return recall(&self.stored[by as usize], draw);
        }
        let count = self.nodes.len() as u64;
        (count > 0).then(|| draw.below(count).min(draw.below(count)) as u32)
    }

    fn latest(&self, by: u64) -> Option<u32> {
        self.stored[by as usize].back().copied()
    }

    /// Continues a path, or begins one, and returns its end.
    fn grow(&mut self, draw: &mut impl Draw) -> u32 {
        let count = self.nodes.len() as u64;
        let mut at = (count > 0 && !draw.one_in(6)).then(|| draw.below(count).max(draw.below(count)) as u32);
        let mut local = draw.pick(self.shape.locals);
        let varied = draw.one_in(2);
        for _ in 0..draw.size(self.shape.longest) {
            let depth = at.map_or(0, |at| self.nodes[at as usize].depth + 1);
            if u64::from(depth) > self.shape.positions {
                break;
            }
            if varied {
                local = draw.pick(self.shape.locals);
            }
            let next = self.nodes.len() as u32;
            let node = *self.children.entry((at, local)).or_insert(next);
            if node == next {
                self.nodes.push(Node { parent: at, local, depth });
            }
            at = Some(node);
        }
        at.expect("a root is never too deep")
    }

    /// Returns the nodes on the way to `end`, without the first ones.
    fn path(&self, end: u32, without: u64) -> Vec<u32> {
        let mut path = Vec::new();
        let mut at = Some(end);
        while let Some(node) = at.filter(|&node| u64::from(self.nodes[node as usize].depth) >= without) {
            path.push(node);
            at = self.nodes[node as usize].parent;
        }
        path.reverse();
        path
    }

    /// Returns how many leading blocks two paths have in common.
    fn common(&self, a: u32, b: u32) -> u64 {
        let (mut a, mut b) = (Some(a), Some(b));
        let depth = |node: Option<u32>| node.map_or(0, |node| u64::from(self.nodes[node as usize].depth) + 1);
        while a != b {
            let deeper = if depth(a) >= depth(b) { &mut a } else { &mut b };
            *deeper = self.nodes[deeper.expect("the deeper one is not empty") as usize].parent;
        }
        depth(a)
    }

    fn name(&self, by: u64, node: u32, other: u64) -> u64 {
        let name = u64::from(node) + other * (1 << 40);
        match self.shape.names {
            Names::Shared => name,
            Names::Own => (name + by * 0x1000_0000).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            Names::Few(few) => (u64::from(node) + other * 5 + by) % few,
        }
    }
}
