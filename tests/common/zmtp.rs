//! A `ZeroMQ` publisher written byte by byte (ZMTP 3.0, mechanism NULL), so that a test decides when it accepts a
//! subscription, what it sends, and when it hangs up.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

/// A publisher that waits for its subscriber.
pub(crate) struct Publisher(TcpListener);

/// A subscriber that has subscribed. Dropping it closes the connection.
pub(crate) struct Subscriber(TcpStream);

impl Publisher {
    pub(crate) fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://{}", self.0.local_addr().expect("bound"))
    }

    /// Waits for the next subscriber to subscribe, and returns it. Subscribers that hang up before are skipped.
    pub(crate) fn subscriber(&self) -> Subscriber {
        loop {
            let (stream, _) = self.0.accept().expect("a connection");
            if let Ok(subscriber) = subscribed(stream) {
                return subscriber;
            }
        }
    }
}

impl Subscriber {
    /// Sends a batch under a number.
    pub(crate) fn send(&mut self, sequence: u64, payload: &[u8]) {
        self.message(&[b"", &sequence.to_be_bytes(), payload]);
    }

    pub(crate) fn message(&mut self, frames: &[&[u8]]) {
        let last = frames.len() - 1;
        for (place, frame) in frames.iter().enumerate() {
            let more = u8::from(place < last);
            let head = [&[more | 2][..], &(frame.len() as u64).to_be_bytes()].concat();
            self.0.write_all(&[&head, *frame].concat()).expect("a subscriber that listens");
        }
    }
}

/// Performs the handshake, and waits for the subscription.
fn subscribed(mut stream: TcpStream) -> io::Result<Subscriber> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting)?;
    stream.read_exact(&mut greeting)?;
    let ready = b"\x05READY\x0bSocket-Type\0\0\0\x03PUB";
    stream.write_all(&[&[4, ready.len() as u8], &ready[..]].concat())?;
    // The subscriber sends its own READY and then its subscription, both of them short frames.
    for _ in 0..2 {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        stream.read_exact(&mut vec![0; head[1].into()])?;
    }
    Ok(Subscriber(stream))
}
