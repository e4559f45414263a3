//! `GET /dump`: the whole state, as events that rebuild it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::refusal::Refusal;
use super::{Api, stream};
use crate::event::{Event, EventData, Worker};
use crate::index::Closed;
use crate::service::indexer::Indexer;
use crate::service::ingest;
use crate::service::models::Model;
use crate::service::tier::Tier;

const FORM: &str = "application/json";

/// Streams the dump: the blocks of one worker are in memory at a time, as they are between two batches. Workers are not
/// synchronised with each other. If the dump ends early, the transfer ends with an error.
pub(super) async fn dump(State(api): State<Api>) -> Result<Response, Refusal> {
    let indexer = Arc::clone(&api.indexer);
    stream::answer(&api, FORM, "a dump", move |out| Ok(serde_json::to_writer(out, &Dump(&indexer))?)).await
}

/// Answers with the head alone, and starts no dump for it.
pub(super) async fn head() -> Response {
    [(CONTENT_TYPE, FORM)].into_response()
}

struct Dump<'a>(&'a Indexer);

struct Content<'a>(&'a Model);

struct Events<'a>(&'a Model);

impl Serialize for Dump<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let models = self.0.models().all();
        serializer.collect_map(models.iter().map(|model| (model.key().to_string(), Content(model))))
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("block_size", &self.0.block_size())?;
        map.serialize_entry("events", &Events(self.0))?;
        map.end()
    }
}

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.0.index().status().workers;
        let mut workers: Vec<_> = known.into_iter().map(|status| Tier::split(status.worker).0).collect();
        workers.sort_unstable();
        workers.dedup();
        let mut list = serializer.serialize_seq(None)?;
        for worker in workers {
            for events in at_rest(self.0, worker).map_err(S::Error::custom)? {
                // An importer starts empty, so it needs no clears, and in some importers a clear would empty all tiers.
                let events = events.into_iter().filter(|event| event.data != EventData::Cleared);
                for event in ingest::dump(events) {
                    list.serialize_element(&event)?;
                }
            }
        }
        list.end()
    }
}

/// Returns what a worker holds on each tier, between two batches.
fn at_rest(model: &Model, worker: Worker) -> Result<[Vec<Event>; Tier::ALL.len()], Closed> {
    let _at_rest = model.at_rest();
    let [device, host, disk] = Tier::ALL.map(|tier| model.index().export_worker(tier.worker(worker)));
    Ok([device?, host?, disk?])
}
