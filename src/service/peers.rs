//! Other instances of the service, whose content can be copied at the start.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::{StatusCode, Uri};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::engine::Engine;
use super::ingest::{self, DumpError, DynamoEvent};
use super::model::{Key, Models};
use super::snapshot::{self, Reader};

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

/// Copies a peer: all its models, and the engines that it listens to and that are to be listened to here, too. `empty`
/// makes what the copy begins with.
///
/// A peer of this kind gives a snapshot, which is received whole, checked, and restored like one in a file. It takes as
/// much room on the disk as it is long, in the directory for temporary files, and about as much memory as reading a
/// file. One of another kind has a dump at least; of that, one model's part is in memory at a time.
///
/// # Errors
/// Not all of it could be copied; nothing remains of what was.
pub(super) fn copy(
    url: &str,
    token: Option<&str>,
    empty: impl Fn() -> Models,
) -> Result<(Models, Vec<Engine>), PeerError> {
    let url = tidy(url);
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(30)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .build(),
    );
    let ask = |path: &str| {
        let mut request = agent.get(format!("{url}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match request.call() {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(Some(answer)),
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            Ok(answer) => Err(format!("GET {path} was answered with {}", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    };
    // As large as it is: it is the peer that the operator named.
    let body = |answer: Response<Body>| answer.into_body().into_with_config().limit(u64::MAX).reader();
    let copied = ask("/v1/snapshot").and_then(|answer| match answer {
        Some(answer) => restore(&url, body(answer), empty()),
        None if empty().are_keyed() => {
            Err("it has no /v1/snapshot, and the hashes of its /dump have no key (hash_key_file)".to_owned())
        }
        None => match ask("/dump")? {
            Some(answer) => dump(body(answer), empty()).map(|models| (models, Vec::new())),
            None => Err("it has neither /v1/snapshot nor /dump".to_owned()),
        },
    });
    copied.map_err(|why| PeerError::Copy { url: url.clone(), why })
}

/// From a snapshot that is received.
fn restore(url: &str, mut body: impl Read, models: Models) -> Result<(Models, Vec<Engine>), String> {
    // Without a name: it is gone with the process at the latest.
    let mut file = tempfile::tempfile().map_err(|error| format!("there is no place for its snapshot: {error}"))?;
    io::copy(&mut body, &mut file).map_err(|error| format!("its snapshot did not arrive whole: {error}"))?;
    let restored = Reader::new(url, file).and_then(|reader| snapshot::read(reader, models));
    let (models, engines) = restored.map_err(|error| error.reason.to_string())?;
    for model in models.all().iter() {
        // Nobody listens to those that speak over HTTP: whether they will speak here remains to be seen.
        model
            .publishers()
            .all()
            .iter()
            .filter(|publisher| publisher.endpoint().is_none())
            .for_each(|publisher| publisher.copied());
    }
    Ok((models, engines))
}

/// From a dump as it is received.
fn dump(body: impl Read, models: Models) -> Result<Models, String> {
    let mut reader = serde_json::Deserializer::from_reader(BufReader::new(body));
    let taken = reader.deserialize_map(Dump(&models)).and_then(|()| reader.end());
    taken.map(|()| models).map_err(|error| error.to_string())
}

struct Dump<'a>(&'a Models);

impl<'de> Visitor<'de> for Dump<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with models")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, Dumped { block_size, events })) = map.next_entry::<String, Dumped>()? {
            let Key { model, group, tenant } = name.parse().map_err(A::Error::custom)?;
            let key = Key { model, group, tenant: Key::tenant(&tenant).to_owned() };
            if self.0.get(&key.model, &key.group, &key.tenant).is_some() {
                return Err(A::Error::custom(format!("the model {key} is in it twice")));
            }
            let model = self.0.get_or_add(&key, block_size).map_err(A::Error::custom)?;
            let of = |error: DumpError| A::Error::custom(format!("model {key}: {error}"));
            ingest::take_dump(&model, events).map_err(of)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Dumped {
    block_size: u32,
    events: Vec<DynamoEvent>,
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
            Self::Copy { url, why } => write!(f, "peer {url}: it could not be copied whole: {why}"),
        }
    }
}

impl std::error::Error for PeerError {}
