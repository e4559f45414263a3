//! A bound on the memory of answers that wait for their clients to read them.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::refusal::Refusal;
use super::shares::{Shares, UNCOUNTED};

/// An answer, and its share of the memory for answers. The connection keeps it until it is sent.
struct Kept {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Refuses an answer for which there is no memory, rather than to let it wait: it is in memory already. Answers that
/// are streamed are bounded elsewhere.
pub(super) async fn limit(State(shares): State<Arc<Shares>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let length = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|&length| length > UNCOUNTED) else { return response };
    let Some(permit) = shares.answer(length) else {
        return Refusal::busy("clients leave too many answers unread (max_answers_bytes); try again later")
            .into_response();
    };
    let (head, body) = response.into_parts();
    match to_bytes(body, length).await {
        Ok(bytes) => Response::from_parts(head, Body::from(Bytes::from_owner(Kept { bytes, _permit: permit }))),
        Err(error) => Refusal::busy(format!("the answer was lost: {error}")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Router, middleware};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::service::config::Config;

    #[test]
    fn answers_that_nobody_reads_take_bounded_memory() {
        let shares = Arc::new(Shares::new(&Config { max_answers_bytes: 1 << 20, ..Config::default() }));
        let answers = Router::new()
            .route("/small", get(async || vec![0; UNCOUNTED]))
            .route("/large", get(async || vec![0; 600 << 10]))
            .route("/huge", get(async || vec![0; 2 << 20]))
            .layer(middleware::from_fn_with_state(shares, limit));
        let service = TowerToHyperService::new(answers);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            runtime.block_on(service.call(request)).expect("an answer")
        };
        let large = ask("/large");
        assert_eq!((large.status().as_u16(), large.body().size_hint().exact()), (200, Some(600 << 10)));
        let refused = ask("/large");
        assert!(refused.status() == 503 && refused.headers().contains_key("retry-after"));
        assert_eq!(ask("/small").status(), 200);
        // The connection holds on to the bytes after the body is gone.
        let bytes = runtime.block_on(to_bytes(large.into_body(), usize::MAX)).expect("bytes");
        assert_eq!(ask("/large").status(), 503);
        drop(bytes);
        assert_eq!(ask("/large").status(), 200);
        assert_eq!(ask("/huge").status(), 200, "one answer is always possible");
    }
}
