//! Stubs of the instances that a service may copy at its start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;

/// Starts a server that gives these answers, each a path, a head and a body. Returns its address.
pub(crate) fn stub(answers: Vec<(&'static str, String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut request = String::new();
            while stream.read_line(&mut request).is_ok_and(|read| read > 2) {}
            let answer = answers.iter().find(|(path, ..)| request.starts_with(&format!("GET {path} ")));
            let (head, body) =
                answer.map_or(("HTTP/1.1 404 Not Found\r\n", &[][..]), |(_, head, body)| (head.as_str(), body));
            // The client may have hung up.
            let _ = stream.get_mut().write_all(&[head.as_bytes(), b"connection: close\r\n\r\n", body].concat());
        }
    });
    url
}

pub(crate) fn ok(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n")
}

/// Starts a peer of another implementation, which serves this dump.
pub(crate) fn dumping(dump: &Value) -> String {
    let body = dump.to_string().into_bytes();
    stub(vec![("/dump", ok(body.len()), body)])
}
