//! A router on axum: workers' events come in, decisions go out, and the load is tracked in between.
//!
//! `cargo run --example router --features service` plays an event and two requests and checks the decisions.
//! With `-- 127.0.0.1:8000` at the end it serves there until it is stopped.

use std::cell::RefCell;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::routing::{Router, delete, post};
use kvleap::route::{self, Request, Ticket};
use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
use serde_json::{Value, json};

struct App {
    index: Index,
    hasher: BlockHasher,
    /// The router, and every request's ticket by number. A program that stays up keeps the ticket with the request.
    fleet: Mutex<(route::Router, Vec<Ticket>)>,
    started: Instant,
}

thread_local! {
    /// One answer per thread, filled again and again. It is used between two awaits, never across one.
    static MATCHES: RefCell<Matches> = RefCell::new(Matches::new());
}

/// A worker stored blocks: its id, its number of the event, the parent, its names of the blocks, and their tokens.
type Stored = (u64, u64, Option<u64>, Vec<u64>, Vec<u32>);

/// Uses `try_send`, because `send` would block the runtime's thread while the mailbox is full.
async fn event(State(app): State<Arc<App>>, Json((worker, id, parent, names, tokens)): Json<Stored>) -> StatusCode {
    let blocks = names.into_iter().zip(app.hasher.hash(&tokens));
    let blocks = blocks.map(|(sequence, local)| Block { sequence, local }).collect();
    let event = Event { worker: Worker::new(worker, 0), id, data: EventData::Stored { parent, blocks } };
    app.index.try_send(event).map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::ACCEPTED)
}

/// Looks up and decides inline: together that takes some microseconds, and nothing in it waits for a writer.
async fn request(State(app): State<Arc<App>>, Json(tokens): Json<Vec<u32>>) -> Result<Json<Value>, StatusCode> {
    let prompt = app.hasher.hash(&tokens);
    let request = Request { blocks: &prompt, tokens: tokens.len() as u64, ..Request::default() };
    MATCHES.with_borrow_mut(|matches| {
        app.index.find(&prompt, matches); // before the lock is taken
        let (router, tickets) = &mut *app.fleet.lock().expect("nobody panics with the lock");
        let sent = router.route(&request, &[matches], app.started.elapsed().as_nanos() as u64);
        let (decision, ticket) = sent.map_err(|_refusal| StatusCode::SERVICE_UNAVAILABLE)?;
        tickets.push(ticket);
        Ok(Json(json!({"request": tickets.len() - 1, "worker": decision.worker.id, "held": decision.held})))
    })
}

/// The answer is complete: the request is load no more. A router that streams also calls `first_token` and `tokens`.
async fn finish(State(app): State<Arc<App>>, Path(request): Path<usize>) -> StatusCode {
    let (router, tickets) = &mut *app.fleet.lock().expect("nobody panics with the lock");
    let now = app.started.elapsed().as_nanos() as u64;
    let known = tickets.get(request).is_some_and(|&ticket| router.finish(ticket, now));
    if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut router = route::Router::builder().block_size(16).build()?;
    (1..=2).for_each(|id| assert!(router.add_worker(Worker::new(id, 0))));
    let (index, fleet) = (Index::builder().build()?, Mutex::new((router, Vec::new())));
    let app = Arc::new(App { index, hasher: BlockHasher::new(16)?, fleet, started: Instant::now() });

    let Some(address) = std::env::args().nth(1) else { return check(app).await };
    let api = Router::new().route("/events", post(event)).route("/requests", post(request));
    let api = api.route("/requests/{request}", delete(finish)).with_state(app);
    Ok(axum::serve(tokio::net::TcpListener::bind(address).await?, api).await?)
}

async fn check(app: Arc<App>) -> Result<(), Box<dyn Error>> {
    let (tokens, others): (Vec<u32>, Vec<u32>) = ((0..48).collect(), (1000..1048).collect());
    let stored = (2, 1, None, vec![100, 101], tokens[..32].to_vec());
    assert_eq!(event(State(app.clone()), Json(stored)).await, StatusCode::ACCEPTED);
    app.index.flush()?; // blocks, and is here only because the next line asks at once
    let first = request(State(app.clone()), Json(tokens)).await;
    assert_eq!(first.map(|Json(answer)| answer), Ok(json!({"request": 0, "worker": 2, "held": 2})));
    let second = request(State(app.clone()), Json(others)).await;
    assert_eq!(second.map(|Json(answer)| answer), Ok(json!({"request": 1, "worker": 1, "held": 0})), "the idle one");
    assert_eq!(finish(State(app), Path(0)).await, StatusCode::NO_CONTENT);
    Ok(())
}
