//! What all queries share: finding the model, hashing the prompt, looking it up.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::body::Name;
use super::refusal::Refusal;
use crate::index::Matches;
use crate::service::indexer::Indexer;
use crate::service::models::{Key, Model, check_name};

/// The model that a request is about.
pub(super) enum Found {
    Model(Arc<Model>),
    /// Its last engine left a while ago, so nobody holds anything.
    Removed {
        block_size: u32,
    },
}

/// Returns the model that a request is about.
pub(super) fn model(
    indexer: &Indexer,
    name: &Name<'_>,
    group: Option<&Name<'_>>,
    tenant: Option<&Name<'_>>,
) -> Result<Found, Refusal> {
    let (name, group, tenant) = (Name::or(Some(name), ""), Name::group(group), Name::tenant(tenant));
    if let Some(model) = indexer.models().get(name, group, tenant) {
        return Ok(Found::Model(model));
    }
    Key::check_parts(name, group, tenant)?;
    let removed = indexer.models().removed_block_size(name, group, tenant);
    removed.map(|block_size| Found::Removed { block_size }).ok_or_else(|| {
        let of = if tenant.is_empty() { String::new() } else { format!(" of tenant {tenant:?}") };
        Refusal::not_found(format!("no model {name:?} in routing group {group:?}{of}"))
    })
}

/// Refuses hashes where blocks are hashed with a secret key: nobody else can have computed them.
pub(super) fn accepts_hashes(indexer: &Indexer) -> Result<(), Refusal> {
    if indexer.models().are_keyed() {
        return Err(Refusal::bad("blocks are hashed with a secret key (hash_key_file); give tokens instead of hashes"));
    }
    Ok(())
}

thread_local! {
    static MATCHES: RefCell<Vec<Matches>> = const { RefCell::new(Vec::new()) };
    static HASHES: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Looks up prompts on this thread, and hands the answers to `read`. The thread uses their memory again.
pub(super) fn look_up<T>(
    indexer: &Indexer,
    model: &Model,
    prompts: &[Hashes],
    read: impl FnOnce(&[Matches]) -> T,
) -> T {
    MATCHES.with_borrow_mut(|matches| {
        if matches.len() < prompts.len() {
            matches.resize_with(prompts.len(), Matches::new);
        }
        let began = Instant::now();
        for (prompt, into) in prompts.iter().zip(&mut *matches) {
            model.index().find(&prompt.0, into);
        }
        indexer.metrics().lookups.observe(began.elapsed().as_secs_f64());
        let matches = &matches[..prompts.len()];
        let found = matches.iter().filter_map(Matches::best).map(|layer| layer.depth()).max().unwrap_or(0);
        model.count_lookup(prompts.iter().map(|prompt| prompt.0.len()).max().unwrap_or(0), found);
        read(matches)
    })
}

/// Hashes a prompt as the engines of the model do. Their hashes may look ahead by different numbers of tokens, so there
/// is one result for each number. A worker is found with its own number only, so the answers are about different
/// workers.
///
/// A salt is not kept, and is as long as the engine accepts it.
pub(super) fn hash(
    model: &Model,
    tokens: &[u32],
    lora: Option<&Name<'_>>,
    salt: Option<&Name<'_>>,
) -> Result<Vec<Hashes>, Refusal> {
    check_name("lora_name", Name::or(lora, ""))?;
    let hasher = model.hasher().lora(Name::or(lora, "")).namespace(Name::or(salt, ""));
    let prompts = model.publishers().lookaheads().map(|ahead| {
        let mut prompt = Hashes::default();
        hasher.lookahead(ahead).hash_into(tokens, &mut prompt.0);
        prompt
    });
    Ok(prompts.collect())
}

/// Local hashes, in memory that the thread uses again.
#[derive(Debug)]
pub(super) struct Hashes(pub(super) Vec<u64>);

impl Default for Hashes {
    fn default() -> Self {
        Self(HASHES.take())
    }
}

impl Drop for Hashes {
    fn drop(&mut self) {
        let mut hashes = std::mem::take(&mut self.0);
        hashes.clear();
        HASHES.set(hashes);
    }
}

impl<'de> Deserialize<'de> for Hashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Hashes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of hashes, each a 64-bit integer, signed or not")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hashes, A::Error> {
                let mut hashes = Hashes::default();
                while let Some(Hash(hash)) = list.next_element()? {
                    hashes.0.push(hash);
                }
                Ok(hashes)
            }
        }

        deserializer.deserialize_seq(List)
    }
}

/// A hash: an unsigned number, or the signed number with the same bits.
#[derive(Clone, Copy, Debug)]
struct Hash(u64);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a 64-bit integer, signed or not")
            }

            fn visit_u64<E>(self, hash: u64) -> Result<Hash, E> {
                Ok(Hash(hash))
            }

            fn visit_i64<E>(self, hash: i64) -> Result<Hash, E> {
                Ok(Hash(hash.cast_unsigned()))
            }
        }

        deserializer.deserialize_u64(Number)
    }
}
