//! `GET /v1/snapshot`: the whole state in the format of a snapshot file, for an instance that starts as a copy.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;

use super::refusal::Refusal;
use super::{Api, stream};
use crate::service::snapshot::{Writer, write};

const FORM: &str = "application/octet-stream";

/// Streams the snapshot: the blocks of one worker are in memory at a time, as they are between two batches of its
/// publishers. The checksum at the end tells the reader that the snapshot is complete.
pub(super) async fn stream(State(api): State<Api>) -> Result<Response, Refusal> {
    let indexer = Arc::clone(&api.indexer);
    let write = move |out: &mut dyn io::Write| {
        let written = Writer::new("/v1/snapshot", out).and_then(|mut writer| {
            write(&mut writer, indexer.models(), || indexer.engines())?;
            writer.end()
        });
        written.map(drop).map_err(io::Error::other)
    };
    stream::answer(&api, FORM, "a snapshot for a reader", write).await
}

/// Answers with the head alone, and takes no snapshot for it.
pub(super) async fn head() -> Response {
    [(CONTENT_TYPE, FORM)].into_response()
}
