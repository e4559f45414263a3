//! Stubs of the instances that a service may copy at its start.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

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

/// How a peer means ill.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hostile {
    /// It answers nothing.
    Mute,
    /// It sends a byte at a time, and never the last one.
    Trickling,
    /// It sends without an end.
    Endless,
    /// It has no snapshot, and a dump without an end.
    EndlessDump,
}

impl Hostile {
    pub(crate) const ALL: [Self; 4] = [Self::Mute, Self::Trickling, Self::Endless, Self::EndlessDump];

    /// Starts the peer. Returns its address, and who is told of each request that it got.
    pub(crate) fn start(self) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, requests) = channel();
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.expect("a connection"));
                let mut request = String::new();
                stream.read_line(&mut request).expect("a request");
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {}
                // The test may be over.
                let _ = asked.send(request.clone());
                let mut stream = stream.into_inner();
                match self {
                    Self::Mute => open.push(stream),
                    _ => drop(thread::spawn(move || self.answer(&request, &mut stream))),
                }
            }
        });
        (url, requests)
    }

    /// Answers until the client has hung up.
    fn answer(self, request: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        if matches!(self, Self::EndlessDump) && !request.contains("/dump") {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
        if matches!(self, Self::EndlessDump) {
            stream.write_all(br#"{"m:default": {"block_size": 4, "events": ["#)?;
        }
        loop {
            match self {
                Self::Trickling => {
                    stream.write_all(b"k")?;
                    thread::sleep(Duration::from_millis(20));
                }
                Self::EndlessDump => stream.write_all(&[b' '; 1 << 13])?,
                Self::Mute | Self::Endless => stream.write_all(&[7; 1 << 13])?,
            }
        }
    }
}
