//! Bodies: limited in size and time on the way in, JSON on the way out.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use tokio::time::timeout;

use super::refusal::Refusal;
use crate::service::config::Config;
use crate::service::models::Key;

/// Reads the whole body of a request.
pub(super) async fn read(config: &Config, request: Request) -> Result<Bytes, Refusal> {
    let limit = config.max_body_bytes;
    let too_large =
        || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {limit} bytes")).unread();
    let body = request.into_body();
    // A body that is declared too long is refused before any of it is kept.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let whole = Limited::new(body, limit).collect();
    match timeout(Duration::from_secs(config.body_timeout_seconds), whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Refusal::bad(format!("the body did not arrive whole: {error}"))),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive").unread()),
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
