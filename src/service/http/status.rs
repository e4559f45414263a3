//! `GET /v1/status`: the figures of the live page.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::body;
use super::refusal::Refusal;
use super::shares::Shares;
use crate::service::indexer::Indexer;
use crate::service::page::Status;

pub(super) async fn figures(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
) -> Result<Response, Refusal> {
    let status = shares.collect(move || Status::of(&indexer)).await?;
    Ok(body::json(StatusCode::OK, &status, 1 << 12))
}
