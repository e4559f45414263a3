//! Sends bodies to every route of the service that takes one, without sockets. Every answer must be JSON with a status
//! that fits, an error must say what is wrong, a body that is refused must change nothing, and a question must have the
//! same answer when it is asked again.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use arbitrary::Arbitrary;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use kvleap::service::publisher::{Count, Skip};
use kvleap::service::{Config, Indexer, unserved};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};
use tower::ServiceExt;

#[derive(Arbitrary, Debug)]
struct Input {
    asks: Vec<Ask>,
}

#[derive(Arbitrary, Debug)]
struct Ask {
    route: Route,
    good: Good,
    /// Fields, and what is in their place.
    edits: Vec<(u8, Edit)>,
    /// Places in the body, and the bytes that overwrite them.
    noise: Vec<(u8, u8)>,
    packed: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Route {
    Events,
    Query,
    QueryByHash,
    Match,
    Register,
    Unregister,
    RegisterPeer,
    DeregisterPeer,
}

impl Route {
    fn path(self) -> &'static str {
        match self {
            Self::Events => "/events",
            Self::Query => "/query",
            Self::QueryByHash => "/query_by_hash",
            Self::Match => "/v1/match",
            Self::Register => "/register",
            Self::Unregister => "/unregister",
            Self::RegisterPeer => "/register_peer",
            Self::DeregisterPeer => "/deregister_peer",
        }
    }

    fn only_asks(self) -> bool {
        matches!(self, Self::Query | Self::QueryByHash | Self::Match)
    }
}

/// What a body says before it is edited.
#[derive(Arbitrary, Debug)]
struct Good {
    model: u8,
    tenant: u8,
    instance: u8,
    rank: u8,
    block_size: u8,
    hashes: Vec<u8>,
    parent: Option<u8>,
    tier: u8,
    id: u8,
    kind: u8,
    choice: u8,
}

/// What is in a field instead.
#[derive(Arbitrary, Debug)]
enum Edit {
    Missing,
    Null,
    Number(u64),
    Negative(i64),
    Float(f32),
    Text(u8),
    List(u8),
    Object,
    Deep(u8),
}

/// Names, good ones first.
const NAMES: [&str; 5] = ["m", "n", "tenant", "", "a\nb"];
/// Endpoints of engines. No process listens at any of them, so registering one opens no connection.
const ENDPOINTS: [&str; 5] =
    ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "ipc:///nowhere/a", "ipc:///nowhere/b", "ipc:///nowhere/c"];
const PEERS: [&str; 4] = ["http://127.0.0.1:1", "https://peer/", "ftp://peer", "peer"];
const POLICIES: [&str; 4] = ["cost", "round-robin", "power-of-two", "nonsense"];

impl Good {
    fn hash(seed: u8) -> u64 {
        [1, 2, 3, 1 << 40, u64::MAX][usize::from(seed) % 5]
    }

    fn event(&self) -> Value {
        let hashes: Vec<_> = self.hashes.iter().take(6).map(|&seed| Self::hash(seed)).collect();
        let block = |hash: &u64| json!({"block_hash": hash, "tokens_hash": hash ^ 7});
        let data = match self.kind % 4 {
            0 | 1 => json!({"stored": {
                "parent_hash": self.parent.map(Self::hash), "blocks": hashes.iter().map(block).collect::<Vec<_>>(),
            }}),
            2 => json!({"removed": {"block_hashes": hashes}}),
            _ => json!("cleared"),
        };
        let tier = ["device", "host_pinned", "disk", "external"][usize::from(self.tier) % 4];
        let event = json!({"event_id": self.id % 4, "dp_rank": self.rank(), "data": data});
        json!({"worker_id": self.instance % 3, "storage_tier": tier, "event": event})
    }

    fn rank(&self) -> u32 {
        [0, 1, 2, 1 << 28][usize::from(self.rank) % 4]
    }

    fn body(&self, route: Route) -> Value {
        let model = NAMES[usize::from(self.model) % 3];
        let hashes: Vec<_> = self.hashes.iter().take(6).map(|&seed| Self::hash(seed) ^ 7).collect();
        let block_size = u32::from(self.block_size % 3);
        let mut body = match route {
            Route::Events => {
                let events = vec![self.event(); 1 + usize::from(self.choice % 3)];
                json!({"model_name": model, "block_size": block_size, "events": events})
            }
            Route::Query => json!({"model_name": model, "token_ids": self.hashes}),
            Route::QueryByHash => json!({"model_name": model, "block_hashes": hashes}),
            Route::Match => {
                let mut ask = json!({"model_name": model, "block_hashes": hashes});
                if self.choice & 1 > 0 {
                    ask["k"] = (self.choice >> 4).into();
                }
                if self.choice & 2 > 0 {
                    ask["workers"] = json!([[self.instance % 3, self.rank()], [1, 0]]);
                }
                if self.choice & 4 > 0 {
                    let policy = POLICIES[usize::from(self.choice >> 4) % POLICIES.len()];
                    let loads = [json!({"instance_id": self.instance % 3, "requests": self.id})];
                    ask["route"] = json!({"policy": policy, "loads": loads, "explain": self.choice & 8 > 0});
                }
                ask
            }
            Route::Register => {
                let endpoint = usize::from(self.kind) % ENDPOINTS.len();
                let mut engine = json!({
                    "instance_id": self.instance % 3, "dp_rank": self.rank(), "model_name": model,
                    "block_size": block_size, "endpoint": ENDPOINTS[endpoint],
                });
                if self.choice & 1 > 0 {
                    engine["replay_endpoint"] = ENDPOINTS[(endpoint + usize::from(self.choice >> 6)) % 5].into();
                }
                if self.choice & 2 > 0 {
                    engine["copies"] = "single".into();
                }
                engine
            }
            Route::Unregister => {
                let mut ask = json!({"instance_id": self.instance % 3, "model_name": model});
                if self.choice & 1 > 0 {
                    ask["dp_rank"] = self.rank().into();
                }
                ask
            }
            Route::RegisterPeer | Route::DeregisterPeer => {
                json!({"url": PEERS[usize::from(self.kind) % PEERS.len()]})
            }
        };
        if self.tenant % 4 == 1 {
            body["tenant_id"] = NAMES[usize::from(self.tenant / 4) % NAMES.len()].into();
        }
        body
    }
}

/// Puts something else into a field, or into one of a field's own.
fn edit(value: &mut Value, field: u8, edit: &Edit) {
    let place = match value {
        Value::Object(map) if !map.is_empty() => {
            let number = usize::from(field) % map.len();
            if matches!(edit, Edit::Missing) && field < 128 {
                let name = map.keys().nth(number).unwrap().clone();
                map.remove(&name);
                return;
            }
            map.values_mut().nth(number).unwrap()
        }
        Value::Array(list) if !list.is_empty() => {
            let number = usize::from(field) % list.len();
            &mut list[number]
        }
        _ => return,
    };
    // A field with the upper bit goes further down.
    if field >= 128 && (place.is_object() || place.is_array()) {
        return self::edit(place, field << 1 | 1, edit);
    }
    *place = match edit {
        Edit::Missing | Edit::Null => Value::Null,
        Edit::Number(number) => (*number).into(),
        Edit::Negative(number) => (*number).into(),
        Edit::Float(number) => json!(number),
        Edit::Text(name) => NAMES[usize::from(*name) % NAMES.len()].into(),
        Edit::List(length) => vec![place.clone(); usize::from(length % 4)].into(),
        Edit::Object => json!({}),
        Edit::Deep(depth) => (0..*depth).fold(Value::Null, |inner, _| Value::Array(vec![inner])),
    };
}

/// Everything that a request may change.
fn state(indexer: &Indexer) -> String {
    let mut state = String::new();
    for model in indexer.models().all().iter() {
        let (events, publishers) = (model.index().export().unwrap(), model.publishers().all());
        writeln!(state, "{} {} {events:?} {:?}", model.key(), model.block_size(), model.doubts()).unwrap();
        for publisher in publishers {
            let skipped: Vec<_> = Skip::ALL.into_iter().map(|why| publisher.skipped(why)).collect();
            let counts: Vec<_> = Count::ALL.into_iter().map(|what| publisher.count(what)).collect();
            let (worker, endpoint) = (publisher.worker(), publisher.endpoint());
            let last = publisher.last_sequence();
            writeln!(state, "{worker} {endpoint:?} {last:?} {counts:?} {skipped:?}").unwrap();
        }
    }
    write!(state, "{:?}", indexer.engines()).unwrap();
    state
}

/// What `state` returns, and the peers.
type State = (String, Vec<String>);

struct Service {
    runtime: Runtime,
    indexer: Arc<Indexer>,
    routes: Router,
}

impl Service {
    fn start() -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = Config { max_models: 2, ingest_threads: 1, ..Config::default() };
        let (indexer, routes) = unserved(config).unwrap();
        Self { runtime, indexer, routes }
    }

    fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        self.runtime.block_on(async {
            let answer = self.routes.clone().oneshot(request).await.unwrap();
            let status = answer.status();
            let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}: {error}: {text}")))
        })
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send(Request::get(path).body(Body::empty()).unwrap());
        assert_eq!(status, StatusCode::OK, "{path}");
        answer
    }

    /// Everything that a request may change.
    fn state(&self) -> State {
        let peers = self.get("/peers");
        (state(&self.indexer), serde_json::from_value(peers).unwrap())
    }

    /// Forgets all engines and peers, and with them the models. Their names are remembered for a while, as those of any
    /// service that was used before.
    fn empty(&self) {
        for model in self.indexer.models().all().iter() {
            let [name, group, tenant] = [&model.key().model, &model.key().group, &model.key().tenant];
            let instances: BTreeSet<_> = model.publishers().all().iter().map(|known| known.worker().id).collect();
            for id in instances {
                let ask = json!({"instance_id": id, "model_name": name, "routing_group": group, "tenant_id": tenant});
                let (status, answer) = self.send(post("/unregister", "application/json", ask.to_string().into()));
                assert_eq!(status, StatusCode::OK, "{answer}");
            }
        }
        for url in self.state().1 {
            self.send(post("/deregister_peer", "application/json", json!({ "url": url }).to_string().into()));
        }
        assert!(self.indexer.models().all().is_empty() && self.state().1.is_empty());
    }

    /// Asks while everything is in the state `before`. Returns the state afterwards.
    fn ask(&self, ask: &Ask, before: State) -> State {
        let mut body = ask.good.body(ask.route);
        for (field, change) in ask.edits.iter().take(3) {
            edit(&mut body, *field, change);
        }
        let packed = ask.packed && ask.route == Route::Events;
        let mut bytes =
            if packed { rmp_serde::to_vec_named(&body).unwrap() } else { serde_json::to_vec(&body).unwrap() };
        // What is registered is connected to, so an address must stay that of nobody.
        for &(place, byte) in ask.noise.iter().filter(|_| ask.route != Route::Register) {
            let length = bytes.len();
            bytes[usize::from(place) % length] = byte;
        }
        let form = if packed { "application/msgpack" } else { "application/json" };
        let request = || post(ask.route.path(), form, bytes.clone());
        let (status, answer) = self.send(request());
        let fits = status.is_success() || status.is_client_error() || status == StatusCode::INSUFFICIENT_STORAGE;
        assert!(fits, "{status} {answer}");
        let after = self.state();
        if !status.is_success() {
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.len() > 10, "{status} {answer}");
            let parsed: Result<Value, _> = serde_json::from_slice(&bytes);
            if !packed && parsed.is_err() {
                assert!(status == StatusCode::BAD_REQUEST && error.contains(" at line "), "{status} {answer}");
            }
            assert_eq!(after, before, "{status} {answer}");
        } else if ask.route.only_asks() {
            assert_eq!(lasting(self.send(request()).1), lasting(answer));
            assert_eq!(after, before, "a question changes nothing");
        } else if ask.route == Route::Events {
            let sum = |of: &str| answer[of].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
            // A removal of blocks that are not known is applied and counted.
            let unknown = answer["skipped"]["unknown_hash"].as_u64().unwrap_or(0);
            let told = answer["applied"].as_u64().unwrap() + sum("skipped") - unknown + sum("rejected");
            if let Ok(body) = serde_json::from_slice::<Value>(&bytes) {
                let events = body["events"].as_array().or(body[4].as_array()).unwrap().len() as u64;
                assert!(told == events && unknown <= events, "{answer}");
            }
        }
        after
    }
}

fn post(path: &str, form: &str, body: Vec<u8>) -> Request<Body> {
    Request::post(path).header("content-type", form).body(body.into()).unwrap()
}

/// Takes out of an answer what depends on time or chance.
fn lasting(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("route");
        answer.remove("watermarks");
    }
    answer
}

thread_local! {
    /// Inputs use it one after another.
    static SERVICE: Service = Service::start();
}

fuzz_target!(|input: Input| {
    SERVICE.with(|service| {
        let mut state = service.state();
        for ask in input.asks.iter().take(8) {
            state = service.ask(ask, state);
        }
        service.get("/workers");
        let dump: BTreeMap<String, Value> = serde_json::from_value(service.get("/dump")).unwrap();
        assert!(dump.into_keys().eq(service.indexer.models().all().iter().map(|model| model.key().to_string())));
        service.empty();
    });
});
