//! Other instances of the service, whose content can be copied at the start.

use std::collections::BTreeSet;
use std::fmt;
use std::io::BufReader;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::model::{Key, Model, Models};
use super::router_event::RouterEvent;
use crate::event::{Event, EventData};
use crate::index::ImportError;

/// Their URLs, in order.
#[derive(Debug)]
pub(super) struct Peers(Mutex<BTreeSet<String>>);

impl Peers {
    pub(super) fn new(urls: &[String]) -> Self {
        Self(Mutex::new(urls.iter().map(|url| tidy(url)).collect()))
    }

    pub(super) fn add(&self, url: &str) -> Result<(), PeerError> {
        check(url)?;
        self.with(|peers| peers.insert(tidy(url)));
        Ok(())
    }

    /// Whether it was there.
    pub(super) fn remove(&self, url: &str) -> bool {
        self.with(|peers| peers.remove(&tidy(url)))
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.with(|peers| peers.iter().cloned().collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tidy(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Whether a URL can be a peer's.
pub(super) fn check(url: &str) -> Result<(), PeerError> {
    let uri = url.parse::<Uri>().ok();
    let good = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if uri.is_some_and(|uri| good(&uri)) { Ok(()) } else { Err(PeerError::Url(url.to_owned())) }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) models: u64,
    pub(super) blocks: u64,
}

/// Copies a peer's content, model by model: what is known of the workers in it is replaced. Holds one model's events at
/// a time in memory.
pub(super) fn copy(url: &str, token: Option<&str>, models: &Models) -> Result<Copied, PeerError> {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .build(),
    );
    let mut request = agent.get(format!("{}/dump", tidy(url)));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let fail = |why: String| PeerError::Copy { url: url.to_owned(), why };
    let mut answer = request.call().map_err(|error| fail(error.to_string()))?;
    // As large as it is: it is the peer that the operator named.
    let body = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut reader = serde_json::Deserializer::from_reader(BufReader::new(body));
    reader.deserialize_map(Dump(models)).map_err(|error| fail(error.to_string()))
}

/// Imports a dump as it is read.
struct Dump<'a>(&'a Models);

impl<'de> Visitor<'de> for Dump<'_> {
    type Value = Copied;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with models")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Copied, A::Error> {
        let mut copied = Copied::default();
        while let Some((key, content)) = map.next_entry::<String, Content>()? {
            let key: Key = key.parse().map_err(A::Error::custom)?;
            let model = self.0.get_or_add(&key, content.block_size).map_err(A::Error::custom)?;
            copied.models += 1;
            copied.blocks += import(&model, content.events).map_err(A::Error::custom)?;
        }
        Ok(copied)
    }
}

#[derive(Deserialize)]
struct Content {
    block_size: u32,
    events: Vec<RouterEvent>,
}

/// Returns how many blocks are stored.
fn import(model: &Model, events: Vec<RouterEvent>) -> Result<u64, ImportError> {
    let events: Vec<Event> = events.into_iter().filter_map(RouterEvent::into_event).collect();
    let stored = |event: &Event| if matches!(event.data, EventData::Stored { .. }) { event.data.len() } else { 0 };
    let blocks = events.iter().map(stored).sum::<usize>() as u64;
    let _at_rest = model.at_rest();
    model.index().import(events).map(|()| blocks)
}

/// What is wrong with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerError {
    /// It has no URL of one.
    Url(String),
    /// Its content could not be copied, or not all of it.
    Copy {
        /// Whose.
        url: String,
        /// Why not.
        why: String,
    },
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "peer {url:?}: not like http://host:port or https://host:port"),
            Self::Copy { url, why } => write!(f, "peer {url}: its dump could not be copied whole: {why}"),
        }
    }
}

impl std::error::Error for PeerError {}
