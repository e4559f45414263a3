//! `GET /dump`: the whole state, as events that rebuild it.

use std::cell::Cell;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use super::stream;
use crate::event::{Event, EventData};
use crate::service::indexer::Indexer;
use crate::service::ingest;
use crate::service::models::Model;

/// Streams the dump: one model is in memory at a time. Each model is dumped as it is between two batches; models are
/// not synchronised with each other. If the dump ends early, the transfer ends with an error.
pub(super) async fn dump(State(indexer): State<Arc<Indexer>>) -> Response {
    stream::answer("application/json", "a dump", move |out| Ok(serde_json::to_writer(out, &Dump(&indexer))?))
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

/// Events that are converted one by one, as they are written.
struct Events(Cell<Vec<Event>>);

impl Serialize for Events {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // An importer starts empty, so it needs no clears, and in some importers a clear would empty all tiers.
        let events = self.0.take().into_iter().filter(|event| event.data != EventData::Cleared);
        serializer.collect_seq(ingest::dump(events))
    }
}
