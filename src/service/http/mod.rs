//! The HTTP API: routes, who may use them, and what all of them share.

mod body;
mod dump;
mod engines;
mod events;
mod matches;
mod metrics;
mod peers;
mod query;
mod refusal;
mod route;
mod scores;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::auth::Role;
use super::indexer::Indexer;
use super::page;
use refusal::Refusal;

/// All routes.
pub(super) fn router(indexer: &Arc<Indexer>) -> Router {
    let part = |role: Role, routes: &[(&str, MethodRouter<Arc<Indexer>>)]| {
        let part = routes.iter().fold(Router::new(), |router, (path, route)| router.route(path, route.clone()));
        part.route_layer(middleware::from_fn_with_state((Arc::clone(indexer), role), authorize))
    };
    let mut reading = vec![
        ("/query", post(query::by_tokens)),
        ("/query_by_hash", post(query::by_hash)),
        ("/v1/match", post(matches::post)),
        ("/metrics", get(metrics::text)),
        ("/peers", get(peers::list)),
        ("/v1/status", get(status::figures)),
        ("/workers", get(engines::list)),
    ];
    if indexer.config().bench_null {
        reading.push(("/bench/null", post(query::null)));
    }
    let administration = [
        ("/dump", get(dump::dump)),
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
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method").unread()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(indexer), count))
        .with_state(Arc::clone(indexer))
}

async fn authorize(
    State((indexer, role)): State<(Arc<Indexer>, Role)>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    if indexer.access().allows(role, request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)) {
        return Ok(next.run(request).await);
    }
    indexer.metrics().denied.inc();
    Err(Refusal::new(StatusCode::UNAUTHORIZED, format!("a bearer token for {} is needed", role.name())).unread())
}

async fn count(State(indexer): State<Arc<Indexer>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    indexer.metrics().responded(response.status().as_u16());
    response
}
