//! An instance that starts as a copy of another one continues exactly like it, or says that its answers may not be
//! exact.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use fastrand::Rng;
use kvleap::service::ingest::apply;
use kvleap::service::mock_publisher::{MockPublisher, Options};
use kvleap::service::publisher::{Count, Resume, State};
use kvleap::service::snapshot::{SavedModel, SavedPublisher, Writer, restore};
use kvleap::service::{Config, Model, Models, Tier};
use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};
use serde_json::{Value, json};

use crate::common::engine::free_ports;
use crate::common::engine_events::{self, batch, cleared, removed};
use crate::common::judge::Judge;
use crate::common::peer::{Hostile, dumping, ok, stub};
use crate::common::scratch::Scratch;
use crate::common::service::{Service, config, event, events, stored};
use crate::common::until::until;

fn copy_of(peers: &[&str]) -> Service {
    Service::start(Config { peers: peers.iter().map(|&url| url.to_owned()).collect(), ..config() })
}

fn model(service: &Service) -> Arc<Model> {
    service.server.indexer().models().get("m", "default", "").expect("the model is there")
}

/// Returns a store of these tokens, as an engine would publish it.
fn chain(hashes: &[u64], parent: Option<u64>, tokens: std::ops::Range<u32>, medium: &str) -> Value {
    engine_events::stored(hashes, parent, &tokens.collect::<Vec<_>>(), json!({"medium": medium}))
}

/// Gives the same batches of one publisher to all these services. The publisher is the one of worker 1/0 in this seat.
/// Returns the number of its next batch.
fn tell(services: &[&Service], seat: usize, sequence: u64, batches: &[&[Value]]) -> u64 {
    for service in services {
        let (model, mut sequence) = (model(service), sequence);
        let publisher = Arc::clone(&model.publishers().of(Worker::new(1, 0))[seat]);
        for events in batches {
            apply(&model, &publisher, sequence, &batch(events, Some(0))).expect("it runs");
            sequence += 1;
        }
        model.index().flush().expect("it runs");
    }
    sequence + batches.len() as u64
}

/// Returns how many leading tokens of the prompt worker 1/0 holds, down to each tier.
fn depths(service: &Service, tokens: std::ops::Range<u32>, salt: Option<&str>) -> [u64; 3] {
    let ask = json!({"model_name": "m", "token_ids": tokens.collect::<Vec<_>>(), "cache_salt": salt});
    let (status, answer) = service.post("/query", &ask);
    assert_eq!(status, 200, "{answer}");
    ["gpu", "cpu", "disk"].map(|tier| answer["instances"]["1"][tier].as_u64().unwrap_or(0))
}

/// Asserts that two services agree: on publishers with their endpoints, positions, records and doubts, and on workers
/// with how many blocks and copies they hold.
fn assert_equal(original: &Service, copy: &Service) {
    let [here, there] = [original, copy].map(|service| service.server.indexer().models().all());
    assert_eq!(here.len(), there.len());
    for (here, there) in here.iter().zip(there.iter()) {
        assert_eq!((here.key(), here.block_size()), (there.key(), there.block_size()));
        let workers = [here, there].map(|model| {
            let workers = model.index().status().workers.into_iter();
            let counts = workers.map(|of| (of.worker, of.held_blocks, of.extra_copies, of.last_event_id));
            counts.collect::<Vec<_>>()
        });
        assert_eq!(workers[0], workers[1]);
        let (here, there) = (here.publishers().all(), there.publishers().all());
        assert_eq!(here.len(), there.len());
        for (here, there) in here.iter().zip(there.iter()) {
            assert_eq!((here.workers(), here.endpoint()), (there.workers(), there.endpoint()));
            let (here, there) = (here.checkpoint(), there.checkpoint());
            assert_eq!((here.seat, here.position, here.lookahead), (there.seat, there.position, there.lookahead));
            assert_eq!(here.records, there.records);
            assert_eq!(
                format!("{:?}", here.doubts),
                format!("{:?}", there.doubts).replace(", Restored", "").replace("Restored", "")
            );
        }
    }
}

/// Starts an instance with everything that can be copied: two publishers of worker 1/0, salts, groups, copies, tiers, a
/// doubt, and an engine that speaks over HTTP. Returns it with the next batch numbers of both publishers.
fn original() -> (Service, [u64; 2]) {
    let service = Service::start(config());
    let ports = free_ports(2);
    for port in [ports, ports + 1] {
        let engine = json!({"instance_id": 1, "endpoint": format!("tcp://127.0.0.1:{port}"), "model_name": "m",
            "block_size": 4});
        assert_eq!(service.post("/register", &engine).0, 201);
    }
    let mut salted = chain(&[1, 2], None, 0..8, "GPU");
    salted["extra_keys"] = json!([["tenant-a"], null]);
    let mut other_group = chain(&[90], None, 0..4, "GPU");
    (other_group["group_idx"], other_group["kv_cache_spec_kind"]) = (json!(3), json!("sliding_window"));
    let twice = chain(&[11, 12], None, 100..108, "GPU");
    let host = chain(&[21], None, 200..204, "CPU_PINNED");
    let batches: [&[Value]; 4] =
        [&[salted, other_group], &[twice.clone(), twice], &[host], &[json!({"type": "Strange"})]];
    let engine = tell(&[&service], 0, 0, &batches);
    let connector =
        tell(&[&service], 1, 0, &[&[chain(&[11], None, 100..104, "GPU")], &[chain(&[31], None, 300..304, "DISK")]]);
    let sent = [stored((7, 0), "device", 1, &[5, 6]), stored((7, 2), "host_pinned", 1, &[5, 6])];
    assert_eq!(service.post("/events", &events(&sent)).0, 200);
    service.flush();
    (service, [engine, connector])
}

#[test]
fn a_copy_continues_like_the_original() {
    let (a, [engine, connector]) = original();
    let b = copy_of(&[&a.url("")]);
    assert_equal(&a, &b);
    assert_eq!(b.server.indexer().engines(), a.server.indexer().engines(), "the copy listens to the same engines");
    let (here, there) = (model(&a), model(&b));
    for (original, copy) in here.publishers().all().iter().zip(there.publishers().all().iter()) {
        assert_eq!(copy.state(), State::Unreachable, "{:?} has not been heard yet", original.worker());
    }
    assert!(b.post("/query", &json!({"model_name": "m", "token_ids": [1]})).1["degraded"]["7"].is_array());

    let both = [&a, &b];
    let same = |tokens: std::ops::Range<u32>, salt, expected| {
        for service in both {
            assert_eq!(depths(service, tokens.clone(), salt), expected, "{tokens:?} {salt:?}");
        }
    };
    // The chain continues under its salt, which the engine does not send again.
    let engine = tell(&both, 0, engine, &[&[chain(&[3], Some(2), 8..12, "GPU")]]);
    same(0..12, Some("tenant-a"), [12; 3]);
    same(0..12, None, [0; 3]);
    // The other cache group is still not indexed, although this event does not say its kind.
    let mut unsaid = chain(&[91], None, 900..904, "GPU");
    unsaid["group_idx"] = json!(3);
    let engine = tell(&both, 0, engine, &[&[unsaid]]);
    same(900..904, None, [0; 3]);
    // The engine has two copies of each block, and the connector has one of the first.
    let engine = tell(&both, 0, engine, &[&[removed(&[12, 11], "GPU")]]);
    same(100..108, None, [8; 3]);
    let engine = tell(&both, 0, engine, &[&[removed(&[12, 11], "GPU")]]);
    same(100..108, None, [4; 3]);
    let connector = tell(&both, 1, connector, &[&[removed(&[11], "GPU")]]);
    same(100..108, None, [0; 3]);
    // Tiers are kept apart.
    let engine = tell(&both, 0, engine, &[&[chain(&[22], Some(21), 204..208, "GPU")]]);
    same(200..208, None, [0, 8, 8]);
    let engine = tell(&both, 0, engine, &[&[removed(&[21], "CPU_PINNED")]]);
    same(200..208, None, [0; 3]);
    same(300..304, None, [0, 0, 4]);
    // One publisher clears its blocks, which ends the doubt.
    tell(&both, 0, engine, &[&[cleared()]]);
    same(0..12, Some("tenant-a"), [0; 3]);
    same(300..304, None, [0, 0, 4]);
    tell(&both, 1, connector, &[&[cleared()]]);
    same(300..304, None, [0; 3]);
    assert_equal(&a, &b);

    for instance in [1, 7] {
        assert_eq!(b.post("/unregister", &json!({"instance_id": instance, "model_name": "m"})).0, 200);
    }
    assert!(b.server.indexer().models().all().is_empty() && b.get("/workers").1 == json!([]), "nothing is left");
    assert_eq!(b.get("/dump"), (200, json!({})));
    for service in [a, b] {
        service.server.stop();
    }
}

#[test]
fn a_streamed_snapshot_can_be_restored_like_a_file() {
    let (service, _) = original();
    let answer = service.agent.get(service.url("/v1/snapshot")).call().expect("it answers");
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let bytes = answer.into_body().read_to_vec().expect("it is complete");
    let scratch = Scratch::new("stream");
    let (models, engines) =
        restore(&scratch.file_path("state", bytes), Models::new(Index::builder(), 9)).expect("intact");
    assert_eq!((models.all().len(), engines), (1, service.server.indexer().engines()));
    assert_eq!(models.all()[0].publishers().all().len(), 4);

    // A stream that cannot be completed is broken off.
    model(&service).index().shutdown().expect("it ran");
    let answer = service.agent.get(service.url("/v1/snapshot")).call();
    answer.and_then(|answer| answer.into_body().read_to_vec()).expect_err("it is incomplete");
    service.server.stop();
}

#[test]
fn a_copied_publisher_that_is_never_heard_is_gone_after_the_grace_period() {
    let (a, _) = original();
    let b = Service::start(Config { peers: vec![a.url("")], grace_seconds: 1, ..config() });
    let ask = json!({"model_name": "m", "block_hashes": [5, 6]});
    let (_, answer) = b.post("/query_by_hash", &ask);
    assert_eq!(answer["scores"]["7"]["0"], 8, "{answer}");
    assert_eq!(answer["degraded"]["7"], json!([0, 2]), "{answer}");
    // One of the publishers speaks.
    let more =
        event((7, 0), "device", json!({"stored": {"parent_hash": 2, "blocks": [{"block_hash": 3, "tokens_hash": 7}]}}));
    assert_eq!(b.post("/events", &events(&[more])).0, 200);
    until("all others are gone", || {
        let publishers = model(&b).publishers().all();
        publishers
            .iter()
            .all(|publisher| (publisher.state() == State::Gone) == (publisher.worker() != Worker::new(7, 0)))
    });
    b.flush();
    let (_, answer) = b.post("/query_by_hash", &json!({"model_name": "m", "block_hashes": [5, 6, 7]}));
    assert_eq!(answer["scores"], json!({"7": {"0": 12}}), "{answer}");
    assert_eq!(answer["instances"]["7"]["cpu"], 12, "{answer}");
    assert_eq!(answer["exactness"]["7"]["0"]["reasons"], json!(["restored"]), "what it stored meanwhile is unknown");
    let held = model(&b).index().status().workers;
    assert_eq!(held.iter().map(|worker| worker.held_blocks).sum::<u64>(), 3, "{held:?}");
    for service in [a, b] {
        service.server.stop();
    }
}

#[test]
fn a_bad_copy_leaves_nothing_and_the_next_peer_is_asked() {
    let (a, _) = original();
    let answer = a.agent.get(a.url("/v1/snapshot")).call().expect("it answers");
    let whole = answer.into_body().read_to_vec().expect("it is complete");
    let half = whole[..whole.len() / 2].to_vec();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    let snapshot = |length, body| stub(vec![("/v1/snapshot", ok(length), body)]);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n".to_owned();
    let first_chunk = [format!("{:x}\r\n", half.len()).as_bytes(), &half, b"\r\n"].concat();
    let failing = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n".to_owned();
    // The first model of each dump is fine, and the second is not. In turn: a parent is missing, a block is its own
    // ancestor or parent, a hash has two meanings on one tier or on two, a rank is too high, a model is there twice,
    // and the text ends early.
    let fine = json!({"block_size": 4, "events": [stored((3, 0), "device", 1, &[1, 2])]});
    let below = |parent: u64, hash: u64, local: u64, tier: &str| {
        let block = json!({"block_hash": hash, "tokens_hash": local});
        event((3, 0), tier, json!({"stored": {"parent_hash": parent, "blocks": [block]}}))
    };
    let first = stored((3, 0), "device", 1, &[1, 2]);
    let dump = |sent: &[Value]| dumping(&json!({"fine:g": fine, "m:default": {"block_size": 4, "events": sent}}));
    let early = json!({"fine:g": fine}).to_string().into_bytes();
    let early = early[..early.len() - 1].to_vec();
    let bad = [
        snapshot(half.len(), half.clone()),
        snapshot(whole.len(), half.clone()),
        snapshot(whole.len(), altered),
        stub(vec![("/v1/snapshot", chunked, first_chunk)]),
        stub(vec![("/v1/snapshot", failing, Vec::new())]),
        stub(Vec::new()),
        dump(&[first.clone(), below(9, 3, 3, "host_pinned")]),
        dump(&[below(5, 6, 1, "device"), below(6, 5, 1, "host_pinned")]),
        dump(&[below(5, 5, 1, "device")]),
        dump(&[first.clone(), below(1, 2, 3, "device")]),
        dump(&[first.clone(), below(1, 2, 3, "disk")]),
        dump(&[stored((3, 1 << 28), "device", 1, &[1])]),
        dumping(&json!({"m:default": fine, "m:default:default": fine})),
        stub(vec![("/dump", ok(early.len()), early)]),
    ];
    let all: Vec<&str> = bad.iter().map(String::as_str).collect();
    for peer in &all {
        let cold = copy_of(&[peer]);
        assert!(cold.server.indexer().models().all().is_empty(), "nothing is left of {peer}");
        assert!(cold.server.indexer().engines().is_empty());
        cold.server.stop();
    }
    let b = copy_of(&[&all[..], &[&a.url("/")]].concat());
    assert_eq!((b.server.indexer().models().all().len(), model(&b).publishers().all().len()), (1, 4));
    assert_eq!(depths(&b, 100..108, None), [8; 3]);
    for service in [a, b] {
        service.server.stop();
    }
}

/// A block in a random forest of blocks.
struct Node {
    path: Vec<u64>,
    parent: Option<u64>,
    hash: u64,
    /// Whether it is held, by tier.
    held: [bool; 3],
    /// Whether it is stored and removed again, by tier.
    gone: [bool; 3],
}

const TIERS: [&str; 3] = ["device", "host_pinned", "disk"];

/// Draws a forest of blocks on random tiers, some of them twice under two hashes.
fn forest(random: &mut Rng) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..random.usize(1..25) {
        let above = (random.u8(..10) > 0 && at > 0).then(|| &nodes[random.usize(at.saturating_sub(3)..at)]);
        let mut path = above.map_or_else(Vec::new, |node| node.path.clone());
        path.push(random.u64(..2));
        let parent = above.map(|node| node.hash);
        let held = std::array::from_fn(|_| random.u8(..3) == 0);
        let gone = std::array::from_fn(|tier| !held[tier] && random.u8(..6) == 0);
        nodes.push(Node { path, parent, hash: random.u64(..), held, gone });
    }
    nodes
}

/// Returns the events of a dump of another implementation: all stores in any order, and then the removals.
fn dumped(random: &mut Rng, worker: (u64, u32), nodes: &[Node]) -> Vec<Value> {
    let mut sent = Vec::new();
    for node in nodes {
        let places = (0..3).filter(|&tier| node.held[tier] || node.gone[tier]).map(|tier| TIERS[tier]);
        let places: Vec<_> = places.collect();
        // A block that is on no tier is in shared storage.
        let shared = places.is_empty().then_some("external");
        let block = json!({"block_hash": node.hash, "tokens_hash": node.path.last()});
        let data = json!({"stored": {"parent_hash": node.parent, "blocks": [block]}});
        sent.extend(places.into_iter().chain(shared).map(|tier| event(worker, tier, data.clone())));
    }
    random.shuffle(&mut sent);
    for (tier, name) in TIERS.into_iter().enumerate() {
        let gone: Vec<_> = nodes.iter().filter(|node| node.gone[tier]).map(|node| node.hash).collect();
        sent.push(event(worker, name, json!({"removed": {"block_hashes": gone}})));
    }
    sent
}

/// Counts literally how many leading blocks of the query lie on this tier or a faster one.
fn literal(nodes: &[Node], tier: usize, query: &[u64]) -> u32 {
    let there = |end: usize| nodes.iter().any(|node| node.path == query[..end] && node.held[..=tier].contains(&true));
    (1..=query.len()).take_while(|&end| there(end)).count() as u32
}

#[test]
fn a_dump_of_another_implementation_is_accepted_in_any_order() {
    for seed in 0..40 {
        let mut random = Rng::with_seed(seed);
        let workers: Vec<(u64, u32)> = vec![(1, 0), (1, 3), (2, 0)];
        let forests: BTreeMap<_, _> = workers.iter().map(|&worker| (worker, forest(&mut random))).collect();
        let sent: Vec<_> = forests.iter().flat_map(|(&worker, nodes)| dumped(&mut random, worker, nodes)).collect();
        let copy = copy_of(&[&dumping(&json!({"m:default": {"block_size": 4, "events": sent}}))]);
        let model = model(&copy);
        let queries: BTreeSet<Vec<u64>> = forests.values().flatten().map(|node| node.path.clone()).collect();
        let mut matches = Matches::new();
        for query in &queries {
            model.index().find(query, &mut matches);
            for (&(id, rank), nodes) in &forests {
                let worker = Worker::new(id, rank);
                let mut depth = 0;
                for (at, tier) in Tier::ALL.into_iter().enumerate() {
                    // A tier that was never used has no worker of its own, and is as deep as the next faster one.
                    depth = depth.max(matches.depth(tier.worker(worker)));
                    assert_eq!(depth, literal(nodes, at, query), "seed {seed}, worker {worker}, {tier:?}, {query:?}");
                }
            }
        }
        for publisher in &model.publishers().all() {
            assert_eq!((publisher.state(), publisher.source()), (State::Unreachable, "http"));
            assert!(publisher.doubts().iter().any(|doubt| doubt.name() == "copied"), "seed {seed}");
        }
        // Blocks from the dump can be removed, first on one tier, and then all of them.
        let (&(id, dp_rank), nodes) = forests.iter().next().expect("three of them");
        let take = |tier: usize| {
            let hashes: Vec<_> = nodes.iter().filter(|node| node.held[tier]).map(|node| node.hash).collect();
            event((id, dp_rank), TIERS[tier], json!({"removed": {"block_hashes": hashes}}))
        };
        assert_eq!(copy.post("/events", &events(&[take(0)])).0, 200);
        let lower: Vec<_> = nodes.iter().filter(|node| node.held[1] || node.held[2]).collect();
        for node in lower {
            let below =
                |node: &Node| Node { path: node.path.clone(), held: [false, node.held[1], node.held[2]], ..*node };
            let rest: Vec<_> = nodes.iter().map(below).collect();
            model.index().find(&node.path, &mut matches);
            let depth = Tier::ALL.map(|tier| matches.depth(tier.worker(Worker::new(id, dp_rank)))).into_iter().max();
            assert_eq!(depth, Some(literal(&rest, 2, &node.path)), "seed {seed}");
        }
        assert_eq!(copy.post("/events", &events(&[event((id, dp_rank), "device", json!("cleared"))])).0, 200);
        let held = model.index().status().workers;
        let of_rank = held.iter().filter(|worker| Tier::split(worker.worker).0 == Worker::new(id, dp_rank));
        assert_eq!(of_rank.map(|worker| worker.held_blocks).sum::<u64>(), 0, "seed {seed}");
        copy.server.stop();
    }
}

#[test]
fn a_peer_that_has_no_time_is_asked_again() {
    let dump = json!({"m:default": {"block_size": 4, "events": [stored((1, 0), "device", 1, &[1, 2])]}}).to_string();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let peer = thread::spawn(move || {
        let busy = "503 Service Unavailable\r\nretry-after: 0";
        for (head, body) in [(busy, ""), ("404 Not Found", ""), (busy, ""), ("200 OK", dump.as_str())] {
            let (stream, _) = listener.accept().expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while stream.read_line(&mut request).is_ok_and(|read| read > 2) {}
            let answer =
                format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.get_mut().write_all(answer.as_bytes()).expect("it reads");
        }
    });
    let copy = Service::start(Config { peers: vec![url], ..config() });
    peer.join().expect("no panic");
    assert!(copy.server.indexer().models().get("m", "default", "").is_some(), "it was copied");
    copy.server.stop();
}

/// A listener follows a worker that was also copied from a dump. What the listener receives stays, and what came from
/// the dump goes after the grace period.
#[test]
fn a_registered_engine_replaces_its_blocks_from_a_dump() {
    let dump = json!({"m:default": {"block_size": 4, "events": [stored((1, 0), "device", 1, &[1, 2])]}});
    let copy = Service::start(Config { peers: vec![dumping(&dump)], grace_seconds: 1, ..config() });
    let engine = json!({"instance_id": 1, "endpoint": format!("tcp://127.0.0.1:{}", free_ports(1)), "model_name": "m",
        "block_size": 4});
    assert_eq!(copy.post("/register", &engine).0, 201);
    tell(&[&copy], 1, 0, &[&[chain(&[11], None, 100..104, "GPU")]]);
    until("the blocks of the dump are gone", || model(&copy).publishers().of(Worker::new(1, 0)).len() == 1);
    copy.flush();
    let query = json!({"model_name": "m", "block_hashes": [1, 2]});
    assert_eq!(copy.post("/query_by_hash", &query).1["scores"], json!({}));
    assert_eq!(depths(&copy, 100..104, None), [4; 3]);
    assert_eq!(model(&copy).publishers().all()[0].source(), "zmq");
    copy.server.stop();
}

/// A dump lists models of which no engine is ever heard, and one without any engine.
#[test]
fn a_model_of_a_dump_ends_when_none_of_its_engines_speaks() {
    let dump = json!({
        "m:default": {"block_size": 4, "events": [stored((1, 0), "device", 1, &[1, 2])]},
        "n:default": {"block_size": 4, "events": []},
    });
    let copy = Service::start(Config { peers: vec![dumping(&dump)], grace_seconds: 1, ..config() });
    until("the models are gone", || copy.server.indexer().models().all().is_empty());
    let ask = json!({"model_name": "m", "block_hashes": [1, 2]});
    assert_eq!(copy.post("/query_by_hash", &ask).1["instances"], json!({}));
    assert_eq!(copy.post("/events", &events(&[stored((1, 0), "device", 1, &[1, 2])])).0, 200);
    assert_eq!(copy.post("/query_by_hash", &ask).1["scores"], json!({"1": {"0": 8}}), "it may come back");
    copy.server.stop();
}

#[test]
fn a_peer_with_more_workers_or_longer_names_than_allowed_is_refused() {
    let many: Vec<_> = (0..4).map(|id| stored((id, 0), "device", 1, &[1])).collect();
    let long = format!("{}:default", "x".repeat(257));
    for dump in [
        json!({"m:default": {"block_size": 4, "events": many}}),
        json!({long: {"block_size": 4, "events": [many[0]]}}),
        json!({"a\nb:default": {"block_size": 4, "events": [many[0]]}}),
        json!({":default": {"block_size": 4, "events": [many[0]]}}),
    ] {
        let cold = Service::start(Config { peers: vec![dumping(&dump)], max_workers: 3, ..config() });
        assert!(cold.server.indexer().models().all().is_empty(), "{dump}");
        cold.server.stop();
    }
}

#[test]
fn a_copy_asks_engines_only_for_batches_that_it_lacks() {
    let ports = free_ports(2);
    let scratch = Scratch::new("since");
    let [endpoint, replay] = [ports, ports + 1].map(|port| format!("tcp://127.0.0.1:{port}"));
    let options = Options {
        endpoint: endpoint.clone(),
        replay: Some(replay.clone()),
        drop: 0.1,
        rate: 50.0,
        blocks: 300,
        buffer_steps: 1 << 20,
        seed: 5,
        state: Some(scratch.path("engine").into()),
        ..Options::default()
    };
    let mock = MockPublisher::start(options).expect("the ports are free");
    let a = Service::start(config());
    let engine = json!({"instance_id": 1, "endpoint": endpoint, "replay_endpoint": replay, "model_name": "mock",
        "block_size": 16});
    assert_eq!(a.post("/register", &engine).0, 201);
    let publisher_of = |service: &Service| {
        let model = service.server.indexer().models().get("mock", "default", "").expect("it is there");
        let publisher = model.publishers().get(Worker::new(1, 0)).expect("it is registered");
        (model, publisher)
    };
    until("50 batches are known", || publisher_of(&a).1.last_sequence() > Some(50));
    let b = copy_of(&[&a.url("")]);
    until("100 batches are known to the copy", || publisher_of(&b).1.last_sequence() > Some(100));
    mock.pause().expect("a scratch file");
    let sent = mock.published().batches;
    let state = fs::read(scratch.path("engine")).expect("it was written");
    let mut judge = Judge::default();
    judge.add(1, &serde_json::from_slice(&state).expect("the state of an engine"));
    for service in [&a, &b] {
        let (model, publisher) = publisher_of(service);
        until("all batches are known", || {
            publisher.last_sequence() == Some(sent - 1) && publisher.state() == State::Live
        });
        model.index().flush().expect("it runs");
        let mut matches = Matches::new();
        for query in judge.queries() {
            model.index().find(&query, &mut matches);
            assert_eq!(matches.iter().collect::<BTreeMap<_, _>>(), judge.depths(&query));
        }
        assert!(publisher.doubts().is_empty(), "{:?}", publisher.doubts());
    }
    assert_eq!(publisher_of(&a).1.count(Count::Batches), sent);
    assert!(publisher_of(&b).1.count(Count::Batches) < sent - 50, "the rest came with the copy");
    mock.stop().expect("a scratch file");
    for service in [a, b] {
        service.server.stop();
    }
}

#[test]
fn a_peer_without_an_end_is_given_up() {
    for hostile in Hostile::ALL {
        let (url, requests) = hostile.start();
        let (good, _) = original();
        let limits = Config {
            peer_silence_seconds: if matches!(hostile, Hostile::Mute) { 1 } else { 3600 },
            peer_timeout_seconds: if matches!(hostile, Hostile::Trickling) { 1 } else { 3600 },
            max_peer_snapshot_bytes: 1 << 20,
            max_peer_dump_bytes: 1 << 20,
            ..config()
        };
        let copy = Service::start(Config { peers: vec![url, good.url("")], ..limits });
        assert!(requests.try_recv().is_ok(), "{hostile:?} was asked");
        assert_eq!(copy.server.indexer().models().all().len(), 1, "{hostile:?}: the next peer was copied");
        for service in [good, copy] {
            service.server.stop();
        }
    }
}

#[test]
fn a_snapshot_that_unpacks_to_more_than_is_allowed_is_refused() {
    let scratch = Scratch::new("unpacks");
    let path = scratch.path("state");
    let mut writer = Writer::create(path.as_ref()).expect("a scratch file");
    let block = Block { sequence: 1, local: 1 };
    let event =
        Event { worker: Worker::new(1, 0), id: 1, data: EventData::Stored { parent: None, blocks: vec![block] } };
    let [model, group, tenant] = ["m", "default", ""].map(str::to_owned);
    let hashing = BlockHasher::new(4).expect("above 0").hash_block(&[]);
    writer.model(&SavedModel { model, group, tenant, block_size: 4, hashing }).expect("a scratch file");
    let resume = postcard::to_stdvec(&Resume::default()).expect("short");
    let publisher = SavedPublisher { instance: 1, dp_rank: 0, engine: String::new(), resume };
    writer.publisher(&publisher).expect("a scratch file");
    (0..100_000).try_for_each(|_| writer.event(&event)).expect("a scratch file");
    writer.finish().expect("a scratch file");
    let bytes = fs::read(&path).expect("it was written");
    assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
    let copied = |most| {
        let peer = stub(vec![("/v1/snapshot", ok(bytes.len()), bytes.clone())]);
        let copy = Service::start(Config { peers: vec![peer], max_peer_snapshot_bytes: most, ..config() });
        let models = copy.server.indexer().models().all().len();
        copy.server.stop();
        models
    };
    assert_eq!((copied(1 << 20), copied(4 << 20)), (0, 1));
}
