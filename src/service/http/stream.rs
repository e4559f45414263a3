//! Answers that are streamed while they are written.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use hyper::header::CONTENT_TYPE;
use tokio::runtime::Handle;

/// How many bytes are buffered on their way to a reader.
const CHUNK: usize = 64 << 10;

/// Streams an answer of this content type, which the log calls `what`. It is written on a thread for blocking work,
/// which waits while the reader is slow. If writing fails, the transfer ends with an error.
pub(super) fn answer(
    content_type: &'static str,
    what: &'static str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Response {
    let (sender, body) = Channel::<Bytes, io::Error>::new(1);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(CHUNK, Chunks { sender, handle });
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            tracing::warn!(%error, "{what} ended early");
            out.into_parts().0.sender.abort(error);
        }
    });
    ([(CONTENT_TYPE, content_type)], Body::new(body)).into_response()
}

/// Writes to the body of an answer.
struct Chunks {
    sender: Sender<Bytes, io::Error>,
    handle: Handle,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.handle.block_on(self.sender.send_data(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the reader has disconnected"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
