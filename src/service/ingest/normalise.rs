//! From what engines say to what the index understands.

use std::collections::HashSet;

use super::Memory;
use super::tiers::Change;
use crate::event::Block;
use crate::hash::{BlockHasher, mm_hash, namespace_hash};
use crate::service::Tier;
use crate::service::rank::{Rank, Skip};
use crate::service::wire::{Batch, Event, Extra, Place, Stored};

/// Above this many hashes an event's repetitions are looked for in a set.
const FEW: usize = 16;

/// Turns events into changes of one rank's tiers, or says why not.
#[derive(Debug)]
pub(super) struct Normaliser<'a> {
    pub(super) hasher: BlockHasher,
    pub(super) rank: &'a Rank,
    pub(super) memory: &'a mut Memory,
}

impl Normaliser<'_> {
    /// What the event changes, and on which tier.
    pub(super) fn change<'b>(&mut self, batch: &'b Batch<'_>, event: &Event<'_>) -> Result<Change<'b>, Skip> {
        match event {
            Event::Cleared => Ok(Change::Cleared),
            Event::Stored(stored) => self.stored(batch, stored),
            Event::Removed { hashes, place } => {
                let tier = tier(*place)?;
                if !self.is_indexed(place.group, None) {
                    return Err(Skip::Group);
                }
                Ok(Change::Removed { tier, hashes: hashes.of(batch) })
            }
        }
    }

    fn stored<'b>(&mut self, batch: &'b Batch<'_>, stored: &Stored<'_>) -> Result<Change<'b>, Skip> {
        let tier = tier(stored.place)?;
        if !self.is_indexed(stored.place.group, stored.kind) {
            return Err(Skip::Group);
        }
        let hashes = stored.hashes.of(batch);
        if repeats(stored.parent, hashes) {
            return Err(Skip::Repeated);
        }
        let tokens = stored.tokens(batch);
        if tokens.is_empty() && stored.block_size == 0 {
            return Ok(Change::Placed { tier, hashes });
        }
        if stored.block_size != u64::from(self.hasher.block_size()) {
            return Err(Skip::BlockSize);
        }
        if stored.lora_id && stored.lora_name.is_none() {
            return Err(Skip::Adapter);
        }
        let pairs = tokens.len() - usize::from(stored.bigrams && !tokens.is_empty());
        if hashes.is_empty() || Some(pairs) != hashes.len().checked_mul(self.hasher.block_size() as usize) {
            return Err(Skip::Tokens);
        }
        if stored.bigrams {
            self.rank.note_bigrams();
        }
        let blocks = self.blocks(stored, hashes, tokens, stored.extras(batch));
        Ok(Change::Stored { tier, parent: stored.parent, blocks })
    }

    fn blocks(
        &mut self,
        stored: &Stored<'_>,
        hashes: &[u64],
        tokens: &[u32],
        extras: &[(u32, Extra<'_>)],
    ) -> Vec<Block> {
        let Keys { salt, objects } = Keys::of(stored, extras);
        let inherited = || stored.parent.and_then(|parent| self.memory.namespaces.get(&parent).copied());
        let namespace = salt.map(namespace_hash).or_else(inherited).unwrap_or(0);
        if namespace != 0 {
            self.memory.namespaces.extend(hashes.iter().map(|&hash| (hash, namespace)));
        }
        let own = self.hasher.lora(stored.lora_name.unwrap_or("")).namespace_hash(namespace).eagle(stored.bigrams);
        let mut locals = own.hash(tokens);
        let size = own.block_size() as usize;
        for of_block in objects.chunk_by(|a, b| a.0 == b.0) {
            let block = of_block[0].0 as usize;
            let Some(local) = locals.get_mut(block) else { break };
            let window = &tokens[block * size..(block + 1) * size + usize::from(stored.bigrams)];
            let objects: Vec<u64> = of_block.iter().map(|&(_, hash)| hash).collect();
            *local = own.hash_block_mm(window, &objects);
        }
        hashes.iter().zip(locals).map(|(&sequence, local)| Block { sequence, local }).collect()
    }

    /// Whether blocks of this cache group are what a prefix can be read from: those with full attention are. Groups say
    /// what they are when they store; the first is taken for one, until it says otherwise.
    fn is_indexed(&mut self, group: Option<u64>, kind: Option<&str>) -> bool {
        let group = group.unwrap_or(0);
        match kind {
            None => self.memory.groups.get(&group).copied().unwrap_or(group == 0),
            Some(kind) => {
                let full = matches!(kind, "full_attention" | "mla_attention" | "sink_full_attention");
                self.memory.groups.insert(group, full);
                full
            }
        }
    }
}

/// What an event's extra keys mean.
struct Keys<'a> {
    salt: Option<&'a str>,
    /// By block, the hashes of what reaches into it.
    objects: Vec<(u32, u64)>,
}

impl<'a> Keys<'a> {
    /// Some versions give all names alike: the adapter's is known from elsewhere, a multimodal object's is a digest, and
    /// what is neither is the salt.
    fn of(stored: &Stored<'a>, extras: &[(u32, Extra<'a>)]) -> Self {
        let mut keys = Self { salt: stored.salt, objects: Vec::new() };
        for &(block, extra) in extras {
            let object = match extra {
                Extra::Name(name) if stored.lora_name == Some(name) => continue,
                Extra::Name(name) if !is_digest(name) => {
                    keys.salt = Some(name);
                    continue;
                }
                Extra::Name(name) | Extra::Object(name) => mm_hash(name),
                // Nobody can ask for it; but nobody must take its placeholder tokens for a prompt's.
                Extra::Embedding(digest) => digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
            };
            keys.objects.push((block, object));
        }
        keys
    }
}

/// A SHA-256 in hexadecimal digits.
fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where the blocks are, unless that is nowhere of the instance's own.
fn tier(place: Place<'_>) -> Result<Tier, Skip> {
    if place.ownership.is_some() || place.locality.is_some_and(|locality| locality != "LOCAL") {
        return Err(Skip::Medium);
    }
    match place.medium {
        None | Some("GPU" | "DEVICE") => Ok(Tier::Device),
        Some("CPU" | "CPU_PINNED" | "CPU_TIER1") => Ok(Tier::Host),
        Some("CPU_TIER2" | "DISK" | "NVME" | "STORAGE" | "FS" | "OBJ") => Ok(Tier::Disk),
        Some(_) => Err(Skip::Medium),
    }
}

/// Whether a hash names two blocks of a chain.
fn repeats(parent: Option<u64>, hashes: &[u64]) -> bool {
    if hashes.len() <= FEW {
        let before = |place: usize| hashes[..place].iter().copied().chain(parent);
        return (0..hashes.len()).any(|place| before(place).any(|other| other == hashes[place]));
    }
    let mut seen: HashSet<u64> = parent.into_iter().collect();
    !hashes.iter().all(|&hash| seen.insert(hash))
}
