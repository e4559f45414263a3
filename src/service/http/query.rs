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
    let mut hashes = Hashes::default();
    hash(&model, &ask.token_ids, ask.lora_name.as_ref(), ask.cache_salt.as_ref(), &mut hashes);
    Ok(answer(&indexer, &model, Some(&hashes.0)))
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
    Ok(answer(indexer, &model, lookup.then_some(&ask.block_hashes.0)))
}

/// The model that a request is about.
pub(super) fn model(
    indexer: &Indexer,
    name: &Name<'_>,
    group: Option<&Name<'_>>,
    tenant: Option<&Name<'_>>,
) -> Result<Arc<Model>, Refusal> {
    let (name, group, tenant) = (Name::or(Some(name), ""), Name::group(group), Name::or(tenant, ""));
    indexer.models().get(name, group, tenant).ok_or_else(|| {
        let of = if tenant.is_empty() { String::new() } else { format!(" of tenant {tenant:?}") };
        Refusal::not_found(format!("no model {name:?} in routing group {group:?}{of}"))
    })
}

thread_local! {
    static MATCHES: RefCell<Matches> = RefCell::default();
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    static HASHES: Cell<Vec<u64>> = const { Cell::new(Vec::new()) };
}

/// Looks up on this thread, in an answer that it uses again.
pub(super) fn look_up<T>(indexer: &Indexer, model: &Model, hashes: &[u64], read: impl FnOnce(&Matches) -> T) -> T {
    MATCHES.with_borrow_mut(|matches| {
        let began = Instant::now();
        model.index().find(hashes, matches);
        indexer.metrics().lookups.observe(began.elapsed().as_secs_f64());
        read(matches)
    })
}

/// Hashes a prompt as the engines of the model do.
pub(super) fn hash(model: &Model, tokens: &[u32], lora: Option<&Name<'_>>, salt: Option<&Name<'_>>, into: &mut Hashes) {
    let hasher = model.hasher().lora(Name::or(lora, "")).namespace(Name::or(salt, ""));
    hasher.eagle(model.ranks().have_bigrams()).hash_into(tokens, &mut into.0);
}

/// Writes what was found, or nothing.
fn answer(indexer: &Indexer, model: &Model, hashes: Option<&[u64]>) -> Response {
    ROWS.with_borrow_mut(|rows| {
        rows.clear();
        if let Some(hashes) = hashes {
            look_up(indexer, model, hashes, |matches| rows.extend(matches.iter().map(Row::new)));
            rows.sort_unstable();
        }
        let scores = Scores { rows, block_size: model.block_size(), degraded: &model.ranks().degraded() };
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
