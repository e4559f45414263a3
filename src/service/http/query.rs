//! `POST /query` and `POST /query_by_hash`: who holds how much of a prompt, as Dynamo's indexer answers it.

use std::cell::RefCell;

use axum::response::Response;
use hyper::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::body::{self, Name};
use super::lookup::{self, Found, Hashes};
use super::refusal::Refusal;
use super::scores::{Row, Scores};
use crate::index::Matches;
use crate::service::indexer::Indexer;
use crate::service::models::Model;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
struct ByHash<'a> {
    #[serde(borrow)]
    model_name: Name<'a>,
    routing_group: Option<Name<'a>>,
    tenant_id: Option<Name<'a>>,
    block_hashes: Hashes,
    lora_name: Option<IgnoredAny>,
    cache_salt: Option<IgnoredAny>,
}

pub(super) fn by_tokens(indexer: &Indexer, body: &[u8]) -> Result<Response, Refusal> {
    let _timer = indexer.metrics().answers.start_timer();
    let ask: ByTokens = body::parse(body)?;
    match lookup::model(indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())? {
        Found::Removed { block_size } => Ok(nothing(block_size)),
        Found::Model(model) => {
            let prompts = lookup::hash(&model, &ask.token_ids, ask.lora_name.as_ref(), ask.cache_salt.as_ref())?;
            Ok(answer(indexer, &model, &prompts))
        }
    }
}

pub(super) fn by_hash(indexer: &Indexer, body: &[u8]) -> Result<Response, Refusal> {
    let _timer = indexer.metrics().answers.start_timer();
    let ask: ByHash = body::parse(body)?;
    if ask.cache_salt.is_some() || ask.lora_name.is_some() {
        return Err(Refusal::bad("lora_name and cache_salt are part of the hashes; leave them out with block_hashes"));
    }
    let found = lookup::model(indexer, &ask.model_name, ask.routing_group.as_ref(), ask.tenant_id.as_ref())?;
    lookup::accepts_hashes(indexer)?;
    Ok(match found {
        Found::Removed { block_size } => nothing(block_size),
        Found::Model(model) => answer(indexer, &model, std::slice::from_ref(&ask.block_hashes)),
    })
}

thread_local! {
    /// Memory for the rows of an answer, which the thread uses again.
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
}

/// Answers that nobody holds anything of the prompt.
fn nothing(block_size: u32) -> Response {
    let scores = Scores { rows: &[], block_size, doubts: &[] };
    body::json(StatusCode::OK, &scores, scores.room())
}

/// Looks up the prompts, and answers with what was found.
fn answer(indexer: &Indexer, model: &Model, prompts: &[Hashes]) -> Response {
    ROWS.with_borrow_mut(|rows| {
        rows.clear();
        let doubts = lookup::look_up(indexer, model, prompts, |matches| {
            rows.extend(matches.iter().flat_map(Matches::iter).map(Row::new));
            matches.first().map_or_else(Vec::new, |matches| model.doubts_about(matches))
        });
        Row::merge(rows);
        let scores = Scores { rows, block_size: model.block_size(), doubts: &doubts };
        body::json(StatusCode::OK, &scores, scores.room())
    })
}
