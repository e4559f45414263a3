//! Frames and messages: how bytes become them, and how much memory they may take on the way.

use std::mem;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::error::Error;
use super::memory::{Memory, Taken};

/// The flags of a frame: whether the message goes on behind it, whether its size takes eight bytes, and whether it is a
/// command.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The most frames of a message. Batches of events have three.
const MAX_FRAMES: usize = 16;

/// The most bytes of a command.
const MAX_COMMAND: usize = 4 << 10;

/// Frames up to this size are received even if no memory is left for messages. So a publisher of ordinary batches goes
/// on while others have used it up.
const SMALL: usize = 64 << 10;

/// How long a message may still take when its reader has been away.
const GRACE: Duration = Duration::from_secs(1);

/// How much is read from the connection at a time, outside of large frames.
const CHUNK: usize = 16 << 10;

/// What a message may cost.
#[derive(Clone, Debug)]
pub(in crate::service) struct Limits {
    /// The most bytes of a message.
    pub(in crate::service) message: usize,
    /// How long a message may take to arrive, from its first frame on.
    pub(in crate::service) patience: Duration,
    /// Where the memory for it comes from.
    pub(in crate::service) memory: Memory,
}

/// A message: its frames. Their memory counts as taken until the last copy of each is dropped.
pub(in crate::service) type Message = Vec<Bytes>;

/// What arrived.
pub(super) enum Arrived {
    Message(Message),
    Command(Bytes),
}

/// Makes messages of what arrives on a connection.
pub(super) struct Reader {
    limits: Limits,
    /// What was read, up to where it is used.
    buffer: BytesMut,
    /// The frame that is being read.
    frame: Option<Frame>,
    /// The frames before it in the message.
    message: Message,
    /// Bytes of these frames and of the one that is being read.
    bytes: usize,
    /// Until when the message has to be there.
    deadline: Option<Instant>,
}

/// A frame that is being read.
struct Frame {
    flags: u8,
    size: usize,
    data: Vec<u8>,
    taken: Taken,
}

impl Reader {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, buffer: BytesMut::new(), frame: None, message: Vec::new(), bytes: 0, deadline: None }
    }

    /// Waits for the next message or command. Nothing is lost if the future is dropped before it is ready.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Arrived, Error> {
        // Nothing was read while the caller did something else. What came meanwhile must not be too late.
        if let Some(deadline) = &mut self.deadline {
            *deadline = (*deadline).max(Instant::now() + GRACE);
        }
        loop {
            if let Some(arrived) = self.take_frames()? {
                return Ok(arrived);
            }
            let before = Instant::now();
            if let Some(frame) = &mut self.frame {
                frame.make_room(&self.limits.memory).await;
            }
            // It is not the other end that let the message wait for memory.
            if let Some(deadline) = &mut self.deadline {
                *deadline += before.elapsed();
            }
            // What was read before comes first.
            if self.frame.is_some() && !self.buffer.is_empty() {
                continue;
            }
            let read = read(&mut self.buffer, self.frame.as_mut(), stream);
            match self.deadline {
                Some(deadline) => {
                    timeout_at(deadline, read).await.map_err(|_| Error::Stalled(self.limits.patience))??;
                }
                None => read.await?,
            }
        }
    }

    /// Takes frames out of the buffer, until a message or command is whole or the buffer is used up.
    fn take_frames(&mut self) -> Result<Option<Arrived>, Error> {
        loop {
            if self.frame.is_none() && !self.begin_frame()? {
                return Ok(None);
            }
            let Some(mut frame) = self.frame.take() else { return Ok(None) };
            let here =
                self.buffer.len().min(frame.size - frame.data.len()).min(frame.data.capacity() - frame.data.len());
            frame.data.extend_from_slice(&self.buffer[..here]);
            self.buffer.advance(here);
            if frame.data.len() < frame.size {
                self.frame = Some(frame);
                return Ok(None);
            }
            let flags = frame.flags;
            let data = Bytes::from_owner(frame);
            if flags & COMMAND != 0 {
                return Ok(Some(Arrived::Command(data)));
            }
            self.message.push(data);
            if flags & MORE == 0 {
                (self.bytes, self.deadline) = (0, None);
                return Ok(Some(Arrived::Message(mem::take(&mut self.message))));
            }
        }
    }

    /// Begins the next frame, if its head is in the buffer. Returns whether it was.
    fn begin_frame(&mut self) -> Result<bool, Error> {
        let Some(&flags) = self.buffer.first() else { return Ok(false) };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(Error::Protocol("a frame has impossible flags"));
        }
        let head = if flags & LONG == 0 { 2 } else { 9 };
        if self.buffer.len() < head {
            return Ok(false);
        }
        self.buffer.advance(1);
        let size = if flags & LONG == 0 { u64::from(self.buffer.get_u8()) } else { self.buffer.get_u64() };
        let room = if flags & COMMAND == 0 { self.limits.message - self.bytes } else { MAX_COMMAND };
        let size = match usize::try_from(size) {
            Ok(size) if size <= room => size,
            _ if flags & COMMAND != 0 => return Err(Error::Protocol("a command is too long")),
            _ => return Err(Error::TooLarge { limit: self.limits.message }),
        };
        if flags & COMMAND == 0 {
            if self.message.len() == MAX_FRAMES {
                return Err(Error::Protocol("a message has more than 16 frames"));
            }
            self.bytes += size;
            self.deadline.get_or_insert_with(|| Instant::now() + self.limits.patience);
        }
        let mut taken = Taken::default();
        // What is free is free once for each message, however many frames it has.
        let before = if flags & COMMAND == 0 { self.bytes - size } else { 0 };
        let data = Vec::with_capacity(size.min(SMALL.saturating_sub(before)));
        self.limits.memory.try_take(data.capacity(), &mut taken);
        self.frame = Some(Frame { flags, size, data, taken });
        Ok(true)
    }
}

impl Frame {
    /// Takes memory, if there is no room for the next byte. What was announced may never arrive: so no more memory is
    /// taken than has arrived of the frame already, or a small frame has.
    async fn make_room(&mut self, memory: &Memory) {
        if self.data.len() == self.data.capacity() {
            let more = (self.size - self.data.len()).min(self.data.len().max(SMALL));
            memory.take(more, &mut self.taken).await;
            self.data.reserve_exact(more);
        }
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Reads more: into the frame if one was begun, else into the buffer. Both keep what was read if the future is dropped.
async fn read(
    buffer: &mut BytesMut,
    frame: Option<&mut Frame>,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(), Error> {
    let read = if let Some(frame) = frame {
        let missing = frame.size - frame.data.len();
        let room = missing.min(frame.data.capacity() - frame.data.len());
        stream.read_buf(&mut (&mut frame.data).limit(room)).await?
    } else {
        buffer.reserve(CHUNK);
        stream.read_buf(buffer).await?
    };
    if read == 0 { Err(Error::Closed) } else { Ok(()) }
}

/// Returns the frames of a message or of a command, as they are sent.
pub(super) fn encode(frames: &[&[u8]], command: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, frame) in frames.iter().enumerate() {
        let more = if place + 1 < frames.len() { MORE } else { 0 };
        let flags = more | if command { COMMAND } else { 0 };
        if let Ok(size) = u8::try_from(frame.len()) {
            bytes.extend([flags, size]);
        } else {
            bytes.push(flags | LONG);
            bytes.extend((frame.len() as u64).to_be_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    bytes
}
