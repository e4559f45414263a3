//! `GET /metrics`: what the service measures, in the text format of Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;

use super::refusal::Refusal;
use super::shares::Shares;
use crate::service::indexer::Indexer;
use crate::service::metrics;

pub(super) async fn metrics(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
) -> Result<Response, Refusal> {
    let text = shares.collect(move || metrics::text(&indexer)).await?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
