//! Bodies: limited in size and time on the way in, JSON on the way out.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use tokio::time::timeout;

use super::Api;
use super::refusal::Refusal;
use super::shares::{Held, Shares, UNCOUNTED};
use crate::service::models::Key;

/// The whole body of a request.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Bytes,
    /// Given back when the request is done with the body.
    _held: Held,
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromRequest<Api> for Whole {
    type Rejection = Refusal;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Refusal> {
        let config = api.indexer.config();
        let body = request.into_body();
        // A body that is declared too long is refused before any of it is kept.
        if body.size_hint().lower() > config.max_body_bytes as u64 {
            return Err(too_large(config.max_body_bytes));
        }
        let mut arriving = Arriving { limit: config.max_body_bytes, ..Arriving::default() };
        let patience = Duration::from_secs(config.body_timeout_seconds);
        match timeout(patience, arriving.receive(body, &api.shares)).await {
            Ok(bytes) => Ok(Self { bytes: bytes?, _held: arriving.held }),
            Err(_) if arriving.waits => {
                Err(Refusal::busy("other requests take all memory for bodies (max_bodies_bytes)").unread())
            }
            Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive").unread()),
        }
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes")).unread()
}

/// The size of the parts in which a body is kept while it arrives, in bytes.
const PART: usize = 64 << 10;

/// A body that arrives.
#[derive(Debug, Default)]
struct Arriving {
    limit: usize,
    held: Held,
    /// Whether it waits for memory, and not for the client.
    waits: bool,
}

impl Arriving {
    async fn receive(&mut self, mut body: Body, shares: &Shares) -> Result<Bytes, Refusal> {
        // Most bodies arrive in one piece, which is not copied. What comes after the first piece is copied, because a
        // piece keeps the memory that it was received in, and a client may send pieces of one byte. The parts have a
        // fixed size: memory that grew and moved would take more than is counted.
        let mut first = Bytes::new();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::bad(format!("the body did not arrive whole: {error}")))?;
            // Trailers mean nothing here.
            let Ok(mut data) = frame.into_data() else { continue };
            length += data.len();
            if length > self.limit {
                return Err(too_large(self.limit));
            }
            if length > UNCOUNTED {
                self.waits = true;
                shares.memory(&mut self.held, data.len()).await;
                self.waits = false;
            }
            if length == data.len() {
                first = data;
                continue;
            }
            while !data.is_empty() {
                if parts.last().is_none_or(|part| part.len() == PART) {
                    parts.push(Vec::with_capacity(PART));
                }
                let part = parts.last_mut().expect("one was pushed");
                part.extend_from_slice(&data.split_to(data.len().min(PART - part.len())));
            }
        }
        if parts.is_empty() {
            return Ok(first);
        }
        let mut whole = Vec::with_capacity(length);
        whole.extend_from_slice(&first);
        for part in parts {
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }
}

/// Parses a body of JSON.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Refusal::bad(cut(error.to_string())),
        _ => Refusal::bad(cut(format!("invalid JSON: {error}"))),
    })
}

/// Parses a body of msgpack.
pub(super) fn unpack<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    rmp_serde::from_slice(body).map_err(|error| Refusal::bad(cut(format!("invalid msgpack: {error}"))))
}

/// How many bytes of an error are returned: it may repeat what the client sent.
const MAX_ERROR: usize = 1000;

/// Cuts the middle out of an error that is too long. What is wrong stands at its beginning, what is right at its end.
pub(super) fn cut(error: String) -> String {
    if error.len() <= MAX_ERROR {
        return error;
    }
    let (begin, end) = (MAX_ERROR / 2, error.len() - MAX_ERROR / 2);
    // Bytes, because the middle of a character may be there.
    let (begin, end) = (&error.as_bytes()[..begin], &error.as_bytes()[end..]);
    format!("{} ... {}", String::from_utf8_lossy(begin), String::from_utf8_lossy(end))
}

/// Returns an answer in JSON; `room` is about how many bytes it takes.
pub(super) fn json(status: StatusCode, value: &impl Serialize, room: usize) -> Response {
    let mut text = Vec::with_capacity(room);
    serde_json::to_writer(&mut text, value).expect("no key of an answer is anything but text or a number");
    (status, [(CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}

/// Returns `{"status": "ok"}`.
pub(super) fn ok(status: StatusCode) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#).into_response()
}

/// A name in a request, borrowed from the body where it has no escapes.
#[derive(Debug, Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Name<'_> {
    /// Returns the name, or `none` if there is none.
    pub(super) fn or<'n>(name: Option<&'n Self>, none: &'n str) -> &'n str {
        name.map_or(none, |name| &name.0)
    }

    /// Returns the tenant that this name means.
    pub(super) fn tenant(name: Option<&Self>) -> &str {
        Key::tenant(Self::or(name, ""))
    }

    /// Returns the routing group that this name means.
    pub(super) fn group(name: Option<&Self>) -> &str {
        Self::or(name, Key::DEFAULT_GROUP)
    }
}
