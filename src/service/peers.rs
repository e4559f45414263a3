//! Other instances of the service, whose content can be copied at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufReader;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::ingest::{Memory, RouterBlock, RouterData, RouterEvent, StorageTier};
use super::model::{Key, Model, Models};
use super::rank::{Rank, Resume};
use super::tier::{MAX_RANK, Tier};
use crate::event::{Block, Event, EventData, Worker};
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
            .timeout_per_read(Some(Duration::from_secs(30)))
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

/// Returns how many blocks are stored. The peer's word on how far it had heard its workers is where listeners go on.
fn import(model: &Model, events: Vec<RouterEvent>) -> Result<u64, ImportError> {
    let mut positions = BTreeMap::new();
    let mut blocks = 0;
    let events = events.into_iter().filter_map(event).inspect(|event| {
        positions.insert(Tier::split(event.worker).0, event.id);
        blocks += if matches!(event.data, EventData::Stored { .. }) { event.data.len() as u64 } else { 0 };
    });
    let events = events.collect();
    let _at_rest = model.at_rest();
    model.index().import(events)?;
    for (worker, next_sequence) in positions {
        let rank = Rank::http(worker);
        let memory = [(worker.dp_rank, Memory::default())].into();
        rank.resume(Resume { next_sequence, memory, ..Resume::default() });
        model.ranks().put(&Arc::new(rank));
    }
    Ok(blocks)
}

/// The event of the index that a dump's was made of. `None` for those that can be of no index.
fn event(of: RouterEvent) -> Option<Event> {
    let tier = match of.storage_tier {
        StorageTier::Device => Tier::Device,
        StorageTier::HostPinned => Tier::Host,
        StorageTier::Disk => Tier::Disk,
        StorageTier::External => return None,
    };
    let data = match of.event.data {
        RouterData::Stored { parent_hash, blocks } => {
            let block = |block: RouterBlock| Block { sequence: block.block_hash, local: block.tokens_hash };
            EventData::Stored { parent: parent_hash, blocks: blocks.into_iter().map(block).collect() }
        }
        RouterData::Removed { block_hashes } => EventData::Removed { blocks: block_hashes },
        RouterData::Cleared => EventData::Cleared,
    };
    let rank = Worker::new(of.worker_id, of.event.dp_rank);
    (rank.dp_rank <= MAX_RANK).then(|| Event { worker: tier.worker(rank), id: of.event.event_id, data })
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
