//! What requests may name, and what is left of a model that nobody speaks for.

use std::sync::Arc;

use kvleap::service::{Config, Server};
use serde_json::{Value, json};

use crate::common::service::{Service, config, event, events, stored};

const LOCALS: [u64; 2] = [11, 12];

fn engine(more: &Value) -> Value {
    let mut engine =
        json!({"instance_id": 8, "endpoint": "tcp://127.0.0.1:1", "model_name": "m", "block_size": 4, "dp_rank": 0});
    more.as_object().expect("fields").iter().for_each(|(name, value)| engine[name] = value.clone());
    engine
}

fn query() -> Value {
    json!({"model_name": "m", "block_hashes": LOCALS})
}

/// Returns the reason of a refusal with this status.
fn refusal(answer: &(u16, Value), status: u16) -> String {
    assert_eq!(answer.0, status, "{}", answer.1);
    answer.1["error"].as_str().expect("a reason").to_owned()
}

#[test]
fn only_workers_that_are_known_are_considered() {
    let service = Service::start(config());
    service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS), stored((9, 0), "device", 1, &LOCALS)]));
    let named: Vec<_> = (0..500).map(|id| json!([100 + id, 0])).chain([json!([7, 0])]).collect();
    for policy in ["session-affinity", "cost", "random"] {
        let route = json!({"policy": policy, "session": 3, "explain": true});
        let mut ask = query();
        (ask["workers"], ask["route"]) = (json!(named), route);
        let (status, answer) = service.post("/v1/match", &ask);
        assert_eq!((status, &answer["route"]["instance_id"]), (200, &json!(7)), "{policy}: {answer}");
        assert_eq!(answer["route"]["explanation"]["candidates"].as_array().map(Vec::len), Some(1), "{policy}");
    }
    service.server.stop();
}

#[test]
fn a_request_without_usable_events_makes_no_model() {
    let service = Service::start(Config { max_models: 1, ..config() });
    let beyond = event((7, 1 << 28), "device", json!("cleared"));
    let shared = stored((7, 0), "external", 1, &LOCALS);
    for (name, sent) in [("a", vec![]), ("b", vec![beyond]), ("c", vec![shared])] {
        let mut body = events(&sent);
        body["model_name"] = json!(name);
        let (status, answer) = service.post("/events", &body);
        assert_eq!((status, &answer["applied"]), (200, &json!(0)), "{name} {answer}");
        assert_eq!(answer["skipped"].as_object().map_or(0, serde_json::Map::len), sent.len(), "{answer}");
    }
    assert!(service.server.indexer().models().all().is_empty());
    assert_eq!(service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS)])).0, 200);
    service.server.stop();
}

#[test]
fn nothing_but_its_name_is_left_of_a_model_whose_last_engine_left() {
    let service = Service::start(Config { max_models: 1, ..config() });
    for name in ["a", "b", "m"] {
        let mut body = events(&[stored((7, 0), "device", 1, &LOCALS)]);
        body["model_name"] = json!(name);
        assert_eq!(service.post("/events", &body).0, 200);
        let known = service.server.indexer().models().get(name, "default", "");
        let model = Arc::downgrade(&known.expect("it has an engine"));
        assert_eq!(service.post("/unregister", &json!({"instance_id": 7, "model_name": name})).0, 200);
        assert!(model.upgrade().is_none(), "its memory is free");
    }
    assert!(service.server.indexer().models().all().is_empty());
    let (status, answer) = service.post("/query_by_hash", &query());
    assert_eq!((status, &answer["instances"]), (200, &json!({})), "{answer}");
    let (status, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": [1, 2, 3, 4, 5]}));
    assert_eq!((status, &answer["scores"]), (200, &json!({})), "{answer}");
    let (status, answer) = service.post("/v1/match", &query());
    assert_eq!((status, &answer["blocks"], &answer["matches"]), (200, &json!(2), &json!([])), "{answer}");
    let mut ask = query();
    ask["route"] = json!({});
    assert!(refusal(&service.post("/v1/match", &ask), 400).contains("no worker"));
    ask["model_name"] = json!("a");
    assert_eq!(service.post("/v1/match", &ask).0, 404, "only as many names are kept as there may be models");
    service.server.stop();
}

#[test]
fn a_worker_that_was_unregistered_is_in_no_later_answer() {
    let service = Service::start(config());
    service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS)]));
    for _ in 0..50 {
        service.post("/events", &events(&[stored((8, 0), "device", 1, &LOCALS)]));
        assert_eq!(service.post("/unregister", &json!({"instance_id": 8, "model_name": "m"})).0, 200);
        let (_, answer) = service.post("/query_by_hash", &query());
        assert_eq!(answer["scores"], json!({"7": {"0": 8}}), "{answer}");
    }
    service.server.stop();
}

#[test]
fn the_default_tenant_has_two_names_everywhere() {
    let service = Service::start(config());
    let named = json!({"tenant_id": "default"});
    assert_eq!(service.post("/register", &engine(&json!({}))).0, 201);
    assert_eq!(service.post("/register", &engine(&named)).0, 201, "it is the same engine");
    let mut sent = events(&[stored((7, 0), "device", 1, &LOCALS)]);
    sent["tenant_id"] = json!("default");
    assert_eq!(service.post("/events", &sent).0, 200);
    assert_eq!(service.server.indexer().models().all().len(), 1);
    assert!(service.server.indexer().models().get("m", "default", "default").is_some());
    for tenant in [json!(null), json!(""), json!("default")] {
        let mut ask = query();
        ask["tenant_id"] = tenant;
        assert_eq!(service.post("/query_by_hash", &ask).1["scores"], json!({"7": {"0": 8}}));
        assert_eq!(service.post("/v1/match", &ask).1["matches"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!(service.get("/workers?tenant_id=default").1.as_array().map(Vec::len), Some(2));
    assert_eq!(service.get("/workers?tenant_id=").1.as_array().map(Vec::len), Some(2));
    let leave = json!({"instance_id": 7, "model_name": "m", "tenant_id": "default"});
    assert_eq!(service.post("/unregister", &leave).0, 200);
    service.server.stop();
}

#[test]
fn a_field_that_nobody_knows_is_refused_by_name() {
    let service = Service::start(config());
    let with = |body: &Value, name: &str| {
        let mut body = body.clone();
        body[name] = json!("x");
        body
    };
    let leave = json!({"instance_id": 8, "model_name": "m"});
    for (path, body, wrong, known) in [
        ("/register", engine(&json!({})), "replay_endpont", "replay_endpoint"),
        ("/unregister", leave, "routing_gruop", "routing_group"),
        ("/query", json!({"model_name": "m", "token_ids": [1]}), "tenant", "tenant_id"),
        ("/query_by_hash", query(), "routing_gruop", "routing_group"),
        ("/v1/match", query(), "worker", "workers"),
        ("/events", events(&[]), "tenantid", "tenant_id"),
        ("/register_peer", json!({"url": "http://x:1"}), "uri", "url"),
        ("/deregister_peer", json!({"url": "http://x:1"}), "uri", "url"),
    ] {
        let why = refusal(&service.post(path, &with(&body, wrong)), 400);
        assert!(why.contains(&format!("`{wrong}`")) && why.contains(&format!("`{known}`")), "{path}: {why}");
        assert!(!why.contains("invalid JSON"), "{why}");
        let why = refusal(&service.post(path, &with(&body, &"x".repeat(100_000))), 400);
        assert!(why.len() < 2000, "{path}: {} bytes", why.len());
    }
    for route in [json!({"polcy": "cost"}), json!({"loads": [{"instance_id": 7, "request": 3}]})] {
        let mut ask = query();
        ask["route"] = route;
        assert!(refusal(&service.post("/v1/match", &ask), 400).contains("unknown field"));
    }
    let packed = rmp_serde::to_vec_named(&with(&events(&[]), "tenantid")).expect("msgpack");
    assert!(refusal(&service.send("/events", "application/msgpack", &packed), 400).contains("tenantid"));
    let why = refusal(&service.get("/workers?routing_gruop=x"), 400);
    assert!(why.contains("routing_gruop") && why.contains("routing_group"), "{why}");
    service.server.stop();
}

#[test]
fn fields_of_existing_clients_are_known() {
    let service = Service::start(config());
    let all = json!({"routing_group": "default", "tenant_id": "default", "dp_rank": null, "replay_endpoint": null,
        "additional_salt": "w8a8"});
    assert_eq!(service.post("/register", &engine(&all)).0, 201);
    let short = json!({"additionalsalt": null});
    assert_eq!(service.post("/register", &engine(&short)).0, 201);
    let mut newer = stored((7, 0), "device", 1, &LOCALS);
    newer["a_newer_field"] = json!(1);
    newer["event"]["data"]["stored"]["another"] = json!({"x": []});
    assert_eq!(service.post("/events", &events(&[newer])).1["applied"], 1, "events may have new fields");
    let ask = json!({"model_name": "m", "routing_group": "default", "tenant_id": "default", "token_ids": [1],
        "lora_name": null, "cache_salt": null});
    assert_eq!(service.post("/query", &ask).0, 200);
    let mut ask = query();
    (ask["tenant_id"], ask["cache_salt"], ask["lora_name"]) = (json!("default"), json!(null), json!(null));
    assert_eq!(service.post("/query_by_hash", &ask).0, 200);
    let leave = json!({"instance_id": 8, "model_name": "m", "routing_group": null, "tenant_id": null, "dp_rank": null});
    assert_eq!(service.post("/unregister", &leave).0, 200);
    service.server.stop();
}

#[test]
fn names_have_a_length_and_one_line() {
    let service = Service::start(config());
    let long = "x".repeat(257);
    for (field, name) in
        [("model_name", long.as_str()), ("routing_group", &long), ("tenant_id", &long), ("model_name", "a\nb")]
    {
        let mut body = events(&[stored((7, 0), "device", 1, &LOCALS)]);
        body[field] = json!(name);
        let why = refusal(&service.post("/events", &body), 400);
        assert!(why.contains(field) && why.len() < 300, "{why}");
        let why = refusal(&service.post("/register", &engine(&json!({field: name}))), 400);
        assert!(why.contains(field) && why.len() < 300, "{why}");
        let mut ask = query();
        ask[field] = json!(name);
        assert!(refusal(&service.post("/query_by_hash", &ask), 400).contains(field));
        assert!(refusal(&service.post("/v1/match", &ask), 400).contains(field));
    }
    for (field, at) in [
        ("endpoint", format!("ipc://{}", "x".repeat(2000))),
        ("endpoint", "ipc:///tmp/a\nb".to_owned()),
        ("replay_endpoint", format!("tcp://{}:1", "x".repeat(2000))),
        ("topic", "x".repeat(2000)),
        ("topic", "\u{1b}[2J".to_owned()),
    ] {
        assert!(refusal(&service.post("/register", &engine(&json!({field: at}))), 400).contains(field));
    }
    let leave = json!({"instance_id": 7, "model_name": ""});
    assert!(refusal(&service.post("/unregister", &leave), 400).contains("model_name"));
    let mut nameless = events(&[stored((7, 0), "device", 1, &LOCALS)]);
    nameless["model_name"] = json!("");
    for body in [nameless, engine(&json!({"model_name": ""}))] {
        let path = if body["events"].is_array() { "/events" } else { "/register" };
        assert!(refusal(&service.post(path, &body), 400).contains("model_name"));
    }
    assert!(service.server.indexer().models().all().is_empty());
    let longest = json!({"model_name": "x".repeat(256)});
    assert_eq!(service.post("/register", &engine(&longest)).0, 201);
    let ask = json!({"model_name": "x".repeat(256), "token_ids": [1], "lora_name": long});
    assert!(refusal(&service.post("/query", &ask), 400).contains("lora_name"));
    assert!(refusal(&service.post("/v1/match", &ask), 400).contains("lora_name"));
    service.server.stop();
}

#[test]
fn what_can_never_work_is_refused_with_what_to_do() {
    let service = Service::start(config());
    for (more, words) in [
        (json!({"endpoint": "tcp://*:5557"}), "bind"),
        (json!({"endpoint": "tcp://0.0.0.0:5557"}), "bind"),
        (json!({"endpoint": "tcp://[::]:5557"}), "bind"),
        (json!({"endpoint": "tcp://[0:0::0]:5557"}), "bind"),
        (json!({"replay_endpoint": "tcp://*:5558"}), "replay_endpoint"),
        (json!({"bind": true, "endpoint": "tcp://*:5557", "replay_endpoint": "tcp://0.0.0.0:1"}), "replay_endpoint"),
        (json!({"endpoint": "tcp://127.0.0.1:0"}), "endpoint"),
        (json!({"bind": true, "endpoint": "tcp://*:0"}), "endpoint"),
        (json!({"replay_endpoint": "tcp://127.0.0.1:0"}), "replay_endpoint"),
        (json!({"replay_endpoint": "tcp://127.0.0.1:1"}), "replay_endpoint"),
    ] {
        let why = refusal(&service.post("/register", &engine(&more)), 400);
        assert!(why.contains(words), "{more}: {why}");
    }
    service.server.stop();
}

#[test]
fn peers_are_bounded_in_number_and_length() {
    let service = Service::start(config());
    let add = |url: String| service.post("/register_peer", &json!({"url": url}));
    assert!(refusal(&add(format!("http://x/{}", "y".repeat(5000))), 400).len() < 300);
    let refused = (0..300).map(|port| add(format!("http://x:{}", 1000 + port))).find(|answer| answer.0 != 201);
    assert!(refusal(&refused.expect("a bound"), 507).contains("peers"));
    assert_eq!(add("http://x:1000".to_owned()).0, 201, "it is known");
    let urls: Vec<_> = (0..300).map(|port| format!("http://127.0.0.1:{}", 1 + port)).collect();
    assert!(Server::start(Config { peers: urls, ..config() }).is_err());
    service.server.stop();
}

#[test]
fn a_model_has_a_bounded_number_of_workers() {
    let service = Service::start(Config { max_workers: 3, ..config() });
    let sent: Vec<_> = (0..10).map(|id| stored((id, 0), "device", 1, &LOCALS)).collect();
    let (status, answer) = service.post("/events", &events(&sent));
    let expected = json!({"applied": 3, "blocks": 6, "skipped": {"too_many_workers": 7}, "rejected": {}});
    assert_eq!((status, answer), (200, expected));
    assert!(refusal(&service.post("/register", &engine(&json!({}))), 507).contains("max_workers"));
    let second = engine(&json!({"instance_id": 1}));
    assert_eq!(service.post("/register", &second).0, 201, "its worker is known");
    assert_eq!(service.post("/events", &events(&sent[..3])).1["applied"], 3, "and so are these");
    assert_eq!(service.get("/workers").1.as_array().map(Vec::len), Some(3));
    assert_eq!(service.post("/unregister", &json!({"instance_id": 0, "model_name": "m"})).0, 200);
    assert_eq!(service.post("/register", &engine(&json!({}))).0, 201, "there is room again");
    let named: Vec<_> = (0..4).map(|id| json!([id, 0])).collect();
    let loads: Vec<_> = (0..4).map(|id| json!({"instance_id": id})).collect();
    for (field, list) in [("workers", json!({"workers": named})), ("loads", json!({"route": {"loads": loads}}))] {
        let mut ask = query();
        list.as_object().expect("fields").iter().for_each(|(name, value)| ask[name] = value.clone());
        assert!(refusal(&service.post("/v1/match", &ask), 400).contains(field));
    }
    service.server.stop();
}

/// Engines come and go while others speak over HTTP, so that the model is removed again and again.
#[test]
fn events_are_kept_or_refused_while_engines_and_models_come_and_go() {
    let service = Service::start(Config { threads: 4, ..config() });
    std::thread::scope(|scope| {
        for id in 0..3_u64 {
            let service = &service;
            scope.spawn(move || {
                for _ in 0..60 {
                    let (status, answer) = service.post("/events", &events(&[stored((id, 0), "device", 1, &LOCALS)]));
                    assert_eq!((status, &answer["applied"]), (200, &json!(1)), "{answer}");
                    let leave = json!({"instance_id": id, "model_name": "m"});
                    assert_eq!(service.post("/unregister", &leave).0, 200);
                    let (_, answer) = service.post("/query_by_hash", &query());
                    assert!(answer["scores"].get(id.to_string()).is_none(), "{answer}");
                }
            });
        }
    });
    assert!(service.server.indexer().models().all().is_empty());
    service.server.stop();
}
