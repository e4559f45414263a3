//! Copying another instance.

use std::fmt;
use std::io::{self, BufReader, Read};
use std::thread;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::error::PeerError;
use crate::service::engines::Engine;
use crate::service::ingest::{self, DumpError, DynamoEvent};
use crate::service::models::{Key, Models};
use crate::service::snapshot::{self, Limited, Reader};

/// How long connecting to a peer may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a peer may take, and how much it may send.
#[derive(Clone, Debug)]
pub(in crate::service) struct Limits {
    /// How long it may send nothing.
    pub(in crate::service) silence: Duration,
    /// How long all of it may take.
    pub(in crate::service) whole: Duration,
    /// The longest snapshot, also when it is unpacked.
    pub(in crate::service) snapshot_bytes: u64,
    /// The longest dump.
    pub(in crate::service) dump_bytes: u64,
}

/// How often to ask a peer that is busy.
const ATTEMPTS: u32 = 4;

/// How long to wait before it is asked again, at most.
const PAUSE: Duration = Duration::from_secs(5);

/// Copies a peer. Returns all its models, and the engines that it listens to, to which this instance has to listen as
/// well. `empty` creates the registry that the copy starts with.
///
/// Another kvleap gives a snapshot, which is received whole, checked, and restored like one in a file. It needs as much
/// space in the directory for temporary files as it is long, and about as much memory as reading a file. Other indexers
/// give a dump at least, of which one model is in memory at a time.
///
/// # Errors
/// The peer could not be copied whole. Nothing of it is kept then.
pub(in crate::service) fn copy(
    url: &str,
    token: Option<&str>,
    limits: &Limits,
    empty: impl Fn() -> Models,
) -> Result<(Models, Vec<Engine>), PeerError> {
    let url = url.trim_end_matches('/').to_owned();
    let agent = Agent::new_with_config(
        Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT.min(limits.whole)))
            .timeout_recv_response(Some(limits.silence))
            .timeout_per_read(Some(limits.silence))
            .build(),
    );
    let ends = Instant::now() + limits.whole;
    let ask_once = |path: &str| {
        let left = ends.saturating_duration_since(Instant::now());
        let mut request = agent.get(format!("{url}{path}")).config().timeout_global(Some(left)).build();
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call()
    };
    let ask = |path: &str| {
        let mut answer = ask_once(path);
        for _ in 1..ATTEMPTS {
            let pause = answer.as_ref().ok().and_then(busy).filter(|pause| Instant::now() + *pause < ends);
            let Some(pause) = pause else { break };
            thread::sleep(pause);
            answer = ask_once(path);
        }
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(Some(answer)),
            Ok(answer) if answer.status() == StatusCode::NOT_FOUND => Ok(None),
            Ok(answer) => Err(format!("GET {path} was answered with {}", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    };
    let body = |answer: Response<Body>, limit| {
        Limited::new(answer.into_body().into_with_config().limit(u64::MAX).reader(), limit)
    };
    let copied = ask("/v1/snapshot").and_then(|answer| match answer {
        Some(answer) => restore(&url, body(answer, limits.snapshot_bytes), limits.snapshot_bytes, empty()),
        None if empty().are_keyed() => {
            Err("it has no /v1/snapshot, and the hashes of its /dump have no key (hash_key_file)".to_owned())
        }
        None => match ask("/dump")? {
            Some(answer) => dump(body(answer, limits.dump_bytes), empty()).map(|models| (models, Vec::new())),
            None => Err("it has neither /v1/snapshot nor /dump".to_owned()),
        },
    });
    copied.map_err(|why| PeerError::Copy { url: url.clone(), why })
}

/// Returns how long to wait for a peer that is busy now: it is starting, or gives its state to others.
fn busy(answer: &Response<Body>) -> Option<Duration> {
    let seconds = || answer.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok();
    let pause = || seconds().map_or(PAUSE, Duration::from_secs).min(PAUSE);
    (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then(pause)
}

/// Receives a snapshot and restores it.
fn restore(url: &str, mut body: impl Read, limit: u64, models: Models) -> Result<(Models, Vec<Engine>), String> {
    // The file has no name, so it is gone when the process ends, however that happens.
    let mut file = tempfile::tempfile().map_err(|error| format!("no temporary file for its snapshot: {error}"))?;
    io::copy(&mut body, &mut file).map_err(|error| format!("its snapshot did not arrive whole: {error}"))?;
    // A few bytes can be unpacked to many.
    let restored = Reader::limited(url, file, limit).and_then(|reader| snapshot::read(reader, models));
    let (models, engines) = restored.map_err(|error| error.reason.to_string())?;
    for model in models.all().iter() {
        // Publishers over HTTP are not listened to: whether they will speak to this instance is not known yet.
        model
            .publishers()
            .all()
            .iter()
            .filter(|publisher| publisher.endpoint().is_none())
            .for_each(|publisher| publisher.set_copied());
    }
    Ok((models, engines))
}

/// Reads a dump while it is received.
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
                return Err(A::Error::custom(format!("it has the model {key} twice")));
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
