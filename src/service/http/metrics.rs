//! `GET /metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;

use super::refusal::{Refusal, blocking};
use crate::service::indexer::Indexer;

pub(super) async fn text(State(indexer): State<Arc<Indexer>>) -> Result<Response, Refusal> {
    let text = blocking(move || crate::service::prometheus::text(&indexer)).await?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
