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

    /// Answers requests for replays, one after another, until this process ends. An answer that fails is broken off.
    pub(crate) fn answer(&self, answer: impl Fn(&mut Subscriber) -> io::Result<()>) {
        for mut stream in self.0.incoming().map_while(Result::ok) {
            let asked = greet(&mut stream, "ROUTER").and_then(|()| {
                // READY, an empty frame, and the number that is asked for.
                (0..3).try_for_each(|_| frame(&mut stream).map(drop))
            });
            if asked.is_ok() {
                let _ = answer(&mut Subscriber(stream));
            }
        }
    }

    /// Shakes hands as a socket of this kind, with whoever connects, until this process ends.
    pub(crate) fn refuse_as(&self, kind: &str) {
        for mut stream in self.0.incoming().map_while(Result::ok) {
            let _ = greet(&mut stream, kind).and_then(|()| stream.read_to_end(&mut Vec::new()));
        }
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
        self.try_message(frames).expect("a subscriber that listens");
    }

    pub(crate) fn try_message(&mut self, frames: &[&[u8]]) -> io::Result<()> {
        self.0.write_all(&encoded(frames))
    }

    /// Sends these bytes as they are. The other end may close the connection meanwhile.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn try_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads until the other end closes the connection.
    pub(crate) fn read_to_end(&mut self) -> io::Result<()> {
        self.0.read_to_end(&mut Vec::new()).map(drop)
    }

    /// Waits for the next frame, a short one.
    pub(crate) fn frame(&mut self) -> Vec<u8> {
        frame(&mut self.0).expect("a frame")
    }
}

/// Returns a message as it is sent.
pub(crate) fn encoded(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    let encode = |(place, frame): (usize, &&[u8])| {
        let more = u8::from(place < last);
        [&[more | 2][..], &(frame.len() as u64).to_be_bytes(), *frame].concat()
    };
    frames.iter().enumerate().flat_map(encode).collect()
}

/// Connects to a socket that a subscriber has bound, and waits for the subscription.
pub(crate) fn connect(port: u16) -> Subscriber {
    subscribed(TcpStream::connect(("127.0.0.1", port)).expect("it is bound")).expect("it subscribes")
}

fn frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut frame = vec![0; head[1].into()];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Performs the handshake as a publisher, and waits for the subscription.
fn subscribed(mut stream: TcpStream) -> io::Result<Subscriber> {
    greet(&mut stream, "PUB")?;
    // The subscriber sends its own READY and then its subscription, both of them short frames.
    (0..2).try_for_each(|_| frame(&mut stream).map(drop))?;
    Ok(Subscriber(stream))
}

/// Exchanges greetings, and says what kind of socket this is.
fn greet(stream: &mut TcpStream, kind: &str) -> io::Result<()> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting)?;
    stream.read_exact(&mut greeting)?;
    let ready = [&b"\x05READY\x0bSocket-Type\0\0\0"[..], &[kind.len() as u8], kind.as_bytes()].concat();
    stream.write_all(&[&[4, ready.len() as u8], &ready[..]].concat())
}
