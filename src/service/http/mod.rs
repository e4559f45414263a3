//! The HTTP API: its routes, and who may use them.

mod body;
mod decision;
mod dump;
mod engines;
mod events;
mod hosts;
mod lookup;
mod matches;
mod peers;
mod prometheus;
mod query;
mod ready;
mod refusal;
mod scores;
mod shares;
mod snapshot;
mod status;
mod stream;
mod unread;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN};

use body::Whole;
pub(super) use hosts::Hosts;
pub(super) use ready::Readiness;
use refusal::Refusal;
use shares::Shares;
pub(super) use shares::blocking_threads;

use crate::service::config::Role;
use crate::service::indexer::Indexer;
use crate::service::page;

/// What the routes are about.
#[derive(Clone, Debug)]
struct Api {
    indexer: Arc<Indexer>,
    readiness: Arc<Readiness>,
    shares: Arc<Shares>,
}

impl FromRef<Api> for Arc<Indexer> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.indexer)
    }
}

impl FromRef<Api> for Arc<Readiness> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.readiness)
    }
}

impl FromRef<Api> for Arc<Shares> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.shares)
    }
}

/// Returns all routes.
pub(super) fn router(indexer: &Arc<Indexer>, readiness: &Arc<Readiness>, hosts: &Arc<Hosts>) -> Router {
    let part = |role: Role, routes: &[(&str, MethodRouter<Api>)]| {
        let part = routes.iter().fold(Router::new(), |router, (path, route)| router.route(path, route.clone()));
        part.route_layer(middleware::from_fn_with_state((Arc::clone(indexer), role), authorize))
    };
    let reading = vec![
        ("/query", computed(query::by_tokens)),
        ("/query_by_hash", computed(query::by_hash)),
        ("/v1/match", computed(matches::post)),
        ("/metrics", get(prometheus::metrics)),
        ("/peers", get(peers::list)),
        ("/v1/status", get(status::figures)),
        ("/workers", get(engines::list)),
    ];
    let administration = [
        ("/dump", get(dump::dump).head(dump::head)),
        ("/v1/snapshot", get(snapshot::stream).head(snapshot::head)),
        ("/register", post(engines::register)),
        ("/unregister", post(engines::unregister)),
        ("/register_peer", computed(peers::register)),
        ("/deregister_peer", computed(peers::deregister)),
    ];
    let shares = Arc::new(Shares::new(indexer.config()));
    Router::new()
        .route("/health", get(ready::health))
        .route("/ready", get(ready::ready))
        .merge(page::routes())
        .merge(part(Role::Read, &reading))
        .merge(part(Role::Write, &[("/events", post(events::post))]))
        .merge(part(Role::Admin, &administration))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "no such route").unread())
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this route does not have this method").unread()
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&shares), unread::limit))
        .layer(middleware::from_fn_with_state(Arc::clone(hosts), hosts::check))
        .layer(middleware::from_fn_with_state(Arc::clone(readiness), count))
        .with_state(Api { indexer: Arc::clone(indexer), readiness: Arc::clone(readiness), shares })
}

/// Returns a route whose answers are computed from the bodies of requests, without waiting for anybody.
fn computed(answer: fn(&Indexer, &[u8]) -> Result<Response, Refusal>) -> MethodRouter<Api> {
    post(move |State(Api { indexer, shares, .. }): State<Api>, body: Whole| async move {
        shares.compute(body.len(), move || answer(&indexer, &body)).await?
    })
}

/// Returns the routes for a connection that is not served beyond probes, and why it is not.
pub(super) fn reserve(readiness: &Arc<Readiness>, hosts: &Arc<Hosts>, why: impl Into<String>) -> Router {
    let why = why.into();
    Router::new()
        .route("/health", get(ready::health))
        .route("/ready", get(ready::ready))
        .fallback(async || Refusal::busy(why).unread())
        .layer(middleware::from_fn_with_state(Arc::clone(hosts), hosts::check))
        .layer(middleware::from_fn_with_state(Arc::clone(readiness), count))
        .with_state(Arc::clone(readiness))
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

async fn count(State(readiness): State<Arc<Readiness>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    if let Some(indexer) = readiness.indexer() {
        indexer.metrics().responded(response.status().as_u16());
    }
    response
}
