//! Normalising: from the events of engines, which differ by engine and version, to changes of one worker.

use std::borrow::Cow;
use std::collections::HashSet;

use super::change::Change;
use crate::event::Block;
use crate::hash::{BlockHasher, mm_hash};
use crate::service::doubt::Doubt;
use crate::service::media::Media;
use crate::service::models::{MAX_LOOKAHEAD, Publishers};
use crate::service::publisher::{Namespace, Publisher, Skip, WorkerRecord};
use crate::service::tier::Tier;
use crate::service::wire::{Batch, Event, Extra, Location, Stored};

/// With more hashes than this, repetitions are looked for with a set.
const FEW: usize = 16;

/// Turns an engine's events into changes of one worker.
#[derive(Debug)]
pub(super) struct Normaliser<'a> {
    pub(super) hasher: BlockHasher,
    pub(super) media: &'a Media,
    pub(super) publishers: &'a Publishers,
    pub(super) publisher: &'a Publisher,
    pub(super) record: &'a mut WorkerRecord,
    /// Whether the memory budget is exhausted, so that what is stored will be refused.
    pub(super) exhausted: bool,
}

impl Normaliser<'_> {
    /// Returns what the event changes, or why it has to be skipped.
    pub(super) fn change<'b>(&mut self, batch: &'b Batch<'_>, event: &Event<'_>) -> Result<Change<'b>, Skip> {
        match event {
            Event::Cleared => Ok(Change::Cleared),
            Event::Stored(stored) => self.stored(batch, stored),
            Event::Removed { hashes, location } => {
                if !self.is_indexed(location.group, None)? {
                    return Err(Skip::Group);
                }
                Ok(Change::Removed { tier: self.tier(*location)?, hashes: hashes.of(&batch.columns).into() })
            }
        }
    }

    fn stored<'b>(&mut self, batch: &'b Batch<'_>, stored: &Stored<'_>) -> Result<Change<'b>, Skip> {
        if !self.is_indexed(stored.location.group, stored.kind)? {
            return Err(Skip::Group);
        }
        let tier = self.tier(stored.location)?;
        let hashes = stored.hashes.of(&batch.columns);
        let tokens = stored.tokens(&batch.columns);
        if tokens.is_empty() {
            // It only says where known blocks lie. There is nothing to hash, so its block size does not matter.
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
        let with_lookahead = self.hasher.lookahead(self.agreed_lookahead(lookahead)?);
        let blocks = self.blocks(with_lookahead, stored, hashes, &tokens, stored.extras(&batch.columns))?;
        Ok(Change::Stored { tier, parent: stored.parent, blocks })
    }

    /// Returns the tokens of an event's blocks with those behind the last block that its hash covers, and the number of
    /// the latter.
    fn with_lookahead<'b>(
        &self,
        batch: &'b Batch<'_>,
        stored: &Stored<'_>,
        tokens: &'b [u32],
    ) -> Result<(Cow<'b, [u32]>, u32), Skip> {
        let size = self.hasher.block_size() as usize;
        let blocks = stored.hashes.of(&batch.columns).len();
        let fits = |tokens: usize| Some(tokens) == blocks.checked_mul(size);
        if stored.bigrams {
            return if fits(tokens.len() - 1) { Ok((tokens.into(), 1)) } else { Err(Skip::Tokens) };
        }
        if !fits(tokens.len()) {
            return Err(Skip::Tokens);
        }
        let Some((behind, each)) = stored.behind(&batch.columns) else { return Ok((tokens.into(), 0)) };
        if each > size.min(MAX_LOOKAHEAD as usize) || behind.len() != blocks * each {
            return Err(Skip::Tokens);
        }
        let own = |block: usize| &behind[block * each..(block + 1) * each];
        // The tokens behind a block are those that the next one begins with.
        if (1..blocks).any(|block| own(block - 1) != &tokens[block * size..block * size + each]) {
            return Err(Skip::Tokens);
        }
        Ok(([tokens, own(blocks - 1)].concat().into(), each as u32))
    }

    /// Returns how many tokens behind a block this publisher's hashes cover, given what an event has.
    ///
    /// The publisher's first event decides, because all blocks of a chain must be hashed alike; queries hash prompts
    /// with every lookahead that publishers of the model have. Later events with fewer tokens cannot be hashed and are
    /// skipped. With more, the additional tokens are ignored, and the publisher is doubted.
    fn agreed_lookahead(&self, lookahead: u32) -> Result<u32, Skip> {
        match self.publisher.lookahead() {
            None => {
                self.publisher.set_lookahead(lookahead);
                self.publishers.note_lookahead(lookahead);
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

    /// Hashes an event's blocks.
    fn blocks(
        &mut self,
        hasher: BlockHasher,
        stored: &Stored<'_>,
        sequences: &[u64],
        tokens: &[u32],
        extras: &[(u32, Extra<'_>)],
    ) -> Result<Vec<Block>, Skip> {
        let Keys { salt, objects } = Keys::of(stored, extras)?;
        // An engine names a salt only with the first block of a chain. A block that is announced again keeps its salt,
        // and blocks behind a known one inherit it.
        let known = |hash: u64| self.record.namespaces.get(&hash).map(|namespace| namespace.hash);
        let inherited = || sequences.first().copied().and_then(known).or_else(|| stored.parent.and_then(known));
        let namespace = salt.map(|salt| hasher.hash_of_namespace(salt)).or_else(inherited).unwrap_or(0);
        if namespace != 0 && !self.exhausted {
            for &hash in sequences {
                let entry = self.record.namespaces.entry(hash);
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

    /// Whether blocks of this cache group are indexed. Only with full attention can a prefix be read from its blocks. A
    /// group's events name its kind when they store blocks; until then, the first group counts as one with full
    /// attention.
    ///
    /// # Errors
    /// The worker has too many groups.
    fn is_indexed(&mut self, group: Option<u64>, kind: Option<&str>) -> Result<bool, Skip> {
        let group = group.unwrap_or(0);
        match kind {
            None => Ok(self.record.groups.get(&group).copied().unwrap_or(group == 0)),
            Some(kind) => {
                let full = matches!(kind, "full_attention" | "mla_attention" | "sink_full_attention");
                if self.record.note_group(group, full) { Ok(full) } else { Err(Skip::Malformed) }
            }
        }
    }

    /// Returns the tier of the blocks, if they are in storage of the instance's own.
    fn tier(&self, location: Location<'_>) -> Result<Tier, Skip> {
        if location.ownership.is_some()
            || location.locality.is_some_and(|locality| !locality.eq_ignore_ascii_case("LOCAL"))
        {
            return Err(Skip::Shared);
        }
        self.media.get(location.medium).ok_or(Skip::Medium)?.tier().ok_or(Skip::Shared)
    }
}

/// The meaning of an event's extra keys.
struct Keys<'a> {
    salt: Option<&'a str>,
    /// The hashes of multimodal objects, each with the number of the block that it reaches into.
    objects: Vec<(u32, u64)>,
}

impl<'a> Keys<'a> {
    /// Interprets an event's extra keys.
    ///
    /// For each block, an event lists the adapter's name and the multimodal objects, and for the first block of a
    /// sequence the salt. Objects are pairs of identifier and offset, so a name that is not the adapter's is the salt.
    /// But two old releases have bare identifiers: in their form of event, a name at the beginning of a sequence may be
    /// either, and the event is skipped.
    fn of(stored: &Stored<'a>, extras: &[(u32, Extra<'a>)]) -> Result<Self, Skip> {
        let bare_objects =
            stored.may_have_bare_objects && !extras.iter().any(|(_, key)| matches!(key, Extra::Object(_)));
        let mut keys = Self { salt: stored.salt, objects: Vec::new() };
        for of_block in extras.chunk_by(|a, b| a.0 == b.0) {
            let adapter = matches!(of_block[0].1, Extra::Name(name) if stored.lora_name == Some(name));
            for &(block, key) in &of_block[usize::from(adapter)..] {
                let object = match key {
                    Extra::Object(name) => mm_hash(name),
                    // No query can match embeddings, but their placeholder tokens must not match a prompt.
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

/// Whether a hash names two blocks of a chain, or a block and its parent.
fn repeats(parent: Option<u64>, hashes: &[u64]) -> bool {
    if hashes.len() <= FEW {
        let before = |place: usize| hashes[..place].iter().copied().chain(parent);
        return (0..hashes.len()).any(|place| before(place).any(|other| other == hashes[place]));
    }
    let mut seen: HashSet<u64> = parent.into_iter().collect();
    !hashes.iter().all(|&hash| seen.insert(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_comes_twice_is_seen_in_chains_of_every_length() {
        for length in [1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
            let hashes: Vec<u64> = (1..=length as u64).collect();
            assert!(!repeats(None, &hashes) && !repeats(Some(0), &hashes), "{length} different blocks");
            for place in [0, length / 2, length - 1] {
                assert!(repeats(Some(hashes[place]), &hashes), "{length} blocks, the parent at {place}");
                let twice = [&hashes[..], &hashes[place..=place]].concat();
                assert!(repeats(None, &twice), "{length} blocks, and that at {place} once more");
            }
        }
    }
}
