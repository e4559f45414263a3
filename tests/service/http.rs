//! Every route of the API. Routes that Dynamo's standalone indexer has are called as its clients would call them.

use std::sync::Arc;

use kvleap::service::{Config, Key, Publisher, Server, ingest};
use kvleap::{BlockHasher, Worker};
use serde_json::{Value, json};

use crate::common::engine_events;
use crate::common::scratch::Scratch;
use crate::common::service::{Service, config, event, events, stored};

const LOCALS: [u64; 4] = [11, u64::MAX, 1 << 63, 14];

fn query(locals: &[u64]) -> Value {
    let hashes: Vec<i64> = locals.iter().map(|hash| hash.cast_signed()).collect();
    json!({"model_name": "m", "block_hashes": hashes})
}

#[test]
fn events_are_found_by_hash_and_by_tokens() {
    let service = Service::start(config());
    let tokens: Vec<u32> = (0..14).collect();
    let locals = BlockHasher::new(4).expect("a block size").hash(&tokens);
    let sent = [
        stored((7, 0), "device", 100, &locals),
        stored((7, 1), "device", 200, &locals[..1]),
        stored((8, 0), "device", 300, &locals[..2]),
        stored((9, 0), "device", 400, &[5]),
    ];
    let (status, outcome) = service.post("/events", &events(&sent));
    assert_eq!((status, &outcome), (200, &json!({"applied": 4, "blocks": 7, "skipped": {}, "rejected": {}})));

    let expected = json!({
        "scores": {"7": {"0": 12, "1": 4}, "8": {"0": 8}},
        "frequencies": [],
        "instances": {
            "7": {"longest_matched": 12, "gpu": 12, "dp": {"0": 12, "1": 4}, "cpu": 12, "disk": 12},
            "8": {"longest_matched": 8, "gpu": 8, "dp": {"0": 8}, "cpu": 8, "disk": 8},
        },
    });
    assert_eq!(service.post("/query", &json!({"model_name": "m", "token_ids": tokens})), (200, expected.clone()));
    let unsigned = json!({"model_name": "m", "routing_group": "default", "block_hashes": locals});
    assert_eq!(service.post("/query_by_hash", &unsigned), (200, expected.clone()));
    assert_eq!(service.post("/query_by_hash", &query(&locals)), (200, expected));
    let nothing = json!({"scores": {}, "frequencies": [], "instances": {}});
    assert_eq!(service.post("/query_by_hash", &query(&[1])), (200, nothing.clone()));
    assert_eq!(service.post("/query", &json!({"model_name": "m", "token_ids": []})), (200, nothing));
    service.server.stop();
}

#[test]
fn adapters_and_salts_have_separate_blocks() {
    let service = Service::start(config());
    let tokens = [1, 2, 3, 4];
    let hasher = BlockHasher::new(4).expect("a block size");
    let salted = hasher.lora("adapter").namespace("salt").hash(&tokens);
    assert_eq!(service.post("/events", &events(&[stored((7, 0), "device", 1, &salted)])).0, 200);
    let found = |more: &[(&str, &str)]| {
        let mut ask = json!({"model_name": "m", "token_ids": tokens});
        for (name, value) in more {
            ask[name] = json!(value);
        }
        service.post("/query", &ask).1["scores"]["7"]["0"].as_u64()
    };
    assert_eq!(found(&[("lora_name", "adapter"), ("cache_salt", "salt")]), Some(4));
    assert_eq!(found(&[("lora_name", "adapter")]), None);
    assert_eq!(found(&[("cache_salt", "salt")]), None);
    assert_eq!(found(&[]), None);
    let mut by_hash = query(&salted);
    by_hash["cache_salt"] = json!("salt");
    let (status, answer) = service.post("/query_by_hash", &by_hash);
    assert!(status == 400 && answer["error"].as_str().is_some_and(|error| error.contains("cache_salt")));
    service.server.stop();
}

#[test]
fn lower_tiers_count_cumulatively() {
    let service = Service::start(config());
    let sent = [
        stored((7, 0), "device", 1, &LOCALS[..2]),
        stored((7, 0), "host_pinned", 1, &LOCALS[..3]),
        stored((7, 0), "disk", 1, &LOCALS),
        stored((8, 0), "host_pinned", 1, &LOCALS[..1]),
    ];
    let (_, outcome) = service.post("/events", &events(&sent));
    assert_eq!((&outcome["applied"], &outcome["rejected"]), (&json!(4), &json!({})), "{outcome}");
    let expected = json!({
        "scores": {"7": {"0": 8}},
        "frequencies": [],
        "instances": {
            "7": {"longest_matched": 16, "gpu": 8, "dp": {"0": 8}, "cpu": 12, "disk": 16},
            "8": {"longest_matched": 4, "gpu": 0, "dp": {}, "cpu": 4, "disk": 4},
        },
    });
    assert_eq!(service.post("/query_by_hash", &query(&LOCALS)), (200, expected));
    service.server.stop();
}

#[test]
fn events_that_are_not_applied_are_reported_with_reasons() {
    let service = Service::start(config());
    let orphan =
        |hash: u64| json!({"stored": {"parent_hash": 999, "blocks": [{"block_hash": hash, "tokens_hash": 2}]}});
    let sent = [
        stored((7, 0), "device", 1, &LOCALS),
        event((7, 0), "device", orphan(1)),
        event((7, 0), "external", json!({"removed": {"block_hashes": [1]}})),
        event((7, 1 << 28), "device", json!("cleared")),
        event((7, 0), "device", json!({"removed": {"block_hashes": [4]}})),
    ];
    let (status, outcome) = service.post("/events", &events(&sent));
    let skipped = json!({"other_medium": 1, "rank_too_high": 1});
    let rejected = json!({"unknown_parent": 1});
    assert_eq!(status, 200);
    assert_eq!(outcome, json!({"applied": 2, "blocks": 6, "skipped": skipped, "rejected": rejected}));
    assert_eq!(service.post("/query_by_hash", &query(&LOCALS)).1["scores"]["7"]["0"], 12, "the last block was removed");

    // Every tier rejects a block without a parent, and it is one event all the same.
    let orphans = [("disk", 101), ("device", 102), ("host_pinned", 103)];
    let everywhere = orphans.map(|(tier, hash)| event((7, 0), tier, orphan(hash)));
    let sent = [&[stored((7, 0), "disk", 1, &LOCALS)], &everywhere[..], &[stored((7, 0), "host_pinned", 1, &LOCALS)]];
    let outcome = service.post("/events", &events(&sent.concat())).1;
    let expected = json!({"applied": 2, "blocks": 11, "skipped": {}, "rejected": {"unknown_parent": 3}});
    assert_eq!(outcome, expected);

    let mut other_size = events(&[]);
    other_size["block_size"] = json!(8);
    assert_eq!(service.post("/events", &other_size).0, 409);
    other_size["block_size"] = json!(0);
    assert_eq!(service.post("/events", &other_size).0, 400);
    assert_eq!(service.send("/events", "application/json", b"{}").0, 400);
    assert_eq!(service.send("/events", "application/msgpack", b"{}").0, 400);
    service.server.stop();
}

#[test]
fn events_may_be_sent_in_msgpack() {
    let service = Service::start(config());
    let body = rmp_serde::to_vec_named(&events(&[stored((7, 0), "device", 1, &LOCALS)])).expect("msgpack");
    for form in ["application/msgpack", "application/x-msgpack; v=1"] {
        let (status, outcome) = service.send("/events", form, &body);
        assert_eq!((status, &outcome["applied"]), (200, &json!(1)), "{outcome}");
    }
    assert_eq!(service.post("/query_by_hash", &query(&LOCALS)).1["scores"]["7"]["0"], 16);
    service.server.stop();
}

#[test]
fn tenants_and_groups_see_only_their_own() {
    let service = Service::start(Config { max_models: 3, ..config() });
    let places = [None, Some(("tenant_id", "t")), Some(("routing_group", "g"))];
    let at = |mut body: Value, place: Option<(&str, &str)>| {
        if let Some((name, value)) = place {
            body[name] = json!(value);
        }
        body
    };
    for (instance, place) in (1..).zip(places) {
        let sent = at(events(&[stored((instance, 0), "device", 1, &LOCALS)]), place);
        assert_eq!(service.post("/events", &sent).0, 200);
    }
    for (instance, place) in (1..).zip(places) {
        let (_, answer) = service.post("/query_by_hash", &at(query(&LOCALS), place));
        let seen: Vec<_> = answer["instances"].as_object().expect("instances").keys().cloned().collect();
        assert_eq!(seen, [format!("{instance}")], "{place:?}");
    }
    for stranger in [("tenant_id", "u"), ("routing_group", "h"), ("model_name", "n")] {
        let (status, answer) = service.post("/query_by_hash", &at(query(&LOCALS), Some(stranger)));
        assert!(status == 404 && answer["error"].as_str().is_some_and(|error| error.contains("no model")), "{answer}");
        assert_eq!(service.post("/query", &at(json!({"model_name": "m", "token_ids": []}), Some(stranger))).0, 404);
    }
    let one_more = at(events(&[stored((1, 0), "device", 1, &LOCALS)]), Some(("tenant_id", "u")));
    assert_eq!(service.post("/events", &one_more).0, 507, "the limit of models is reached");
    service.server.stop();
}

#[test]
fn workers_are_registered_listed_and_unregistered() {
    let service = Service::start(config());
    assert_eq!(service.get("/workers"), (200, json!([])));
    service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS), stored((7, 1), "device", 1, &LOCALS)]));
    let engine = json!({
        "instance_id": 8, "endpoint": "tcp://127.0.0.1:1", "model_name": "m", "block_size": 4, "dp_rank": 2,
        "replay_endpoint": "tcp://127.0.0.1:2", "additional_salt": "accepted and ignored",
    });
    assert_eq!(service.post("/register", &engine), (201, json!({"status": "ok"})));
    assert_eq!(service.post("/register", &engine).0, 201, "an equal registration is accepted again");
    let with = |name: &str, value: Value| {
        let mut other = engine.clone();
        other[name] = value;
        service.post("/register", &other)
    };
    assert_eq!(with("replay_endpoint", json!("tcp://127.0.0.1:3")).0, 409);
    assert_eq!(with("block_size", json!(8)).0, 409);
    for (name, value) in [
        ("endpoint", json!("http://127.0.0.1:1")),
        ("endpoint", json!("tcp://127.0.0.1")),
        ("endpoint", json!("tcp://127.0.0.1:0")),
        ("replay_endpoint", json!("x")),
        ("block_size", json!(0)),
        ("model_name", json!("")),
        ("dp_rank", json!(1 << 28)),
        ("instance_id", json!(-1)),
    ] {
        let (status, answer) = with(name, value.clone());
        assert!(status == 400 && answer["error"].is_string(), "{name} {value}: {status} {answer}");
    }

    let (_, workers) = service.get("/workers?model_name=m&routing_group=default");
    assert_eq!(workers.as_array().map(Vec::len), Some(2));
    let [over_http, over_zmq] = [&workers[0], &workers[1]];
    assert_eq!((&over_http["instance_id"], &over_http["source"]), (&json!(7), &json!("http")));
    assert_eq!((&over_http["status"], &over_http["endpoints"]), (&json!("live"), &json!({})));
    assert_eq!(over_http["listeners"]["1"]["counts"]["blocks"], 4);
    assert_eq!((&over_zmq["source"], &over_zmq["status"]), (&json!("zmq"), &json!("connecting")));
    assert_eq!(over_zmq["endpoints"], json!({"2": "tcp://127.0.0.1:1"}));
    assert_eq!((&over_zmq["model_name"], &over_zmq["block_size"]), (&json!("m"), &json!(4)));
    assert_eq!(service.get("/workers?model_name=n"), (200, json!([])));

    // A rank may have other publishers, up to four in all.
    for (port, status) in [(11, 201), (12, 201), (13, 201), (14, 409), (11, 201)] {
        assert_eq!(with("endpoint", json!(format!("tcp://127.0.0.1:{port}"))).0, status, "{port}");
    }
    let mut uncounted = engine.clone();
    (uncounted["endpoint"], uncounted["copies"]) = (json!("tcp://127.0.0.1:15"), json!("single"));
    assert_eq!(service.post("/register", &uncounted).0, 409, "its other publishers count copies");
    let (_, workers) = service.get("/workers?model_name=m&tenant_id=default");
    assert_eq!(workers[1]["listeners"]["2"]["others"].as_array().map(Vec::len), Some(3));

    let leave = |ask: Value| service.post("/unregister", &ask).0;
    assert_eq!(leave(json!({"instance_id": 8, "model_name": "m", "dp_rank": 0})), 404);
    assert_eq!(leave(json!({"instance_id": 8, "model_name": "m", "routing_group": "g"})), 404);
    assert_eq!(leave(json!({"instance_id": 8, "model_name": "m", "tenant_id": "t"})), 404);
    assert_eq!(leave(json!({"instance_id": 8, "model_name": "m"})), 200);
    assert_eq!(leave(json!({"instance_id": 7, "model_name": "m", "dp_rank": 1, "routing_group": "default"})), 200);
    let (_, answer) = service.post("/query_by_hash", &query(&LOCALS));
    assert_eq!(answer["scores"], json!({"7": {"0": 16}}), "its blocks are dropped");
    assert_eq!(service.get("/workers").1.as_array().map(Vec::len), Some(1));
    service.post("/events", &events(&[stored((7, 1), "device", 1, &LOCALS)]));
    let (_, answer) = service.post("/query_by_hash", &query(&LOCALS));
    assert_eq!(answer["scores"]["7"]["1"], 16, "the worker may come back");
    service.server.stop();
}

#[test]
fn a_dump_rebuilds_the_state() {
    let service = Service::start(config());
    let hole = event((7, 0), "device", json!({"removed": {"block_hashes": [2]}}));
    service.post("/events", &events(&[stored((7, 0), "device", 1, &LOCALS), hole, stored((8, 3), "disk", 9, &LOCALS)]));
    let mut elsewhere = events(&[stored((9, 0), "device", 1, &LOCALS)]);
    elsewhere["model_name"] = json!("org:model");
    elsewhere["routing_group"] = json!("50%");
    elsewhere["tenant_id"] = json!("t");
    service.post("/events", &elsewhere);

    let (status, dump) = service.get("/dump");
    assert_eq!(status, 200);
    let keys: Vec<_> = dump.as_object().expect("models").keys().collect();
    assert_eq!(keys, ["m:default", "org%3Amodel:50%25:t"]);
    assert_eq!(dump["m:default"]["block_size"], 4);
    let first = &dump["m:default"]["events"][0];
    assert_eq!((&first["worker_id"], &first["storage_tier"]), (&json!(7), &json!("device")));
    assert_eq!(first["event"]["data"]["stored"]["blocks"][0], json!({"block_hash": 1, "tokens_hash": 11}));

    // One instance starts as a copy of this one, and another gets the same events over HTTP.
    let copy = Service::start(Config { peers: vec!["http://127.0.0.1:1".into(), service.url("/")], ..config() });
    let fed = Service::start(config());
    let all = dump["m:default"]["events"].as_array().expect("events");
    assert_eq!(fed.post("/events", &events(all)).1["rejected"], json!({}));
    let expected = service.post("/query_by_hash", &query(&LOCALS));
    assert_eq!(expected.1["scores"], json!({"7": {"0": 4}}), "the match ends at the hole");
    assert_eq!(fed.post("/query_by_hash", &query(&LOCALS)), expected);
    let (status, mut marked) = copy.post("/query_by_hash", &query(&LOCALS));
    let marks = ["degraded", "exactness"].map(|mark| marked.as_object_mut().and_then(|answer| answer.remove(mark)));
    assert_eq!((status, marked), expected);
    assert!(marks.iter().all(Option::is_some), "no publisher has spoken to the copy yet");
    assert_eq!(copy.get("/dump"), (200, dump));
    for service in [service, copy, fed] {
        service.server.stop();
    }
}

#[test]
fn peers_are_registered_listed_and_removed() {
    let service = Service::start(config());
    let peer = json!({"url": "http://other:8090/"});
    assert_eq!(service.post("/register_peer", &peer), (201, json!({"status": "ok"})));
    assert_eq!(service.get("/peers"), (200, json!(["http://other:8090"])));
    assert_eq!(service.post("/deregister_peer", &peer), (200, json!({"status": "ok"})));
    assert_eq!(service.post("/deregister_peer", &peer), (404, json!({"error": "peer not found"})));
    assert_eq!(service.get("/peers"), (200, json!([])));
    service.server.stop();
}

#[test]
fn a_block_size_of_one_and_long_queries_are_supported() {
    let service = Service::start(config());
    let tokens: Vec<u32> = (0..100_000).collect();
    let locals = BlockHasher::new(1).expect("a block size").hash(&tokens);
    let mut sent = events(&[stored((7, 0), "device", 1, &locals)]);
    sent["block_size"] = json!(1);
    assert_eq!(service.post("/events", &sent).1["applied"], 1);
    let (_, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": tokens}));
    assert_eq!(answer["instances"]["7"]["gpu"], 100_000);
    service.server.stop();
}

/// Starts a service whose model `m` has three workers: 7/0 with two blocks on the device and three in host memory, 7/1
/// with one block, and 8/0 with three.
fn fleet() -> Service {
    let service = Service::start(config());
    let sent = [
        stored((7, 0), "device", 1, &LOCALS[..2]),
        stored((7, 0), "host_pinned", 1, &LOCALS[..3]),
        stored((7, 1), "device", 1, &LOCALS[..1]),
        stored((8, 0), "device", 1, &LOCALS[..3]),
    ];
    assert_eq!(service.post("/events", &events(&sent)).1["applied"], 4);
    service
}

fn ask(service: &Service, more: &Value) -> (u16, Value) {
    let mut ask = query(&LOCALS);
    more.as_object().expect("fields").iter().for_each(|(name, value)| ask[name] = value.clone());
    service.post("/v1/match", &ask)
}

/// Returns the instance, the rank, and the blocks down to each tier, for every match.
fn matches(answer: &Value) -> Vec<[u64; 5]> {
    let list = answer["matches"].as_array().expect("a list");
    let fields = ["instance_id", "dp_rank", "gpu", "cpu", "disk"];
    list.iter().map(|of| fields.map(|name| of[name].as_u64().expect("a number"))).collect()
}

#[test]
fn matches_have_tiers_state_and_age() {
    let service = fleet();
    let (status, answer) = ask(&service, &json!({}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(matches(&answer), [[8, 0, 3, 3, 3], [7, 0, 2, 3, 3], [7, 1, 1, 1, 1]]);
    assert_eq!((&answer["block_size"], &answer["blocks"]), (&json!(4), &json!(4)));
    assert_eq!((&answer["exactness"], &answer["degraded"]), (&json!("exact"), &json!([])));
    assert_eq!((&answer["matches"][0]["exactness"], &answer["matches"][0]["state"]), (&json!("exact"), &json!("live")));
    assert_eq!(answer["watermarks"].as_array().map(Vec::len), Some(1));
    assert!(answer["watermarks"][0]["events"].as_u64().is_some_and(|events| events >= 4), "{answer}");
    assert!(answer["route"].is_null());

    assert_eq!(matches(&ask(&service, &json!({"k": 1})).1), [[8, 0, 3, 3, 3]]);
    assert_eq!(matches(&ask(&service, &json!({"workers": [[7, 1], [9, 0]]})).1), [[7, 1, 1, 1, 1]]);
    assert_eq!(ask(&service, &json!({"token_ids": [1]})).0, 400, "exactly one of the two is needed");
    assert_eq!(ask(&service, &json!({"block_hashes": null})).0, 400, "exactly one of the two is needed");
    assert_eq!(ask(&service, &json!({"cache_salt": "s"})).0, 400);
    assert_eq!(ask(&service, &json!({"tenant_id": "t"})).0, 404);
    let by_tokens = json!({"model_name": "m", "token_ids": [1, 2, 3, 4, 5]});
    let (status, answer) = service.post("/v1/match", &by_tokens);
    assert_eq!((status, &answer["blocks"], &answer["matches"]), (200, &json!(1), &json!([])));
    service.server.stop();
}

#[test]
fn a_decision_takes_loads_into_account_and_explains_itself() {
    let service = fleet();
    let chosen = |route: Value| {
        let (status, answer) = ask(&service, &json!({"route": route}));
        assert_eq!(status, 200, "{answer}");
        answer["route"].clone()
    };
    let deepest = chosen(json!({}));
    assert_eq!(deepest, json!({"instance_id": 8, "dp_rank": 0, "policy": "cost", "held": 3}));
    let busy = json!([{"instance_id": 8, "requests": 9, "prefill_tokens": 9000, "decode_blocks": 900}]);
    let elsewhere = chosen(json!({"loads": busy, "explain": true}));
    assert_eq!((&elsewhere["instance_id"], &elsewhere["dp_rank"]), (&json!(7), &json!(0)));
    let candidates = elsewhere["explanation"]["candidates"].as_array().expect("a list");
    let of_8 = candidates.iter().find(|of| of["instance_id"] == 8).expect("it was considered");
    assert_eq!((candidates.len(), &of_8["decode_blocks"], &of_8["held"]), (3, &json!(900), &json!(3)));
    assert!(
        of_8["cost"].as_f64()
            > candidates
                .iter()
                .map(|of| of["cost"].as_f64())
                .min_by(|a, b| a.partial_cmp(b).expect("numbers"))
                .expect("three")
    );
    // The worker has two blocks on the device, and one that it must bring back from host memory.
    for (credits, credit) in [(json!(null), 2.7), (json!([1.0, 0.5, 0.0]), 2.5), (json!([1.0, 0.0, 0.0]), 2.0)] {
        let explained = chosen(json!({"credits": credits, "explain": true}));
        let candidates = explained["explanation"]["candidates"].as_array().expect("a list").clone();
        let of_7 =
            candidates.iter().find(|of| of["instance_id"] == 7 && of["dp_rank"] == 0).expect("it was considered");
        let off = of_7["credit"].as_f64().expect("a number") - credit;
        assert!(off.abs() < 1e-6, "{credits} {of_7}");
    }
    assert_eq!(ask(&service, &json!({"route": {"credits": [1.0, 2.0, 0.0]}})).0, 400);
    let absent = json!([{"instance_id": 8, "available": false}]);
    assert_eq!(chosen(json!({"policy": "longest-prefix", "loads": absent}))["instance_id"], 7);

    let (_, answer) = ask(&service, &json!({"workers": [[7, 1]], "route": {}}));
    assert_eq!((&answer["route"]["instance_id"], &answer["route"]["dp_rank"]), (&json!(7), &json!(1)));
    for route in [json!({"policy": "best"}), json!({"policy": "round-robin"})] {
        let (status, answer) = ask(&service, &json!({"route": route}));
        assert!(status == 400 && answer["error"].is_string(), "{answer}");
    }
    assert_eq!(ask(&service, &json!({"workers": [], "route": {}})).0, 400, "no worker is left to choose");
    service.server.stop();
}

/// With a secret key, blocks are found by their tokens, and requests that bring hashes are refused.
#[test]
fn a_secret_key_keeps_hashes_inside_the_service() {
    let scratch = Scratch::new("hash_key");
    let config = |key: &str| Config { hash_key_file: Some(scratch.file("key", key).into()), ..config() };
    for bad in ["", "0123", "00112233445566778899aabbccddeefg"] {
        let error = Server::start(config(bad)).expect_err("no key").to_string();
        assert!(error.contains("32 hexadecimal digits"), "{error}");
    }
    let service = Service::start(config("00112233445566778899aabbccddeeff\n"));
    let model = service.server.indexer().models().get_or_add(&Key::new("m"), 4).expect("new");
    let publisher = Arc::new(Publisher::zmq(Worker::new(7, 0), "tcp://127.0.0.1:1"));
    model.publishers().put(&publisher);
    let salted = engine_events::stored(&[1], None, &[1, 2, 3, 4], json!({"extra_keys": [["salt"]]}));
    ingest::apply(&model, &publisher, 0, &engine_events::batch(&[salted], None)).expect("it runs");
    service.flush();
    let found = |query: Value| service.post("/query", &query).1["instances"]["7"]["gpu"].as_u64();
    let tokens = json!({"model_name": "m", "token_ids": [1, 2, 3, 4], "cache_salt": "salt"});
    assert_eq!(found(tokens), Some(4));
    assert_eq!(found(json!({"model_name": "m", "token_ids": [1, 2, 3, 4]})), None);
    let by_hash = json!({"model_name": "m", "block_hashes": [1]});
    for (path, body) in [
        ("/query_by_hash", &by_hash),
        ("/v1/match", &by_hash),
        ("/events", &events(&[stored((8, 0), "device", 1, &LOCALS)])),
    ] {
        let (status, answer) = service.post(path, body);
        assert!(
            status == 400 && answer["error"].as_str().is_some_and(|why| why.contains("secret key")),
            "{path} {answer}"
        );
    }
    service.server.stop();
}
