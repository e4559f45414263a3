//! `POST /query` and `POST /query_by_hash`: who holds how much of a prompt.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use hyper::StatusCode;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::body::{self, Name};
use super::refusal::Refusal;
use super::scores::{Row, Scores};
use crate::index::Matches;
use crate::service::indexer::Indexer;
use crate::service::model::Model;

#[derive(Deserialize)]
struct ByTokens<'a> {
    #[serde(borrow)]
    model_name: Name<'a>,
    routing_group: Option<Name<'a>>,
    tenant_id: Option<Name<'a>>,
    token_ids: Vec<u32>,
    lora_name: Option<Name<'a>>,
    cache_salt: Option<Name<'a>>,
}

#[derive(Deserialize)]
struct ByHash<'a> {
    #[serde(borrow)]
    model_name: Name<'a>,
    routing_group: Option<Name<'a>>,
    tenant_id: Option<Name<'a>>,
    block_hashes: Hashes,
    cache_salt: Option<IgnoredAny>,
}

pub(super) async fn by_tokens(State(indexer): State<Arc<Indexer>>, request: Request) -> Result<Response, Refusal> {
    let body = body::read(indexer.config(), request).await?;
    let _timer = indexer.metrics().answers.start_timer();
    let ask: ByTokens = body::parse(&body)?;
    let model = model(&indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
    let prompts = hash(&model, &ask.token_ids, ask.lora_name.as_ref(), ask.cache_salt.as_ref());
    Ok(answer(&indexer, &model, &prompts))
}

pub(super) async fn by_hash(State(indexer): State<Arc<Indexer>>, request: Request) -> Result<Response, Refusal> {
    by_hash_or_not(&indexer, request, true).await
}

/// All that [`by_hash`] does, except the lookup: what the server alone takes.
pub(super) async fn null(State(indexer): State<Arc<Indexer>>, request: Request) -> Result<Response, Refusal> {
    by_hash_or_not(&indexer, request, false).await
}

async fn by_hash_or_not(indexer: &Indexer, request: Request, lookup: bool) -> Result<Response, Refusal> {
    let body = body::read(indexer.config(), request).await?;
    let _timer = indexer.metrics().answers.start_timer();
    let ask: ByHash = body::parse(&body)?;
    if ask.cache_salt.is_some() {
        return Err(Refusal::bad("cache_salt goes into the hashes; with block_hashes it must not be given"));
    }
    let model = model(indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
    takes_hashes(indexer)?;
    let prompts = if lookup { std::slice::from_ref(&ask.block_hashes) } else { &[] };
    Ok(answer(indexer, &model, prompts))
}

/// The model that a request is about.
pub(super) fn model(
    indexer: &Indexer,
    name: &Name<'_>,
    group: Option<&Name<'_>>,
    tenant: Option<&Name<'_>>,
) -> Result<Arc<Model>, Refusal> {
    let (name, group, tenant) = (Name::or(Some(name), ""), Name::group(group), Name::tenant(tenant));
    indexer.models().get_or_left(name, group, tenant).ok_or_else(|| {
        let of = if tenant.is_empty() { String::new() } else { format!(" of tenant {tenant:?}") };
        Refusal::not_found(format!("no model {name:?} in routing group {group:?}{of}"))
    })
}

/// With a secret key, nobody else can have computed a hash that means anything.
pub(super) fn takes_hashes(indexer: &Indexer) -> Result<(), Refusal> {
    if indexer.models().are_keyed() {
        return Err(Refusal::bad("blocks are hashed with a secret key here (hash_key_file): give tokens, not hashes"));
    }
    Ok(())
}

thread_local! {
    static MATCHES: RefCell<Vec<Matches>> = const { RefCell::new(Vec::new()) };
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    static HASHES: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Looks up on this thread, in answers that it uses again: one for each way of hashing the prompt.
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
        read(&matches[..prompts.len()])
    })
}

/// Hashes a prompt as the engines of the model do: in every way that one of them has used. An engine's blocks are found
/// in its own way only, so the answers are about different workers.
pub(super) fn hash(model: &Model, tokens: &[u32], lora: Option<&Name<'_>>, salt: Option<&Name<'_>>) -> Vec<Hashes> {
    let hasher = model.hasher().lora(Name::or(lora, "")).namespace(Name::or(salt, ""));
    let ways = model.publishers().ways().map(|ahead| {
        let mut prompt = Hashes::default();
        hasher.lookahead(ahead).hash_into(tokens, &mut prompt.0);
        prompt
    });
    ways.collect()
}

/// Writes what was found.
fn answer(indexer: &Indexer, model: &Model, prompts: &[Hashes]) -> Response {
    ROWS.with_borrow_mut(|rows| {
        rows.clear();
        let doubts = look_up(indexer, model, prompts, |matches| {
            rows.extend(matches.iter().flat_map(Matches::iter).map(Row::new));
            matches.first().map_or_else(Vec::new, |matches| model.doubts_about(matches))
        });
        Row::merge(rows);
        let scores = Scores { rows, block_size: model.block_size(), doubts: &doubts };
        body::json(StatusCode::OK, &scores, scores.room())
    })
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
                f.write_str("a list of hashes, each a whole number of 64 bits, signed or not")
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

/// A hash as an unsigned number, or as the signed one of the same bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(pub(super) u64);

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Hash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 64 bits, signed or not")
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
