//! From what engines say to what the index understands.

use std::borrow::Cow;
use std::collections::HashSet;

use super::WorkerRecord;
use super::record::Namespace;
use super::tier_writer::Change;
use crate::event::Block;
use crate::hash::{BlockHasher, mm_hash};
use crate::service::doubt::Doubt;
use crate::service::media::Media;
use crate::service::publisher::{Publisher, Skip};
use crate::service::wire::{Batch, Event, Extra, Location, Stored};
use crate::service::{MAX_LOOKAHEAD, Publishers, Tier};

/// Above this many hashes an event's repetitions are looked for in a set.
const FEW: usize = 16;

/// Turns events into changes of one rank's tiers, or says why not.
#[derive(Debug)]
pub(super) struct Normaliser<'a> {
    pub(super) hasher: BlockHasher,
    pub(super) media: &'a Media,
    pub(super) publishers: &'a Publishers,
    pub(super) publisher: &'a Publisher,
    pub(super) memory: &'a mut WorkerRecord,
}

impl Normaliser<'_> {
    /// What the event changes, and on which tier.
    pub(super) fn change<'b>(&mut self, batch: &'b Batch<'_>, event: &Event<'_>) -> Result<Change<'b>, Skip> {
        match event {
            Event::Cleared => Ok(Change::Cleared),
            Event::Stored(stored) => self.stored(batch, stored),
            Event::Removed { hashes, place } => {
                if !self.is_indexed(place.group, None) {
                    return Err(Skip::Group);
                }
                Ok(Change::Removed { tier: self.tier(*place)?, hashes: hashes.of(batch) })
            }
        }
    }

    fn stored<'b>(&mut self, batch: &'b Batch<'_>, stored: &Stored<'_>) -> Result<Change<'b>, Skip> {
        if !self.is_indexed(stored.place.group, stored.kind) {
            return Err(Skip::Group);
        }
        let tier = self.tier(stored.place)?;
        let hashes = stored.hashes.of(batch);
        let tokens = stored.tokens(batch);
        if tokens.is_empty() {
            // A location: whatever the block size says, there is nothing to hash.
            return Ok(Change::Placed { tier, hashes });
        }
        if repeats(stored.parent, hashes) {
            return Err(Skip::Repeated);
        }
        if stored.block_size != u64::from(self.hasher.block_size()) {
            return Err(Skip::BlockSize);
        }
        if stored.lora_id && stored.lora_name.is_none() {
            return Err(Skip::Adapter);
        }
        let (tokens, lookahead) = self.with_lookahead(batch, stored, tokens)?;
        if hashes.is_empty() {
            return Err(Skip::Tokens);
        }
        let in_this_way = self.hasher.lookahead(self.way(lookahead)?);
        let blocks = self.blocks(in_this_way, stored, hashes, &tokens, stored.extras(batch))?;
        Ok(Change::Stored { tier, parent: stored.parent, blocks })
    }

    /// The tokens of an event's blocks and of those behind the last one that its hash covers, and how many these are.
    fn with_lookahead<'b>(
        &self,
        batch: &'b Batch<'_>,
        stored: &Stored<'_>,
        tokens: &'b [u32],
    ) -> Result<(Cow<'b, [u32]>, u32), Skip> {
        let size = self.hasher.block_size() as usize;
        let blocks = stored.hashes.of(batch).len();
        let fits = |tokens: usize| Some(tokens) == blocks.checked_mul(size);
        if stored.bigrams {
            return if fits(tokens.len() - 1) { Ok((tokens.into(), 1)) } else { Err(Skip::Tokens) };
        }
        if !fits(tokens.len()) {
            return Err(Skip::Tokens);
        }
        let Some((behind, each)) = stored.behind(batch) else { return Ok((tokens.into(), 0)) };
        if each > size.min(MAX_LOOKAHEAD as usize) || behind.len() != blocks * each {
            return Err(Skip::Tokens);
        }
        let own = |block: usize| &behind[block * each..(block + 1) * each];
        // What is behind a block is what the next one begins with.
        if (1..blocks).any(|block| own(block - 1) != &tokens[block * size..block * size + each]) {
            return Err(Skip::Tokens);
        }
        Ok(([tokens, own(blocks - 1)].concat().into(), each as u32))
    }

    /// How many tokens behind a block this publisher's hashes cover, where an event says so many. The first event
    /// decides: queries hash prompts in every way that publishers of the model use, but a chain in one way.
    fn way(&self, lookahead: u32) -> Result<u32, Skip> {
        match self.publisher.lookahead() {
            None => {
                self.publisher.set_lookahead(lookahead);
                self.publishers.note_way(lookahead);
                Ok(lookahead)
            }
            Some(known) if known > lookahead => Err(Skip::Hashing),
            Some(known) => {
                if known < lookahead {
                    self.publisher.doubt(Doubt::Hashing);
                }
                Ok(known)
            }
        }
    }

    fn blocks(
        &mut self,
        hasher: BlockHasher,
        stored: &Stored<'_>,
        sequences: &[u64],
        tokens: &[u32],
        extras: &[(u32, Extra<'_>)],
    ) -> Result<Vec<Block>, Skip> {
        let Keys { salt, objects } = Keys::of(stored, extras)?;
        // An engine names a salt once; a block that it tells of again, and what follows it, has that of before.
        let known = |hash: u64| self.memory.namespaces.get(&hash).map(|namespace| namespace.hash);
        let inherited = || sequences.first().copied().and_then(known).or_else(|| stored.parent.and_then(known));
        let namespace = salt.map(|salt| hasher.hash_of_namespace(salt)).or_else(inherited).unwrap_or(0);
        if namespace != 0 {
            for &hash in sequences {
                let entry = self.memory.namespaces.entry(hash);
                let again = matches!(entry, std::collections::hash_map::Entry::Occupied(_));
                let known = entry.or_insert(Namespace { hash: namespace, more: 0 });
                known.hash = namespace;
                known.more += u32::from(again && self.publisher.counts_copies());
            }
        }
        let own = hasher.lora(stored.lora_name.unwrap_or("")).namespace_hash(namespace);
        let mut locals = own.hash(tokens);
        let (size, window) = (own.block_size() as usize, own.window());
        for of_block in objects.chunk_by(|a, b| a.0 == b.0) {
            let block = of_block[0].0 as usize;
            let Some(local) = locals.get_mut(block) else { break };
            let objects: Vec<u64> = of_block.iter().map(|&(_, hash)| hash).collect();
            *local = own.hash_block_mm(&tokens[block * size..block * size + window], &objects);
        }
        Ok(sequences.iter().zip(locals).map(|(&sequence, local)| Block { sequence, local }).collect())
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

    /// Where the blocks are, unless that is nowhere of the instance's own.
    fn tier(&self, place: Location<'_>) -> Result<Tier, Skip> {
        if place.ownership.is_some() || place.locality.is_some_and(|locality| !locality.eq_ignore_ascii_case("LOCAL")) {
            return Err(Skip::Shared);
        }
        self.media.get(place.medium).ok_or(Skip::Medium)?.tier().ok_or(Skip::Shared)
    }
}

/// What an event's extra keys mean.
struct Keys<'a> {
    salt: Option<&'a str>,
    /// By block, the hashes of what reaches into it.
    objects: Vec<(u32, u64)>,
}

impl<'a> Keys<'a> {
    /// An event lists for each block the adapter's name, multimodal objects, and for a sequence's first block the salt.
    /// Objects are pairs of identifier and offset, and what is neither that nor the adapter is the salt; but two old
    /// releases have bare identifiers, so that in their form of event a name at a sequence's beginning may be either.
    fn of(stored: &Stored<'a>, extras: &[(u32, Extra<'a>)]) -> Result<Self, Skip> {
        let bare_objects =
            stored.may_have_bare_objects && !extras.iter().any(|(_, key)| matches!(key, Extra::Object(_)));
        let mut keys = Self { salt: stored.salt, objects: Vec::new() };
        for of_block in extras.chunk_by(|a, b| a.0 == b.0) {
            let adapter = matches!(of_block[0].1, Extra::Name(name) if stored.lora_name == Some(name));
            for &(block, key) in &of_block[usize::from(adapter)..] {
                let object = match key {
                    Extra::Object(name) => mm_hash(name),
                    // Nobody can ask for it; but nobody must take its placeholder tokens for a prompt's.
                    Extra::Embedding(digest) => digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)),
                    Extra::Name(name) if bare_objects && (block > 0 || stored.parent.is_some()) => mm_hash(name),
                    Extra::Name(_) if bare_objects => return Err(Skip::Keys),
                    Extra::Name(name) if block == 0 && keys.salt.is_none_or(|salt| salt == name) => {
                        keys.salt = Some(name);
                        continue;
                    }
                    Extra::Name(_) => return Err(Skip::Keys),
                };
                keys.objects.push((block, object));
            }
        }
        Ok(keys)
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
