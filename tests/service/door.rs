//! Hostile clients and a full house: what connections, bodies and transfers may cost, and who is answered all the same.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use kvleap::service::{Config, Key, Model};
use kvleap::{Block, Event, EventData, Worker};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_rustls::rustls;

use crate::common::scratch::Scratch;
use crate::common::service::{Service, config, events, stored};
use crate::common::until::until;
use crate::safety::{send, sends, until_closed};

/// Returns a request as text.
fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n")
}

/// Sends a request on a new connection, and returns the whole answer.
fn ask(service: &Service, path: &str) -> String {
    until_closed(&send(service, &get(path, "connection: close\r\n")))
}

fn status(answer: &str) -> &str {
    answer.get(..12).unwrap_or(answer)
}

/// Waits until the other end has closed this connection, without reading from it.
fn until_dropped(mut stream: impl std::io::Write, what: &str) {
    until(what, || match stream.write(b"\r\n") {
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    });
}

/// Opens a connection, asks for more than fits into any buffer, and reads nothing.
fn deaf(service: &Service) -> TcpStream {
    let mut stream = send(service, "");
    stream.set_nonblocking(true).expect("a socket");
    let request = get("/page.js", "");
    // The service stops reading when it cannot write any more.
    while stream.write(request.as_bytes()).is_ok() {}
    stream
}

#[test]
fn clients_that_read_nothing_lock_nobody_out() {
    let service = Service::start(Config {
        max_connections: 4,
        max_connections_per_address: Some(0),
        write_timeout_seconds: 1,
        ..config()
    });
    let deaf: Vec<_> = (0..4).map(|_| deaf(&service)).collect();
    until("there is room again", || status(&ask(&service, "/peers")).ends_with("200"));
    for stream in deaf {
        until_dropped(stream, "a client that does not read is disconnected");
    }
    service.server.stop();
}

#[test]
fn encrypted_clients_that_read_nothing_are_disconnected() {
    let scratch = Scratch::new("deaf");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = scratch.file_path("cert.pem", made.cert.pem());
    let key = scratch.file_path("key.pem", made.signing_key.serialize_pem());
    let service = Service::start(Config {
        tls_certificate: Some(certificate),
        tls_key: Some(key),
        write_timeout_seconds: 1,
        ..config()
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut session =
        rustls::ClientConnection::new(Arc::new(tls), "localhost".try_into().expect("a name")).expect("TLS");
    let mut stream = send(&service, "");
    while session.is_handshaking() {
        session.complete_io(&mut stream).expect("a handshake");
    }
    // As many requests as fit.
    stream.set_nonblocking(true).expect("a socket");
    let request = get("/page.js", "");
    loop {
        session.writer().write_all(request.as_bytes()).expect("memory");
        if session.write_tls(&mut stream).is_err() {
            break;
        }
    }
    until_dropped(stream, "the client is disconnected");
    service.server.stop();
}

#[test]
fn probes_are_answered_while_all_connections_are_taken() {
    let service = Service::start(Config { max_connections: 2, max_connections_per_address: Some(0), ..config() });
    let taken: Vec<_> = (0..2).map(|_| send(&service, &get("/health", ""))).collect();
    assert!(taken.iter().all(|stream| sends(stream, "200 OK")));
    for path in ["/health", "/ready"] {
        assert_eq!(status(&ask(&service, path)), "HTTP/1.1 200", "{path}");
    }
    // A connection beyond the limit is for probes alone, and for one of them.
    let refused = until_closed(&send(&service, &get("/peers", "")));
    assert_eq!(status(&refused), "HTTP/1.1 503");
    assert!(["retry-after: ", "connection: close", "max_connections"].iter().all(|words| refused.contains(words)));
    // Those who only sit there make room for the next.
    let silent: Vec<_> = (0..100).map(|_| send(&service, "")).collect();
    assert_eq!(status(&ask(&service, "/health")), "HTTP/1.1 200");
    assert!(until_closed(&silent[0]).is_empty());
    drop(taken);
    until("others are served again", || status(&ask(&service, "/peers")).ends_with("200"));
    service.server.stop();
}

/// Connects from this address, sends a request and returns the status of the answer.
fn from(address: &str, service: &Service, path: &str) -> String {
    let here = SocketAddr::new(address.parse().expect("an address"), 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(here).expect("an address of this machine");
        socket.connect(service.server.address()).await.expect("it listens").into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("a socket");
    (&stream).write_all(get(path, "connection: close\r\n").as_bytes()).expect("it reads");
    status(&until_closed(&stream)).to_owned()
}

#[test]
fn no_address_can_take_all_connections() {
    let service = Service::start(Config { max_connections: 4, ..config() });
    let mine: Vec<_> = (0..3).map(|_| send(&service, &get("/health", ""))).collect();
    assert!(mine.iter().all(|stream| sends(stream, "200 OK")));
    let refused = ask(&service, "/peers");
    assert!(status(&refused).ends_with("503") && refused.contains("max_connections_per_address"), "{refused}");
    assert_eq!(from("127.0.0.2", &service, "/peers"), "HTTP/1.1 200");
    assert_eq!(status(&ask(&service, "/ready")), "HTTP/1.1 200");
    service.server.stop();
    // A proxy may be the only client.
    let service = Service::start(Config { max_connections: 4, max_connections_per_address: Some(0), ..config() });
    let mine: Vec<_> = (0..4).map(|_| send(&service, &get("/peers", ""))).collect();
    assert!(mine.iter().all(|stream| sends(stream, "200 OK")));
    service.server.stop();
}

/// Fills the index of a model with this many blocks for one worker.
fn fill(service: &Service, blocks: u64) -> Arc<Model> {
    let key = Key { model: "m".to_owned(), group: Key::DEFAULT_GROUP.to_owned(), tenant: String::new() };
    let model = service.server.indexer().models().get_or_add(&key, 4).expect("a model");
    let blocks: Vec<_> = (1..=blocks).map(|hash| Block { sequence: hash, local: hash }).collect();
    let mut parent = None;
    for (id, blocks) in (1..).zip(blocks.chunks(10_000)) {
        let data = EventData::Stored { parent, blocks: blocks.to_vec() };
        model.index().send(Event { worker: Worker::new(7, 0), id, data }).expect("it is open");
        parent = blocks.last().map(|block| block.sequence);
    }
    model.index().flush().expect("it is open");
    model
}

/// More blocks than fit, as a dump, into all buffers between the service and a client.
const MANY: u64 = 300_000;

#[test]
fn few_transfers_are_made_at_a_time() {
    let service = Service::start(Config { max_transfers: 2, ..config() });
    fill(&service, MANY);
    let slow = |path: &str| {
        let stream = send(&service, &get(path, "connection: close\r\n"));
        assert!(sends(&stream, "200 OK"));
        stream
    };
    let slow = [slow("/dump"), slow("/dump")];
    for path in ["/dump", "/v1/snapshot"] {
        let head = until_closed(&send(&service, &get(path, "connection: close\r\n").replace("GET", "HEAD")));
        assert!(status(&head).ends_with("200") && head.contains("content-type"), "it starts none: {head}");
        let refused = ask(&service, path);
        assert!(status(&refused).ends_with("503") && refused.contains("max_transfers"), "{path}: {refused}");
    }
    assert_eq!(service.get("/peers").0, 200);
    // A transfer that ends makes room, and what is transferred is complete.
    let [first, second] = slow;
    drop(first);
    until("there is room again", || status(&ask(&service, "/v1/snapshot")).ends_with("200"));
    assert!(until_closed(&second).len() > MANY as usize);
    let dump = service.agent.get(service.url("/dump")).call().expect("it answers").into_body();
    let dump: Value = serde_json::from_reader(dump.into_with_config().limit(u64::MAX).reader()).expect("JSON");
    let stored = dump["m:default"]["events"].as_array().expect("events").iter();
    let blocks = stored.map(|event| event["event"]["data"]["stored"]["blocks"].as_array().map_or(0, Vec::len));
    assert_eq!(blocks.sum::<usize>(), MANY as usize);
    service.server.stop();
}

#[test]
fn a_reader_who_stops_loses_the_transfer() {
    let service = Service::start(Config { max_transfers: 1, write_timeout_seconds: 1, ..config() });
    fill(&service, MANY);
    let stopped = send(&service, &get("/dump", ""));
    assert!(sends(&stopped, "200 OK"));
    until("another gets it", || status(&ask(&service, "/dump")).ends_with("200"));
    assert!(!until_closed(&stopped).ends_with("0\r\n\r\n"), "it is not complete");
    service.server.stop();
}

#[test]
fn requests_that_wait_for_writers_take_a_bounded_number_of_threads() {
    const CLIENTS: usize = 80;
    const WAITING: usize = 64;
    let service = Service::start(config());
    let model = fill(&service, 1);
    let at_rest = model.at_rest();
    let body = events(&[stored((8, 0), "device", 1, &[1])]).to_string();
    let request = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let clients: Vec<_> = (0..CLIENTS).map(|_| send(&service, &request)).collect();
    // The others are refused, and only then the rest can go on.
    let mut answers: Vec<String> = Vec::new();
    let mut waiting = clients;
    until("those beyond the bound are refused", || {
        waiting.retain(|mut stream| {
            stream.set_nonblocking(true).expect("a socket");
            let silent = stream.peek(&mut [0]).is_err();
            stream.set_nonblocking(false).expect("a socket");
            if !silent {
                answers.push(until_closed(stream));
            }
            let _ = stream.flush();
            silent
        });
        waiting.len() <= WAITING
    });
    assert!(answers.iter().all(|answer| status(answer).ends_with("503") && answer.contains("retry-after")));
    assert_eq!((waiting.len(), service.get("/ready").0, service.get("/peers").0), (WAITING, 200, 200));
    drop(at_rest);
    assert!(waiting.iter().all(|stream| status(&until_closed(stream)).ends_with("200")));
    service.server.stop();
}

#[test]
fn bodies_wait_for_memory_and_small_ones_do_not_wait() {
    const CLIENTS: usize = 16;
    // One byte: large bodies have to be received one after another.
    let service = Service::start(Config { max_bodies_bytes: 1, ..config() });
    let large = json!({"model_name": "m", "token_ids": vec![1; 200_000]}).to_string();
    let head = format!(
        "POST /query HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    let (half, rest) = large.split_at(large.len() / 2);
    let clients: Vec<_> = (0..CLIENTS).map(|_| send(&service, &format!("{head}{half}"))).collect();
    assert_eq!(service.post("/query", &json!({"model_name": "m", "token_ids": [1]})).0, 404, "it does not wait");
    let rests: Vec<_> = clients
        .into_iter()
        .map(|mut stream| {
            let rest = rest.to_owned();
            thread::spawn(move || {
                stream.write_all(rest.as_bytes()).expect("it reads");
                until_closed(&stream)
            })
        })
        .collect();
    for answer in rests {
        assert_eq!(status(&answer.join().expect("no panic")), "HTTP/1.1 404");
    }
    service.server.stop();
}

#[test]
fn a_body_that_stops_holds_up_large_ones_until_its_time_is_over() {
    let service = Service::start(Config { max_bodies_bytes: 1, body_timeout_seconds: 1, ..config() });
    let head = "POST /query HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4000000\r\n\r\n";
    let stopped = send(&service, &format!("{head}{}", " ".repeat(200_000)));
    let large = json!({"model_name": "m", "token_ids": vec![1; 200_000]});
    until("there is memory again", || match service.post("/query", &large) {
        (404, _) => true,
        (status, answer) => {
            let why = answer["error"].as_str().is_some_and(|why| why.contains("max_bodies_bytes"));
            assert!(status == 503 && why, "{status}: {answer}");
            false
        }
    });
    assert_eq!(status(&until_closed(&stopped)), "HTTP/1.1 408");
    service.server.stop();
}

#[test]
fn bodies_in_the_smallest_pieces_arrive_whole() {
    let service = Service::start(config());
    let body = json!({"model_name": "m", "token_ids": [1, 2, 3]}).to_string();
    let chunks: Vec<_> = body.chars().map(|piece| format!("1\r\n{piece}\r\n")).collect();
    let head = "POST /query HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = until_closed(&send(&service, &format!("{head}{}0\r\n\r\n", chunks.concat())));
    assert!(status(&answer).ends_with("404") && answer.contains("no model"), "{answer}");
    service.server.stop();
}

#[test]
fn an_open_service_answers_only_to_names_that_nobody_can_register() {
    let scratch = Scratch::new("names");
    let asks = |service: &Service, host: &str| {
        let host = host.replace("PORT", &service.server.address().port().to_string());
        ["/", "/page.js", "/page.css", "/health", "/ready", "/peers", "/nothing"].map(|path| {
            let request = get(path, "connection: close\r\n").replace("localhost", &host);
            until_closed(&send(service, &request))
        })
    };
    let open = Service::start(Config { allowed_hosts: vec!["kv.example.com".to_owned()], ..config() });
    for answer in asks(&open, "evil.com:PORT") {
        assert!(status(&answer).ends_with("403") && answer.contains("allowed_hosts"), "{answer}");
    }
    let is_answered = |answer: &String| ["200", "404"].iter().any(|code| status(answer).ends_with(code));
    for host in ["127.0.0.1:PORT", "[::1]:PORT", "localhost:PORT", "kvleap.prod.svc.cluster.local", "kv.example.com"] {
        assert!(asks(&open, host).iter().all(is_answered), "{host}");
    }
    let in_line = "GET http://evil.com/peers HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(status(&until_closed(&send(&open, in_line))).ends_with("403"));
    open.server.stop();
    let closed =
        Service::start(Config { read_token_file: Some(scratch.file_path("read", "a-token-for-reading")), ..config() });
    let [page, .., peers, _] = asks(&closed, "public.example.com");
    assert!(status(&page).ends_with("200") && status(&peers).ends_with("401"), "a token is what counts");
    closed.server.stop();
}

#[cfg(feature = "cli")]
#[test]
fn probes_are_answered_while_the_state_is_restored() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = format!("http://{}", mute.local_addr().expect("an address"));
    let port = crate::common::engine::free_ports(1);
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    let starting = thread::spawn(move || Service::start(Config { listen, peers: vec![peer], ..config() }));
    let ask = |path: &str| {
        let Ok(mut stream) = TcpStream::connect(listen) else { return String::new() };
        stream.write_all(get(path, "").as_bytes()).expect("it reads");
        until_closed(&stream)
    };
    until("it listens", || status(&ask("/health")).ends_with("503"));
    let (asking, _) = mute.accept().expect("the service asks its peer");
    let not_ready = ask("/ready");
    assert!(status(&not_ready).ends_with("503") && not_ready.contains("restored"), "{not_ready}");
    assert!(status(&ask("/peers")).ends_with("503"));
    assert!(!starting.is_finished());
    drop((mute, asking));
    let service = starting.join().expect("it starts cold");
    assert_eq!(service.get("/ready"), (200, json!({"status": "ok"})));
    assert_eq!(service.get("/health"), (200, Value::Null));
    service.server.stop();
}

/// An index whose writers have ended goes on answering from its last snapshot. Nobody may take that for exact.
#[test]
fn answers_from_an_index_that_follows_nobody_are_doubted() {
    let service = Service::start(config());
    assert_eq!(service.post("/events", &events(&[stored((7, 0), "device", 1, &[5, 6])])).0, 200);
    let query = json!({"model_name": "m", "block_hashes": [5, 6]});
    assert!(service.post("/query_by_hash", &query).1["exactness"].is_null());
    service.server.indexer().models().all()[0].index().shutdown().expect("its writer runs");
    let (_, answer) = service.post("/query_by_hash", &query);
    assert_eq!(answer["scores"]["7"]["0"], 8, "it still answers");
    let reliance = json!({"exactness": "unknown", "reasons": ["service_failed"]});
    assert_eq!(answer["exactness"], json!({"7": {"0": reliance}}));
    let (status, ready) = service.get("/ready");
    assert!(status == 503 && ready["error"].as_str().is_some_and(|why| why.contains("writer")), "{ready}");
    service.server.stop();
}
