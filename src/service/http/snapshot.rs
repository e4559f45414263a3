//! `GET /v1/snapshot`: the whole state in the format of a snapshot file, for an instance that starts as a copy.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::stream;
use crate::service::indexer::Indexer;
use crate::service::snapshot::{Writer, write};

/// Streams the snapshot: the blocks of one worker are in memory at a time, as they are between two batches of its
/// publishers. The checksum at the end tells the reader that the snapshot is complete.
pub(super) async fn stream(State(indexer): State<Arc<Indexer>>) -> Response {
    stream::answer("application/octet-stream", "a snapshot for a reader", move |out| {
        let written = Writer::new("/v1/snapshot", out).and_then(|mut writer| {
            write(&mut writer, indexer.models(), || indexer.engines())?;
            writer.end()
        });
        written.map(drop).map_err(io::Error::other)
    })
}
