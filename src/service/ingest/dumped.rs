//! A dump of another implementation, accepted whole or refused whole.
//!
//! Such a dump lists for each worker the blocks on each tier, each with its parent, in no particular order: the parent
//! of a host block may be a device block or another host block, and may come after it. So everything about a worker is
//! first put together as one tree of prefixes. Only then are the changes made that lead to this state, tier by tier,
//! parents first.
//!
//! A parent is looked for on the block's own tier, then on the others, fastest first. It may be a block that was
//! removed again, or one in shared storage, which is not indexed: both tell where their children belong. The dump is
//! refused if a parent is missing, if a block is its own ancestor, or if a hash of a worker stands for two prefixes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::change::Change;
use super::dynamo::{DynamoBlock, DynamoData, DynamoEvent, StorageTier};
use super::worker_feed::WorkerFeed;
use crate::event::{Block, Worker};
use crate::index::Closed;
use crate::service::doubt::Doubt;
use crate::service::models::{Model, NoRoom};
use crate::service::tier::{MAX_RANK, Tier};

/// Why a dump is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::service) enum DumpError {
    /// The data-parallel rank is too high.
    #[error("the rank of worker {0} is too high")]
    Rank(Worker),
    /// The parent of a block is not in the dump.
    #[error("the parent of block {block} of worker {worker} is block {parent}, which is missing")]
    UnknownParent { worker: Worker, block: u64, parent: u64 },
    /// A block is its own ancestor.
    #[error("block {block} of worker {worker} is its own ancestor")]
    Cycle { worker: Worker, block: u64 },
    /// A hash stands for two prefixes.
    #[error("hash {block} of worker {worker} stands for two different prefixes")]
    TwoMeanings { worker: Worker, block: u64 },
    /// It has more workers than the model may have.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The index did not accept all of it.
    #[error("the index did not accept all of it; the log may say why")]
    Rejected,
    /// The index was shut down.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Loads a dump into an empty model, whose publishers then are engines that speak over HTTP and have not spoken yet. It
/// is not known at which event these engines are, so what they hold is doubted. Needs memory in proportion to the dump.
///
/// # Errors
/// The dump contradicts itself, or the index does not accept it. The model must be dropped then.
pub(in crate::service) fn take_dump(model: &Model, events: Vec<DynamoEvent>) -> Result<(), DumpError> {
    let mut workers: BTreeMap<Worker, Said> = BTreeMap::new();
    for DynamoEvent { worker_id, storage_tier, event } in events {
        let worker = Worker::new(worker_id, event.dp_rank);
        if worker.dp_rank > MAX_RANK {
            return Err(DumpError::Rank(worker));
        }
        let said = workers.entry(worker).or_default();
        said.take(storage_tier, event.data).map_err(|block| DumpError::TwoMeanings { worker, block })?;
    }
    for (worker, said) in workers {
        let mut entered = model.publishers().enter_over_http(&[worker]);
        let publisher = entered.remove(0)?;
        publisher.doubt(Doubt::Copied);
        publisher.set_copied();
        {
            let mut records = publisher.records();
            let opened = WorkerFeed::open(model, &publisher, &mut records, worker.dp_rank)?;
            let mut feed = opened.map_err(|_| DumpError::Rejected)?;
            let (stores, gaps) = said.tree(worker)?.changes();
            let gaps = Tier::ALL.into_iter().zip(&gaps).filter(|(_, gaps)| !gaps.is_empty());
            let removals = gaps.map(|(tier, hashes)| Change::Removed { tier, hashes: hashes.into() });
            let mut writer = feed.writer(0);
            for change in stores.into_iter().chain(removals) {
                writer.apply(change)?;
            }
        }
    }
    model.index().flush()?;
    let status = model.index().status();
    let strangers = status.shards.iter().flat_map(|shard| shard.rejected_strangers);
    let rejected = status.workers.iter().flat_map(|worker| worker.rejected).chain(strangers).sum::<u64>();
    if rejected == 0 { Ok(()) } else { Err(DumpError::Rejected) }
}

/// Everything that the dump says of a worker, by storage.
#[derive(Debug, Default)]
struct Said([HashMap<u64, Mention>; STORAGES]);

/// How many storages there are: the tiers, fastest first, and shared storage.
const STORAGES: usize = Tier::ALL.len() + 1;

/// What the dump says of a block in one storage.
#[derive(Clone, Copy, Debug)]
struct Mention {
    parent: Option<u64>,
    local: u64,
    /// Whether it is there, and was not removed again.
    held: bool,
}

impl Said {
    /// Adds an event. Fails with a hash that stands for two blocks.
    fn take(&mut self, storage: StorageTier, data: DynamoData) -> Result<(), u64> {
        let storage = &mut self.0[match storage {
            StorageTier::Device => Tier::Device as usize,
            StorageTier::HostPinned => Tier::Host as usize,
            StorageTier::Disk => Tier::Disk as usize,
            StorageTier::External => STORAGES - 1,
        }];
        match data {
            DynamoData::Stored { mut parent_hash, blocks } => {
                for DynamoBlock { block_hash, tokens_hash: local } in blocks {
                    let mention = Mention { parent: parent_hash, local, held: true };
                    match storage.entry(block_hash) {
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
                    if let Some(known) = storage.get_mut(&hash) {
                        known.held = false;
                    }
                }
            }
            DynamoData::Cleared => *self = Self::default(),
        }
        Ok(())
    }

    /// Returns the storage of a parent: that of the block itself, or else the first that has it.
    fn find(&self, storage: usize, hash: u64) -> Option<usize> {
        let others = (0..STORAGES).filter(|&other| other != storage);
        [storage].into_iter().chain(others).find(|&storage| self.0[storage].contains_key(&hash))
    }

    /// Puts the blocks together as a tree of prefixes.
    fn tree(&self, worker: Worker) -> Result<Tree, DumpError> {
        let mut tree = Tree::default();
        // By storage, the node that a hash stands for.
        let mut known: [HashMap<u64, u32>; STORAGES] = Default::default();
        let mut path = Vec::new();
        for storage in 0..STORAGES {
            for (&hash, mention) in &self.0[storage] {
                // Walk up to the first ancestor whose node is known, and add the nodes below it on the way back.
                let mut at = (storage, hash);
                let mut below = loop {
                    if let Some(&node) = known[at.0].get(&at.1) {
                        break Some(node);
                    }
                    if path.len() > self.0.iter().map(HashMap::len).sum() {
                        return Err(DumpError::Cycle { worker, block: hash });
                    }
                    path.push(at);
                    let Some(parent) = self.0[at.0][&at.1].parent else { break None };
                    let missing = DumpError::UnknownParent { worker, block: at.1, parent };
                    at = (self.find(at.0, parent).ok_or(missing)?, parent);
                };
                while let Some((storage, hash)) = path.pop() {
                    let node = tree.node(below, self.0[storage][&hash].local);
                    known[storage].insert(hash, node);
                    below = Some(node);
                }
                let node = below.expect("the walk went through this block at least");
                // Blocks in shared storage and removed ones only tell where their children belong.
                if mention.held && storage < Tier::ALL.len() && !tree.hold(storage, node, hash) {
                    return Err(DumpError::TwoMeanings { worker, block: hash });
                }
            }
        }
        tree.held.iter_mut().for_each(|held| held.sort_unstable());
        Ok(tree)
    }
}

/// The prefixes of a worker's blocks, and which of them it holds on which tier.
#[derive(Debug, Default)]
struct Tree {
    /// The prefix one block shorter, and the local hash of the last block. Parents come before their children.
    nodes: Vec<(Option<u32>, u64)>,
    by_content: HashMap<(Option<u32>, u64), u32>,
    /// By tier, the prefixes that are held there, each with its sequence hash. Sorted.
    held: [Vec<(u32, u64)>; Tier::ALL.len()],
    /// The prefix that each of these hashes stands for.
    meanings: HashMap<u64, u32>,
}

impl Tree {
    /// Returns the node of a prefix, and adds it if it is new.
    fn node(&mut self, parent: Option<u32>, local: u64) -> u32 {
        *self.by_content.entry((parent, local)).or_insert_with(|| {
            self.nodes.push((parent, local));
            (self.nodes.len() - 1) as u32
        })
    }

    /// Notes that the worker holds a prefix on a tier under this hash. Returns whether the hash stands for nothing
    /// else.
    fn hold(&mut self, tier: usize, node: u32, hash: u64) -> bool {
        self.held[tier].push((node, hash));
        *self.meanings.entry(hash).or_insert(node) == node
    }

    /// Returns the changes that bring an empty worker to this state: the stores, in order, and the blocks to remove
    /// from each tier afterwards. These lead to blocks of the tier and have to be stored first, but the worker holds
    /// them neither there nor on a faster tier.
    fn changes(&self) -> (Vec<Change<'static>>, [Vec<u64>; Tier::ALL.len()]) {
        // The hash by which a prefix is known on the current tier and all slower ones.
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

    /// Returns the prefixes that lead to what is held and have no name yet.
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

    /// Returns a hash by which a prefix is held on any tier.
    fn name(&self, node: u32) -> Option<u64> {
        self.held.iter().find_map(|held| {
            let place = held.partition_point(|&(other, _)| other < node);
            held.get(place).filter(|&&(other, _)| other == node).map(|&(_, hash)| hash)
        })
    }
}

/// Adds a block: to the last chain if the block continues it, or as a new chain.
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
