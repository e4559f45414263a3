//! Answers that refuse a request.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};

use crate::index::Closed;
use crate::service::models::{ModelError, NameError};

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

/// Runs work that may wait for a writer or another process on a thread for blocking work.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "this request failed; the log may say why");
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.why }).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.unread {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
