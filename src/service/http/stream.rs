//! Answers that are streamed while they are written.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hyper::header::CONTENT_TYPE;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use super::Api;
use super::refusal::Refusal;

/// How many bytes are buffered on their way to a reader.
const CHUNK: usize = 64 << 10;

/// How many bytes per second a reader has to take.
const SLOWEST: usize = 256 << 10;

/// How many transfers ended because their readers hung up, or took nothing for too long.
static ABANDONED: AtomicU64 = AtomicU64::new(0);

/// Streams an answer of this content type, which the log calls `what`. It is written on a thread for blocking work,
/// which waits while the reader is slow. If writing fails, or the reader does not take a chunk within the write timeout,
/// the transfer ends with an error. There are few transfers at a time; the others wait, and are refused in the end.
pub(super) async fn answer(
    api: &Api,
    content_type: &'static str,
    what: &'static str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Result<Response, Refusal> {
    let permit = api.shares.transfer().await?;
    let timeout = Duration::from_secs(api.indexer.config().write_timeout_seconds);
    let body = body(timeout, what, move |out| {
        let _permit = permit;
        write(out)
    });
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
}

/// What the thread that writes sends to the connection. Both ways to end are sent as well, in the order in which things
/// happen: a body that only ends when its sender is gone could not tell whether all was written, and an error on a
/// channel of its own would race with the last chunk.
enum Part {
    Chunk(Bytes),
    End(io::Result<()>),
}

fn body(
    timeout: Duration,
    what: &'static str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Body {
    // One place is for the end, which waits for nobody.
    let (sender, parts) = channel(2);
    let end = sender.clone().try_reserve_owned().expect("a new channel has room");
    let chunks = Chunks { sender, handle: Handle::current(), patience: Patience::new(timeout), abandoned: false };
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(CHUNK, chunks);
        let written = write(&mut out).and_then(|()| out.flush());
        if let Err(error) = &written {
            // A reader may hang up as often as it likes, and must not fill the log.
            let times = if out.get_ref().abandoned { ABANDONED.fetch_add(1, Relaxed) + 1 } else { 1 };
            if times.is_power_of_two() {
                tracing::warn!(%error, times, "{what} ended early");
            }
        }
        // What could not be written stays unwritten.
        drop(out.into_parts());
        end.send(Part::End(written));
    });
    Body::from_stream(stream::unfold(Some(parts), next))
}

/// Returns the next chunk of a body, and the receiver of those behind it.
async fn next(parts: Option<Receiver<Part>>) -> Option<(io::Result<Bytes>, Option<Receiver<Part>>)> {
    let mut parts = parts?;
    match parts.recv().await {
        Some(Part::Chunk(bytes)) => Some((Ok(bytes), Some(parts))),
        Some(Part::End(Ok(()))) => None,
        Some(Part::End(Err(error))) => Some((Err(error), None)),
        None => Some((Err(io::Error::other("whoever wrote this has failed")), None)),
    }
}

/// How long to wait for a reader: up to the write timeout for each chunk, and not longer over all than the write timeout
/// and the time that the slowest acceptable reader would need. Otherwise a reader could keep its transfer for days.
#[derive(Debug)]
struct Patience {
    timeout: Duration,
    waited: Duration,
    sent: usize,
}

impl Patience {
    fn new(timeout: Duration) -> Self {
        Self { timeout, waited: Duration::ZERO, sent: 0 }
    }

    /// Returns how long the next chunk may take.
    fn left(&self) -> Duration {
        let all = self.timeout + Duration::from_secs((self.sent / SLOWEST) as u64);
        self.timeout.min(all.saturating_sub(self.waited))
    }

    /// Notes that the reader took a chunk of this length after this time.
    fn taken(&mut self, bytes: usize, time: Duration) {
        self.sent += bytes;
        self.waited += time;
    }
}

/// Writes to the body of an answer.
struct Chunks {
    sender: Sender<Part>,
    handle: Handle,
    patience: Patience,
    /// Whether the connection is gone.
    abandoned: bool,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whoever compresses may write more than a chunk at once.
        let bytes = &bytes[..bytes.len().min(CHUNK)];
        let sending = self.sender.send(Part::Chunk(Bytes::copy_from_slice(bytes)));
        let (left, began) = (self.patience.left(), Instant::now());
        match self.handle.block_on(async { timeout(left, sending).await }) {
            Ok(Ok(())) => {
                self.patience.taken(bytes.len(), began.elapsed());
                Ok(bytes.len())
            }
            Ok(Err(_)) => {
                self.abandoned = true;
                Err(io::Error::new(io::ErrorKind::BrokenPipe, "the reader has disconnected"))
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader is too slow")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    /// Reads an answer that is written like this.
    fn read(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Result<Bytes, axum::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async { to_bytes(body(Duration::from_secs(30), "an answer", write), usize::MAX).await })
    }

    #[test]
    fn the_last_chunk_arrives_although_the_writer_ends_at_once() {
        for round in 0..2_000 {
            let bytes = read(|out| out.write_all(b"whole")).expect("an answer");
            assert_eq!(bytes, "whole", "round {round}");
        }
    }

    #[test]
    fn whoever_fails_to_write_says_so_behind_the_last_chunk() {
        let failed = read(|out| {
            out.write_all(&vec![0; 3 * CHUNK])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.expect_err("an error").to_string(), "no more");
        let failed = read(|_| panic!("a panic on purpose"));
        assert!(failed.expect_err("an error").to_string().contains("has failed"));
    }

    #[test]
    fn patience_ends_for_a_reader_that_takes_each_chunk_just_in_time() {
        let mut patience = Patience::new(Duration::from_secs(30));
        let mut chunks = 0;
        while patience.left() > Duration::from_secs(29) {
            patience.taken(CHUNK, Duration::from_secs(29));
            chunks += 1;
        }
        assert_eq!(chunks, 1, "a second one would be too slow over all");
        let mut patience = Patience::new(Duration::from_secs(30));
        (0..100_000).for_each(|_| patience.taken(SLOWEST, Duration::from_millis(900)));
        assert_eq!(patience.left(), Duration::from_secs(30), "whoever keeps up may go on for ever");
    }
}
