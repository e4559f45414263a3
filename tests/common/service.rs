//! A service in this process, with an HTTP client.

use std::net::SocketAddr;

use kvleap::service::{Config, Server};
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body};

/// Returns settings for a service on a free port of this machine.
pub(crate) fn config() -> Config {
    Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), threads: 2, ..Config::default() }
}

pub(crate) struct Service {
    pub(crate) server: Server,
    pub(crate) agent: Agent,
    pub(crate) scheme: &'static str,
    pub(crate) token: Option<&'static str>,
}

impl Service {
    pub(crate) fn start(config: Config) -> Self {
        let server = Server::start(config).expect("the service starts");
        let agent = Agent::new_with_config(Agent::config_builder().http_status_as_error(false).build());
        Self { server, agent, scheme: "http", token: None }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.server.address())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(request.call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(path, "application/json", body.to_string().as_bytes())
    }

    pub(crate) fn send(&self, path: &str, form: &str, body: &[u8]) -> (u16, Value) {
        let mut request = self.agent.post(self.url(path)).header("content-type", form);
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        read(request.send(body))
    }

    /// Waits until everything that the service accepted is visible.
    pub(crate) fn flush(&self) {
        let models = self.server.indexer().models().all();
        models.iter().for_each(|model| model.index().flush().expect("the index is open"));
    }
}

fn read(answer: Result<Response<Body>, ureq::Error>) -> (u16, Value) {
    let answer = answer.expect("it answers");
    let status = answer.status().as_u16();
    let text = answer.into_body().read_to_string().expect("text");
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

/// Returns an event in Dynamo's form that stores `locals` from the root on, under sequence hashes counted from `first`.
pub(crate) fn stored(worker: (u64, u32), tier: &str, first: u64, locals: &[u64]) -> Value {
    let blocks: Vec<_> =
        (first..).zip(locals).map(|(hash, local)| json!({"block_hash": hash, "tokens_hash": local})).collect();
    let data = json!({"stored": {"parent_hash": null, "start_position": null, "blocks": blocks}});
    event(worker, tier, data)
}

pub(crate) fn event((worker, rank): (u64, u32), tier: &str, data: Value) -> Value {
    let mut event = json!({"worker_id": worker, "storage_tier": tier, "event": {"event_id": 1, "dp_rank": rank}});
    event["event"]["data"] = data;
    event
}

/// Returns the body of `POST /events` for the model `m` with blocks of 4 tokens.
pub(crate) fn events(events: &[Value]) -> Value {
    json!({"model_name": "m", "block_size": 4, "events": events})
}
