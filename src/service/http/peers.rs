//! `/peers`, `/register_peer` and `/deregister_peer`: the list of other instances.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Deserialize;

use super::body;
use super::refusal::Refusal;
use crate::service::indexer::Indexer;
use crate::service::peers::PeerError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    url: String,
}

pub(super) fn register(indexer: &Indexer, body: &[u8]) -> Result<Response, Refusal> {
    let peer: Peer = body::parse(body)?;
    indexer.peers().add(&peer.url).map_err(|error| {
        let status = match error {
            PeerError::TooMany { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status, error.to_string())
    })?;
    Ok(body::ok(StatusCode::CREATED))
}

pub(super) fn deregister(indexer: &Indexer, body: &[u8]) -> Result<Response, Refusal> {
    let peer: Peer = body::parse(body)?;
    if indexer.peers().remove(&peer.url) {
        Ok(body::ok(StatusCode::OK))
    } else {
        Err(Refusal::not_found("peer not found"))
    }
}

pub(super) async fn list(State(indexer): State<Arc<Indexer>>) -> Response {
    body::json(StatusCode::OK, &indexer.peers().all(), 256)
}
