//! `GET /v1/snapshot`: everything, as a snapshot's file has it, for an instance that begins as a copy.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::stream;
use crate::service::indexer::Indexer;
use crate::service::snapshot::{Writer, write};

/// Written as it is read: what one worker's publishers hold is in memory at a time, and is as of one moment between two
/// of their batches. The checksum at the end tells a reader that it has all of it.
pub(super) async fn stream(State(indexer): State<Arc<Indexer>>) -> Response {
    stream::answer("application/octet-stream", "a snapshot for a reader", move |out| {
        let written = Writer::new("/v1/snapshot", out).and_then(|mut writer| {
            write(&mut writer, indexer.models(), || indexer.engines())?;
            writer.end()
        });
        written.map(drop).map_err(io::Error::other)
    })
}
