//! Answers that refuse a request.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::index::Closed;
use crate::service::models::{ModelError, NameError};

/// How many seconds a client that was refused for the moment should wait before it tries again.
const RETRY_SECONDS: &str = "5";

/// A refusal: a status, and `{"error": "why"}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
    unread: bool,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), unread: false }
    }

    /// Marks a refusal that is sent before the body was read. It closes the connection, and tells the client so.
    pub(super) fn unread(self) -> Self {
        Self { unread: true, ..self }
    }

    /// Creates a refusal of a request that may be sent again later.
    pub(super) fn busy(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// Creates a refusal of a request that cannot be understood.
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    /// Creates a refusal of a request for something that does not exist.
    pub(super) fn not_found(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }
}

impl From<Closed> for Refusal {
    fn from(error: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        let status = match error {
            ModelError::ZeroBlockSize | ModelError::Name(_) => StatusCode::BAD_REQUEST,
            ModelError::OtherBlockSize { .. } => StatusCode::CONFLICT,
            ModelError::TooMany { .. } => StatusCode::INSUFFICIENT_STORAGE,
            ModelError::Index(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        Self::bad(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.why }).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if self.unread {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
