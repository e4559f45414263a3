//! `GET /dump`: everything, as events that rebuild it.

use std::cell::Cell;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::header::CONTENT_TYPE;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use tokio::runtime::Handle;

use crate::event::{Event, EventData};
use crate::service::indexer::Indexer;
use crate::service::ingest;
use crate::service::model::Model;

/// Bytes on the way to a reader at a time.
const CHUNK: usize = 64 << 10;

/// Written as it is read: one model is in memory at a time. A model's part is as of one moment, between two batches;
/// models are not synchronised with each other. Where it ends early, so does the transfer, with an error.
pub(super) async fn dump(State(indexer): State<Arc<Indexer>>) -> Response {
    let (sender, body) = Channel::<Bytes, io::Error>::new(1);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(CHUNK, Chunks { sender, handle });
        let written = serde_json::to_writer(&mut out, &Dump(&indexer)).map_err(io::Error::from);
        if let Err(error) = written.and_then(|()| out.flush()) {
            tracing::warn!(%error, "a dump ended early");
            out.into_parts().0.sender.abort(error);
        }
    });
    ([(CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}

/// Writes to the body of an answer, and waits while the reader is slow.
struct Chunks {
    sender: Sender<Bytes, io::Error>,
    handle: Handle,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.handle.block_on(self.sender.send_data(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader is gone"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Dump<'a>(&'a Indexer);

struct Content<'a>(&'a Model);

impl Serialize for Dump<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let models = self.0.models().all();
        serializer.collect_map(models.iter().map(|model| (model.key().to_string(), Content(model))))
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let events = {
            let _at_rest = self.0.at_rest();
            self.0.index().export().map_err(S::Error::custom)?
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("block_size", &self.0.block_size())?;
        map.serialize_entry("events", &Events(Cell::new(events)))?;
        map.end()
    }
}

/// Turned into their form one by one, as they are written.
struct Events(Cell<Vec<Event>>);

impl Serialize for Events {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whoever imports them begins with nothing; and some clear all tiers at once.
        let events = self.0.take().into_iter().filter(|event| event.data != EventData::Cleared);
        serializer.collect_seq(ingest::dump(events))
    }
}
