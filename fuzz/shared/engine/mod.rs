//! An engine whose events are well-formed but for the faults that an input asks for, as bytes, and what it holds after
//! each of them. It shares no logic with the service.
//!
//! Sequence hashes name prefixes, as those of all engines do: equal hashes have equal tokens before them.

mod encode;
mod rank;
mod said;
mod spoken;

use std::collections::{BTreeMap, BTreeSet};

use kvleap::service::Doubt;
use kvleap::service::publisher::Skip;
use rmp::encode::{write_array_len, write_f64, write_map_len, write_nil, write_str};
use twox_hash::XxHash3_64;

use encode::{encode, fitting, number};
use rank::{Rank, UNKNOWN_MEDIUM};
use said::{Ahead, Fault, Said, What};
pub use said::{Batch, Chain, Setup};
pub use spoken::{Spoken, speak};

pub const BLOCK_SIZE: usize = 2;

/// Tokens of the four kinds of blocks. The last two differ by a picture only.
const TOKENS: [[u32; BLOCK_SIZE]; 4] = [[0, 127], [128, 70_000], [u32::MAX, 0], [u32::MAX, 0]];
const PICTURE: &str = "picture-of-a-cat";
/// Prompts: the salt, the adapter, and the kinds of the blocks. Many begin alike.
const PROMPTS: [(&str, &str, [u8; 4]); 8] = [
    ("", "", [0, 1, 2, 3]),
    ("s", "", [0, 1, 2, 3]),
    ("", "", [0, 1, 3, 0]),
    ("", "", [3, 0, 0, 0]),
    ("s", "", [0, 1, 3, 3]),
    ("tenant-a", "my-lora", [0, 1, 2, 3]),
    ("", "my-lora", [0, 3, 2, 1]),
    ("tenant-a", "", [3, 3, 1, 2]),
];
/// Where the hashes of an engine begin: they differ in width and, as signed integers, in sign.
const BASES: [u64; 6] = [0, 120, 65_530, u32::MAX as u64 - 5, i64::MAX as u64 - 5, u64::MAX - 1_000_000];

/// All that is to be expected of an engine.
#[derive(Debug)]
pub struct Engine {
    setup: Setup,
    single: bool,
    registered: u32,
    pub ranks: BTreeMap<u32, Rank>,
    /// Doubts about ranks that are not named yet.
    others: BTreeSet<Doubt>,
    /// The local hashes on the way to each block, by sequence hash.
    pub paths: BTreeMap<u64, Vec<u64>>,
    names: BTreeMap<Vec<u8>, u64>,
    pub skipped: BTreeMap<&'static str, u64>,
    pub stored: u64,
    pub removed: u64,
    pub cleared: u64,
    pub blocks: u64,
    pub undecodable: u64,
    pub contradictions: u64,
}

/// The blocks that an event names.
pub struct Named {
    pub parent: Option<u64>,
    pub hashes: Vec<u64>,
    pub locals: Vec<u64>,
    tokens: Vec<u32>,
    behind: Vec<Vec<u32>>,
    pictures: Vec<bool>,
    salt: &'static str,
    adapter: &'static str,
    at_root: bool,
}

/// The local hash by its formula.
fn local(salt: &str, adapter: &str, tokens: &[u32], picture: bool) -> u64 {
    let mut seed = 1337_u64;
    if !adapter.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(0, adapter.as_bytes()));
    }
    if !salt.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(1, salt.as_bytes()));
    }
    let mut bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    if picture {
        bytes.extend(XxHash3_64::oneshot(PICTURE.as_bytes()).to_le_bytes());
    }
    XxHash3_64::oneshot_with_seed(seed, &bytes)
}

impl Engine {
    pub fn new(setup: Setup, registered: u32, single: bool) -> Self {
        Self {
            setup,
            single,
            registered,
            ranks: BTreeMap::new(),
            others: BTreeSet::new(),
            paths: BTreeMap::new(),
            names: BTreeMap::new(),
            skipped: BTreeMap::new(),
            stored: 0,
            removed: 0,
            cleared: 0,
            blocks: 0,
            undecodable: 0,
            contradictions: 0,
        }
    }

    fn ahead(&self) -> usize {
        match self.setup.ahead {
            Ahead::None => 0,
            Ahead::Bigrams => 1,
            Ahead::Listed(two) => 1 + usize::from(two),
        }
    }

    /// Spells out the blocks of a chain that an event names, with their hashes.
    pub fn name(&mut self, chain: Chain) -> Named {
        // The first ones are the most frequent.
        let prompt = usize::from(chain.prompt & chain.prompt >> 4) % PROMPTS.len();
        let (salt, adapter, kinds) = PROMPTS[prompt];
        // The tokens behind the last block are those of the first.
        let tokens: Vec<u32> = kinds.iter().chain(&kinds[..1]).flat_map(|&kind| TOKENS[usize::from(kind)]).collect();
        let from = usize::from(chain.part) % 3;
        let to = (from + 1 + usize::from(chain.part / 3) % 3).min(kinds.len());
        let window = BLOCK_SIZE + self.ahead();
        let mut named = Named {
            parent: None,
            hashes: Vec::new(),
            locals: Vec::new(),
            tokens: tokens[from * BLOCK_SIZE..].to_vec(),
            behind: Vec::new(),
            pictures: Vec::new(),
            salt,
            adapter,
            at_root: from == 0,
        };
        named.tokens.truncate((to - from) * BLOCK_SIZE + usize::from(matches!(self.setup.ahead, Ahead::Bigrams)));
        let mut path = Vec::new();
        for block in 0..to {
            let own = &tokens[block * BLOCK_SIZE..][..window];
            path.push(local(salt, adapter, own, kinds[block] == 3));
            let identity = format!("{salt}/{adapter}/{:?}/{own:?}", &kinds[..=block]).into_bytes();
            let number = self.names.len() as u64;
            let base = BASES[usize::from(self.setup.base) % BASES.len()];
            let hash = *self.names.entry(identity).or_insert_with(|| base.wrapping_add(number));
            self.paths.insert(hash, path.clone());
            if block + 1 == from {
                named.parent = Some(hash);
            }
            if block >= from {
                named.hashes.push(hash);
                named.locals.push(path[block]);
                named.behind.push(own[BLOCK_SIZE..].to_vec());
                named.pictures.push(kinds[block] == 3);
            }
        }
        named
    }

    fn skip(&mut self, why: Skip) {
        *self.skipped.entry(why.name()).or_default() += 1;
    }

    pub fn doubt_all(&mut self, doubt: Doubt) {
        self.others.insert(doubt);
        self.ranks.values_mut().for_each(|rank| rank.doubt(doubt));
    }

    /// Returns what is expected of a rank that is named now.
    pub fn rank(&mut self, rank: u32) -> &mut Rank {
        let others = &self.others;
        self.ranks.entry(rank).or_insert_with(|| {
            let mut new = Rank::default();
            others.iter().for_each(|&doubt| new.doubt(doubt));
            new
        })
    }

    /// Says a batch. Returns its bytes.
    pub fn say(&mut self, batch: &Batch) -> Vec<u8> {
        const TOO_HIGH: u32 = 1 << 28;
        let named = batch.rank.map(|rank| match rank % 5 {
            4 => TOO_HIGH,
            rank => rank.into(),
        });
        let mut bytes = Vec::new();
        let rank_key = ["data_parallel_rank", "attn_dp_rank", "dp_rank"][usize::from(batch.rank.unwrap_or(0)) % 3];
        if batch.as_map {
            write_map_len(&mut bytes, 3).unwrap();
            write_str(&mut bytes, "ts").unwrap();
        } else {
            write_array_len(&mut bytes, 3).unwrap();
        }
        write_f64(&mut bytes, 1.5).unwrap();
        if batch.as_map {
            write_str(&mut bytes, "events").unwrap();
        }
        write_array_len(&mut bytes, batch.events.len() as u32).unwrap();
        if batch.cut {
            // It announces a rank that is not there.
            self.undecodable += 1;
            self.doubt_all(Doubt::Undecodable);
            batch.events.iter().for_each(|_| write_nil(&mut bytes).unwrap());
            return bytes;
        }
        let about = match named {
            None => Some(self.registered),
            Some(TOO_HIGH) => None,
            Some(rank) if rank != self.registered && self.registered != 0 => {
                self.contradictions += 1;
                Some(self.registered)
            }
            Some(rank) => Some(rank),
        };
        if let Some(rank) = about {
            self.rank(rank);
        }
        for said in &batch.events {
            self.event(said, about, &mut bytes);
        }
        if about.is_none() {
            self.doubt_all(Doubt::Rank);
        }
        if batch.as_map {
            write_str(&mut bytes, rank_key).unwrap();
        }
        match named {
            None => write_nil(&mut bytes).unwrap(),
            Some(rank) => bytes.extend(number(rank.into())),
        }
        bytes
    }

    fn event(&mut self, said: &Said, about: Option<u32>, bytes: &mut Vec<u8>) {
        let fault = Some(said.fault).filter(|fault| said.faulty >= 192 && fault.can_happen_to(said.what));
        let mut named = self.name(said.chain);
        let tier = if fault == Some(Fault::Medium) { UNKNOWN_MEDIUM } else { said.tier() };
        if matches!(fault, Some(Fault::Adapter | Fault::Keys)) {
            // These take the place of what else the fields would say.
            (named.adapter, named.salt) = ("", "");
            named.pictures.fill(false);
        }
        if fault == Some(Fault::Repeated) {
            named.parent = named.hashes.last().copied();
        }
        // A connector names blocks that are known.
        let is_known = |rank: &Rank| {
            rank.left_out.is_empty()
                && !rank.raised.contains(&Doubt::Unplaced)
                && named.hashes.iter().all(|&hash| rank.has(tier, hash))
        };
        if matches!(said.what, What::Store { bare: true, .. })
            && (1..UNKNOWN_MEDIUM).contains(&tier)
            && about.and_then(|rank| self.ranks.get(&rank)).is_some_and(is_known)
        {
            named.salt = "";
            named.pictures.fill(false);
        }
        let group = match said.what {
            What::Store { group, .. } | What::Remove { group } => cache_group(group, fault),
            What::Place | What::Clear => cache_group(0, fault),
        };
        let form = fitting(self.setup, said, fault, &named, group.is_some());
        encode(self.setup, said, form, fault, group, &named, bytes);

        // What cannot be read is counted before ranks are looked at.
        if let Some(fault @ (Fault::Malformed | Fault::UnknownTag)) = fault {
            self.skip(fault.skip());
            if let (Some(rank), Some(doubt)) = (about, fault.doubt()) {
                self.rank(rank).doubt(doubt);
            }
            return;
        }
        let Some(about) = about else { return self.skip(Skip::Rank) };
        let single = self.single;
        match said.what {
            What::Clear => {
                self.cleared += 1;
                self.rank(about).clear();
            }
            What::Store { .. } | What::Place => {
                if let Some((group, full)) = group {
                    self.rank(about).groups.insert(group, full);
                }
                if let Some(fault) = fault {
                    self.skip(fault.skip());
                    if let Some(why) = fault.doubt() {
                        let rank = self.rank(about);
                        named.hashes.iter().for_each(|&hash| rank.leave_out(tier, hash, why, single));
                        // Without a block, the doubt is about nothing that could be removed.
                        rank.raised.insert(why);
                    }
                    return;
                }
                self.stored += 1;
                self.blocks += named.hashes.len() as u64;
                let rank = self.rank(about);
                if said.what != What::Place {
                    rank.needs(tier, named.parent);
                    named.hashes.iter().for_each(|&hash| rank.take(tier, hash, single));
                    return;
                }
                for &hash in &named.hashes {
                    if tier == 0 {
                        // One copy more on the device can be told to nobody without its tokens.
                        rank.leave_out(tier, hash, Doubt::Location, single);
                    } else if rank.has(tier, hash) {
                        // If a store of it was left out, or had no place, the service may know nothing of it.
                        if !rank.left_out.is_empty() || rank.raised.contains(&Doubt::Unplaced) {
                            rank.raised.insert(Doubt::Location);
                        }
                        let only_left_out = (0..=tier).all(|tier| !rank.taken.contains(&(tier, hash)));
                        if only_left_out {
                            rank.leave_out(tier, hash, Doubt::Location, single);
                        } else {
                            rank.take(tier, hash, single);
                        }
                    } else {
                        rank.leave_out(tier, hash, Doubt::Location, single);
                    }
                }
            }
            What::Remove { .. } => {
                let group = group.map_or(0, |(group, _)| group);
                let rank = self.rank(about);
                if !rank.groups.get(&group).copied().unwrap_or(group == 0) {
                    return self.skip(Skip::Group);
                }
                if let Some(fault) = fault {
                    if fault == Fault::Medium {
                        if named.hashes.iter().any(|&hash| !rank.copies.contains_key(&(tier, hash))) {
                            rank.doubt(Doubt::UnknownEvent);
                        }
                        named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
                    }
                    return self.skip(fault.skip());
                }
                named.hashes.iter().for_each(|&hash| rank.remove(tier, hash));
                self.removed += 1;
                self.blocks += named.hashes.len() as u64;
            }
        }
    }
}

/// Returns the number of the cache group that an event names, and whether it uses full attention.
fn cache_group(group: u8, fault: Option<Fault>) -> Option<(u8, bool)> {
    if fault == Some(Fault::Group) {
        return Some((5, false));
    }
    match group % 3 {
        0 => None,
        1 => Some((0, true)),
        _ => Some((1, true)),
    }
}
