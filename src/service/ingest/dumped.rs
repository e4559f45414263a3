//! A dump of another implementation, taken whole or refused whole.
//!
//! Such a dump says of each rank which blocks it stores on which tier, each below its parent, in no particular order: a
//! host block may hang below a device block or below another host block, and come before either. So all that is said of
//! a rank is put together first, as one tree of prefixes; only then are the changes made that bring about its end, tier
//! by tier, parents first.
//!
//! A parent is looked for on the block's own tier, then on the others from the fastest down. It may be a block that was
//! removed again, or one in shared storage, which is not indexed: both say where their children belong. The dump is
//! refused if a parent is missing, if a block is its own ancestor, or if a hash of a rank stands for two prefixes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::dynamo::{DynamoBlock, DynamoData, DynamoEvent, StorageTier};
use super::feed::{self, memory};
use super::tier_writer::Change;
use crate::event::{Block, Worker};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::publisher::Publisher;
use crate::service::{MAX_RANK, Model, Tier};

/// Why a dump is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum DumpError {
    /// The data-parallel rank is too high.
    Rank(Worker),
    /// A block hangs below one that the dump does not have.
    UnknownParent {
        /// Whose.
        worker: Worker,
        /// The block.
        block: u64,
        /// The one that it hangs below.
        parent: u64,
    },
    /// A block hangs below itself.
    Cycle {
        /// Whose.
        worker: Worker,
        /// The block.
        block: u64,
    },
    /// A hash stands for two prefixes.
    TwoMeanings {
        /// Whose.
        worker: Worker,
        /// The hash.
        block: u64,
    },
    /// The index did not take all of it.
    Rejected,
    /// The index was shut down.
    Closed,
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank(worker) => write!(f, "the rank of worker {worker} is too high"),
            Self::UnknownParent { worker, block, parent } => {
                write!(f, "block {block} of worker {worker} hangs below block {parent}, which is not there")
            }
            Self::Cycle { worker, block } => write!(f, "block {block} of worker {worker} hangs below itself"),
            Self::TwoMeanings { worker, block } => {
                write!(f, "hash {block} of worker {worker} stands for two different prefixes")
            }
            Self::Rejected => f.write_str("the index does not take all of it; the log may say why"),
            Self::Closed => Closed.fmt(f),
        }
    }
}

impl std::error::Error for DumpError {}

impl From<Closed> for DumpError {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

/// Takes a dump into a model that holds nothing yet, for publishers that speak over HTTP and have not spoken yet.
/// Nobody can say where their engines are, so what they hold is doubted. Needs memory in proportion to the dump.
///
/// # Errors
/// The dump makes no sense, or the index does not take it; the model is to be dropped then.
pub(in crate::service) fn take_dump(model: &Model, events: Vec<DynamoEvent>) -> Result<(), DumpError> {
    let mut publishers: BTreeMap<Worker, Said> = BTreeMap::new();
    for DynamoEvent { worker_id, storage_tier, event } in events {
        let worker = Worker::new(worker_id, event.dp_rank);
        if worker.dp_rank > MAX_RANK {
            return Err(DumpError::Rank(worker));
        }
        let said = publishers.entry(worker).or_default();
        said.take(storage_tier, event.data).map_err(|block| DumpError::TwoMeanings { worker, block })?;
    }
    for (worker, said) in publishers {
        let publisher = Arc::new(Publisher::http(worker));
        publisher.doubt(Doubt::Copied);
        publisher.copied();
        {
            let mut content = publisher.content();
            let memory = memory(model, &publisher, &mut content, worker.dp_rank)?;
            let (stores, gaps) = said.tree(worker)?.changes();
            let gaps = Tier::ALL.into_iter().zip(&gaps).filter(|(_, gaps)| !gaps.is_empty());
            let removals = gaps.map(|(tier, hashes)| Change::Removed { tier, hashes });
            let mut writer = feed::writer(model, &publisher, worker, memory, 0);
            for change in stores.into_iter().chain(removals) {
                writer.apply(change)?;
            }
        }
        model.publishers().put(&publisher);
    }
    model.index().flush()?;
    let status = model.index().status();
    let strangers = status.shards.iter().flat_map(|shard| shard.rejected_strangers);
    let rejected = status.workers.iter().flat_map(|worker| worker.rejected).chain(strangers).sum::<u64>();
    if rejected == 0 { Ok(()) } else { Err(DumpError::Rejected) }
}

/// What is said of a rank, by place.
#[derive(Debug, Default)]
struct Said([HashMap<u64, Mention>; PLACES]);

/// The tiers, fastest first, and storage that is shared.
const PLACES: usize = Tier::ALL.len() + 1;

/// A block in one place.
#[derive(Clone, Copy, Debug)]
struct Mention {
    parent: Option<u64>,
    local: u64,
    /// Whether it is there, rather than removed again.
    held: bool,
}

impl Said {
    /// Fails with a hash that stands for two blocks.
    fn take(&mut self, place: StorageTier, data: DynamoData) -> Result<(), u64> {
        let place = &mut self.0[match place {
            StorageTier::Device => Tier::Device as usize,
            StorageTier::HostPinned => Tier::Host as usize,
            StorageTier::Disk => Tier::Disk as usize,
            StorageTier::External => PLACES - 1,
        }];
        match data {
            DynamoData::Stored { mut parent_hash, blocks } => {
                for DynamoBlock { block_hash, tokens_hash: local } in blocks {
                    let mention = Mention { parent: parent_hash, local, held: true };
                    match place.entry(block_hash) {
                        Entry::Vacant(entry) => drop(entry.insert(mention)),
                        Entry::Occupied(mut entry) => {
                            let known = entry.get_mut();
                            if (known.parent, known.local) != (mention.parent, mention.local) {
                                return Err(block_hash);
                            }
                            known.held = true;
                        }
                    }
                    parent_hash = Some(block_hash);
                }
            }
            DynamoData::Removed { block_hashes } => {
                for hash in block_hashes {
                    if let Some(known) = place.get_mut(&hash) {
                        known.held = false;
                    }
                }
            }
            DynamoData::Cleared => *self = Self::default(),
        }
        Ok(())
    }

    /// What a block says of its parent: found in the same place, or else in the first that has it.
    fn find(&self, place: usize, hash: u64) -> Option<usize> {
        let others = (0..PLACES).filter(|&other| other != place);
        [place].into_iter().chain(others).find(|&place| self.0[place].contains_key(&hash))
    }

    fn tree(&self, worker: Worker) -> Result<Tree, DumpError> {
        let mut tree = Tree::default();
        // By place, the node that a hash stands for.
        let mut known: [HashMap<u64, u32>; PLACES] = Default::default();
        let mut way = Vec::new();
        for place in 0..PLACES {
            for (&hash, mention) in &self.0[place] {
                // Up to the first ancestor that is known, and then down again.
                let mut at = (place, hash);
                let mut below = loop {
                    if let Some(&node) = known[at.0].get(&at.1) {
                        break Some(node);
                    }
                    if way.len() > self.0.iter().map(HashMap::len).sum() {
                        return Err(DumpError::Cycle { worker, block: hash });
                    }
                    way.push(at);
                    let Some(parent) = self.0[at.0][&at.1].parent else { break None };
                    let missing = DumpError::UnknownParent { worker, block: at.1, parent };
                    at = (self.find(at.0, parent).ok_or(missing)?, parent);
                };
                while let Some((place, hash)) = way.pop() {
                    let node = tree.node(below, self.0[place][&hash].local);
                    known[place].insert(hash, node);
                    below = Some(node);
                }
                let node = below.expect("a block is a node, whatever is above it");
                // What is in shared storage, or removed again, is not given to anybody under this hash.
                if mention.held && place < Tier::ALL.len() && !tree.hold(place, node, hash) {
                    return Err(DumpError::TwoMeanings { worker, block: hash });
                }
            }
        }
        tree.held.iter_mut().for_each(|held| held.sort_unstable());
        Ok(tree)
    }
}

/// The prefixes of a rank's blocks, and which of them it holds where.
#[derive(Debug, Default)]
struct Tree {
    /// The prefix one block shorter, and the local hash of the last block. Parents come before their children.
    nodes: Vec<(Option<u32>, u64)>,
    by_content: HashMap<(Option<u32>, u64), u32>,
    /// By tier, the prefixes that are held there, each with the hash that names it. Sorted.
    held: [Vec<(u32, u64)>; Tier::ALL.len()],
    /// What each of these hashes stands for.
    meanings: HashMap<u64, u32>,
}

impl Tree {
    fn node(&mut self, parent: Option<u32>, local: u64) -> u32 {
        *self.by_content.entry((parent, local)).or_insert_with(|| {
            self.nodes.push((parent, local));
            (self.nodes.len() - 1) as u32
        })
    }

    /// The rank holds this prefix there under this hash. Returns whether the hash stands for nothing else.
    fn hold(&mut self, tier: usize, node: u32, hash: u64) -> bool {
        self.held[tier].push((node, hash));
        *self.meanings.entry(hash).or_insert(node) == node
    }

    /// What brings a rank that holds nothing to this: what is stored, in order, and what is then removed from each
    /// tier. That is what leads to blocks of the tier, and is itself neither on it nor on a faster one.
    fn changes(&self) -> (Vec<Change<'static>>, [Vec<u64>; Tier::ALL.len()]) {
        // The hash by which a prefix is known to the tier at hand and all slower ones.
        let mut names: Vec<Option<u64>> = vec![None; self.nodes.len()];
        let mut unused = (0..).filter(|hash| !self.meanings.contains_key(hash));
        let mut stores = Vec::new();
        let mut gaps: [Vec<u64>; Tier::ALL.len()] = Default::default();
        for (tier, held) in Tier::ALL.into_iter().zip(&self.held) {
            let leading = self.leading(held, &names);
            let mut held = held.iter().peekable();
            for (node, &(parent, local)) in (0..).zip(&self.nodes) {
                let mut own: Vec<u64> =
                    std::iter::from_fn(|| held.next_if(|held| held.0 == node)).map(|held| held.1).collect();
                if own.is_empty() && leading.contains(&node) {
                    let gap = self.name(node).or_else(|| unused.next()).expect("2^64 names are enough");
                    gaps[tier as usize].push(gap);
                    own.push(gap);
                }
                let parent = parent.and_then(|parent| names[parent as usize]);
                for sequence in own {
                    names[node as usize].get_or_insert(sequence);
                    store(&mut stores, tier, parent, Block { sequence, local });
                }
            }
        }
        (stores, gaps)
    }

    /// The prefixes that lead to what is held, as far as they have no name yet.
    fn leading(&self, held: &[(u32, u64)], names: &[Option<u64>]) -> HashSet<u32> {
        let mut leading = HashSet::new();
        for &(node, _) in held {
            let mut next = self.nodes[node as usize].0;
            while let Some(node) = next.filter(|&node| names[node as usize].is_none() && leading.insert(node)) {
                next = self.nodes[node as usize].0;
            }
        }
        leading
    }

    /// The hash by which a prefix is held on any tier.
    fn name(&self, node: u32) -> Option<u64> {
        self.held.iter().find_map(|held| {
            let place = held.partition_point(|&(other, _)| other < node);
            held.get(place).filter(|&&(other, _)| other == node).map(|&(_, hash)| hash)
        })
    }
}

/// Adds a block: to the chain at the end, if it goes on there.
fn store(stores: &mut Vec<Change<'_>>, tier: Tier, parent: Option<u64>, block: Block) {
    if let Some(Change::Stored { tier: last, blocks, .. }) = stores.last_mut()
        && *last == tier
        && parent.is_some()
        && blocks.last().map(|block| block.sequence) == parent
    {
        blocks.push(block);
    } else {
        stores.push(Change::Stored { tier, parent, blocks: vec![block] });
    }
}
