//! What the service refuses and what it survives: missing tokens, limits, slow and broken clients, TLS, bad settings.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use kvleap::service::{Config, Server};
use serde_json::{Value, json};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::common::scratch::Scratch;
use crate::common::service::{Service, config};

const READ: &str = "a-token-for-reading";
const ADMIN: &str = "a-token-for-everything";

/// Returns everything that the server sends before it closes the connection.
pub(crate) fn until_closed(mut stream: &TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    let mut text = Vec::new();
    // A reset closes the connection, too.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Opens a connection and sends this text.
pub(crate) fn send(service: &Service, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(service.server.address()).expect("it listens");
    stream.write_all(text.as_bytes()).expect("it reads");
    stream
}

#[test]
fn every_route_asks_for_its_token() {
    let scratch = Scratch::new("tokens");
    let file = |name, token: &str| Some(scratch.file_path(name, token));
    let read_token_file = file("read", READ);
    let mut service = Service::start(Config { read_token_file, admin_token_file: file("admin", ADMIN), ..config() });
    let reading = ["/peers", "/metrics", "/workers"];
    let asking = ["/query", "/query_by_hash"];
    let administration = ["/register", "/unregister", "/register_peer", "/deregister_peer"];
    for (token, may_read, may_administer) in
        [(None, false, false), (Some(READ), true, false), (Some(ADMIN), true, true)]
    {
        service.token = token;
        let get = |path: &str| {
            let request = service.agent.get(service.url(path));
            let request = match token {
                Some(token) => request.header("authorization", format!("Bearer {token}")),
                None => request,
            };
            request.call().expect("it answers").status().as_u16()
        };
        let reads: Vec<_> = reading.iter().map(|path| get(path)).collect();
        let asks: Vec<_> = asking.iter().map(|path| service.post(path, &json!({})).0).collect();
        let administers: Vec<_> = administration.iter().map(|path| service.post(path, &json!({})).0).collect();
        // With a token, the empty request gets past the check and is refused for its content.
        assert!(reads.iter().all(|&status| status == if may_read { 200 } else { 401 }), "{token:?}: {reads:?}");
        assert!(asks.iter().all(|&status| status == if may_read { 400 } else { 401 }), "{token:?}: {asks:?}");
        assert!(
            administers.iter().all(|&status| status == if may_administer { 400 } else { 401 }),
            "{token:?}: {administers:?}"
        );
        assert_eq!(service.post("/events", &json!({})).0, if may_administer { 400 } else { 401 }, "{token:?}");
        for path in ["/dump", "/v1/snapshot"] {
            assert_eq!(get(path), if may_administer { 200 } else { 401 }, "{path}");
        }
        assert_eq!(get("/health"), 200, "{token:?}");
    }
    service.token = None;
    let (status, answer) = service.get("/peers");
    assert_eq!((status, &answer["error"]), (401, &json!("a bearer token for read is needed")));
    service.server.stop();
}

#[test]
fn bodies_and_heads_are_bounded() {
    let service = Service::start(Config { max_body_bytes: 1000, max_header_bytes: 8192, ..config() });
    let long = json!({"model_name": "m".repeat(2000)});
    let (status, answer) = service.post("/query", &long);
    assert_eq!((status, &answer["error"]), (413, &json!("the body is larger than 1000 bytes")));
    // A chunked body declares no length, and then is too long.
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let chunked =
        send(&service, &format!("POST /query HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"));
    assert!(sends(&chunked, "larger than 1000 bytes"));
    let head = send(&service, &format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000)));
    assert!(until_closed(&head).starts_with("HTTP/1.1 431"));
    assert_eq!(service.get("/health").0, 200);
    service.server.stop();
}

/// Reads until the server has sent these words, and returns whether it did before it closed the connection.
pub(crate) fn sends(mut stream: &TcpStream, words: &str) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    let mut text = String::new();
    let mut bytes = [0; 1024];
    while !text.contains(words) {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return false,
            Ok(n) => text.push_str(&String::from_utf8_lossy(&bytes[..n])),
        }
    }
    true
}

#[test]
fn pages_of_other_origins_need_a_token() {
    let scratch = Scratch::new("pages");
    let status = |service: &Service, origin: &str| {
        let ask = service.agent.get(service.url("/peers")).header("origin", origin);
        let ask = match service.token {
            Some(token) => ask.header("authorization", format!("Bearer {token}")),
            None => ask,
        };
        ask.call().expect("it answers").status().as_u16()
    };
    let open = Service::start(config());
    assert_eq!(status(&open, &open.url("")), 200, "the live page itself");
    assert!(["http://evil.example", "null", ""].iter().all(|origin| status(&open, origin) == 403));
    open.server.stop();
    let read_token_file = Some(scratch.file_path("read", READ));
    let mut closed = Service::start(Config { read_token_file, ..config() });
    closed.token = Some(READ);
    assert_eq!(status(&closed, "http://proxy.example"), 200, "a client with the token is trusted");
    closed.server.stop();
}

#[test]
fn slow_clients_are_disconnected() {
    let service = Service::start(Config { header_timeout_seconds: 1, body_timeout_seconds: 1, ..config() });
    let silent = send(&service, "");
    let half_a_head = send(&service, "POST /query HTTP/1.1\r\nhost: x\r\n");
    let half_a_body = send(&service, "POST /query HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    let idle = send(&service, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(until_closed(&silent), "");
    assert!(!until_closed(&half_a_head).contains("200"));
    assert!(until_closed(&half_a_body).starts_with("HTTP/1.1 408"));
    assert!(until_closed(&idle).starts_with("HTTP/1.1 200"), "it is answered first and disconnected later");
    service.server.stop();
}

#[test]
fn bytes_that_are_not_http_or_not_json_are_refused() {
    let service = Service::start(config());
    for bytes in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "POST /query HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n"] {
        assert!(until_closed(&send(&service, bytes)).starts_with("HTTP/1.1 400"), "{bytes:?}");
    }
    let routes =
        ["/query", "/query_by_hash", "/events", "/register", "/unregister", "/register_peer", "/deregister_peer"];
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\u{0}",
        "{\"model_name\": 7}",
        "{\"model_name\": \"m\", \"token_ids\": [-1]}",
        "{\"model_name\": \"m\", \"block_hashes\": [1.5]}",
        "{\"model_name\": \"m\", \"block_hashes\": [18446744073709551616]}",
        "{\"url\": \"ftp://x\"}",
        "{\"url\": \"\"}",
    ];
    for path in routes {
        for body in bodies.iter().map(|body| body.as_bytes()).chain([&b"\xff\xfe"[..], "[".repeat(100_000).as_bytes()])
        {
            let (status, answer) = service.send(path, "application/json", body);
            // No peer was ever registered.
            let refused = status == 400 || (path == "/deregister_peer" && status == 404);
            assert!(refused && answer["error"].is_string(), "{path} {body:?}: {status} {answer}");
        }
    }
    assert_eq!(service.get("/nothing"), (404, json!({"error": "no such route"})));
    assert_eq!(service.get("/query").0, 405);
    assert_eq!(service.get("/health"), (200, Value::Null));
    service.server.stop();
}

#[test]
fn requests_in_progress_finish_before_the_service_stops() {
    let service = Service::start(config());
    let mut half = send(&service, "POST /query HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{");
    // A later request is answered, so the service has read what there is of the first.
    assert_eq!(service.get("/health").0, 200);
    let Service { server, agent, .. } = service;
    drop(agent);
    let stopping = std::thread::spawn(move || server.stop());
    half.write_all(b"}").expect("it still reads");
    assert!(until_closed(&half).starts_with("HTTP/1.1 400"), "the request is answered");
    assert!(stopping.join().expect("no panic").is_complete(), "all requests have finished");
}

#[test]
fn requests_that_do_not_finish_are_dropped_at_the_deadline() {
    let service = Service::start(Config { shutdown_seconds: 0, ..config() });
    let half = send(&service, "POST /query HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{");
    assert_eq!(service.get("/health").0, 200);
    assert!(service.server.stop().unfinished_requests);
    assert_eq!(until_closed(&half), "");
}

#[test]
fn with_a_certificate_only_encrypted_connections_are_served() {
    let scratch = Scratch::new("tls");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = scratch.file_path("cert.pem", made.cert.pem());
    let key = scratch.file_path("key.pem", made.signing_key.serialize_pem());
    let encrypted = Config { tls_certificate: Some(certificate), tls_key: Some(key), ..config() };
    let mut service = Service::start(encrypted);
    let root = Certificate::from_der(made.cert.der()).to_owned();
    let tls = TlsConfig::builder().root_certs(RootCerts::Specific(Arc::new(vec![root]))).build();
    service.agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
    let at = format!("https://localhost:{}/health", service.server.address().port());
    assert_eq!(service.agent.get(at).call().expect("encrypted").status(), 200);
    let plain = send(&service, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(!until_closed(&plain).contains("200"));
    service.server.stop();
}

/// Returns the reason why a service with these settings does not start.
fn refused(config: Config) -> String {
    Server::start(config).expect_err("refused").to_string()
}

#[test]
fn senseless_settings_are_refused_with_their_reason() {
    let scratch = Scratch::new("settings");
    let listen = "0.0.0.0:0".parse().expect("an address");
    assert!(refused(Config { listen, ..config() }).contains("nobody would need a token"));
    let open = Service::start(Config { listen, allow_anonymous: true, ..config() });
    assert!(
        refused(Config { listen: open.server.address(), allow_anonymous: true, ..config() })
            .contains("cannot listen on")
    );
    open.server.stop();
    let with_token = scratch.file_path("token", ADMIN);
    Service::start(Config { listen, admin_token_file: Some(with_token), ..config() }).server.stop();
    assert!(refused(Config { tls_key: Some("x".into()), ..config() }).contains("belong together"));
    let nowhere = Some(scratch.path("nowhere").into());
    assert!(
        refused(Config { tls_key: nowhere.clone(), tls_certificate: nowhere.clone(), ..config() }).contains("read")
    );
    assert!(refused(Config { read_token_file: nowhere, ..config() }).contains("nowhere"));
    let short = Some(scratch.file_path("short", "abc"));
    assert!(refused(Config { read_token_file: short, ..config() }).contains("less than 16 characters"));
    assert!(refused(Config { max_connections: 0, ..config() }).contains("max_connections is 0"));
    assert!(refused(Config { max_header_bytes: 100, ..config() }).contains("at least 8192"));
    assert!(refused(Config { shards: 0, ..config() }).contains("shards is 0"));
    assert!(refused(Config { peers: vec!["other:8090".into()], ..config() }).contains("other:8090"));
}

#[test]
fn other_settings_override_those_of_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nthreads = 3\npeers = [\"http://a:1\"]\n";
    let loaded = Config::load(file, &json!({"threads": 5})).expect("good");
    assert_eq!((loaded.listen.port(), loaded.threads, loaded.peers.len()), (1, 5, 1));
    assert_eq!(Config::load("", &json!({})).expect("good"), Config::default());
    let unknown = Config::load("threads = 3\nthread = 3\n", &json!({})).expect_err("an unknown name").to_string();
    assert!(unknown.contains("line 2") && unknown.contains("thread"), "{unknown}");
    let engine = "[[engines]]\ninstance_id = 1\nendpoint = \"tcp://x:1\"\nmodel_name = \"m\"\nblock_size = 4\n";
    assert_eq!(Config::load(engine, &json!({})).expect("good").engines.len(), 1);
    let unknown = format!("{engine}replay_endpont = \"tcp://x:2\"\n");
    let unknown = Config::load(&unknown, &json!({})).expect_err("an unknown field").to_string();
    assert!(unknown.contains("line 6") && unknown.contains("`replay_endpont`"), "{unknown}");
    assert!(unknown.contains("`replay_endpoint`"), "{unknown}");
    let mistyped = Config::load("threads = \"3\"", &json!({})).expect_err("not a number").to_string();
    assert!(mistyped.contains("line 1"), "{mistyped}");
}
