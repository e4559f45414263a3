//! The HTTP API: its routes, and who may use them.

mod body;
mod decision;
mod dump;
mod engines;
mod events;
mod lookup;
mod matches;
mod peers;
mod prometheus;
mod query;
mod refusal;

mod scores;
mod snapshot;
mod status;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};

use refusal::Refusal;

use crate::service::config::Role;
use crate::service::indexer::Indexer;
use crate::service::page;

/// Returns all routes.
pub(super) fn router(indexer: &Arc<Indexer>) -> Router {
    let part = |role: Role, routes: &[(&str, MethodRouter<Arc<Indexer>>)]| {
        let part = routes.iter().fold(Router::new(), |router, (path, route)| router.route(path, route.clone()));
        part.route_layer(middleware::from_fn_with_state((Arc::clone(indexer), role), authorize))
    };
    let reading = vec![
        ("/query", post(query::by_tokens)),
        ("/query_by_hash", post(query::by_hash)),
        ("/v1/match", post(matches::post)),
        ("/metrics", get(prometheus::metrics)),
        ("/peers", get(peers::list)),
        ("/v1/status", get(status::figures)),
        ("/workers", get(engines::list)),
    ];
    let administration = [
        ("/dump", get(dump::dump)),
        ("/v1/snapshot", get(snapshot::stream)),
        ("/register", post(engines::register)),
        ("/unregister", post(engines::unregister)),
        ("/register_peer", post(peers::register)),
        ("/deregister_peer", post(peers::deregister)),
    ];
    Router::new()
        .route("/health", get(async || StatusCode::OK))
        .merge(page::routes())
        .merge(part(Role::Read, &reading))
        .merge(part(Role::Write, &[("/events", post(events::post))]))
        .merge(part(Role::Admin, &administration))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "no such route").unread())
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not have this method").unread()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(indexer), count))
        .with_state(Arc::clone(indexer))
}

async fn authorize(
    State((indexer, role)): State<(Arc<Indexer>, Role)>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if indexer.access().is_open() && is_foreign(request.headers()) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "pages of other servers may not send requests while the service has no tokens",
        )
        .unread());
    }
    if indexer.access().allows(role, request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        return Ok(next.run(request).await);
    }
    indexer.metrics().denied.inc();
    Err(Refusal::new(StatusCode::UNAUTHORIZED, format!("a bearer token for {} is needed", role.name())).unread())
}

/// Whether a page from another server sent this. Without tokens, any page that somebody on this machine opens could.
fn is_foreign(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let place = |origin: &HeaderValue| origin.to_str().ok()?.split_once("://").map(|(_, place)| place.to_owned());
    headers.get(ORIGIN).is_some_and(|origin| place(origin).as_deref() != host)
}

async fn count(State(indexer): State<Arc<Indexer>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    indexer.metrics().responded(response.status().as_u16());
    response
}
