//! Snapshots as bytes.
//!
//! A file is eight bytes of magic, the version as four bytes, one zstd frame, and the XXH3-64 of everything before as
//! eight bytes. Numbers are little-endian. The frame is a list of records, each a tag of one byte and its content:
//!
//! | tag | record | content |
//! |---|---|---|
//! | 0 | end | nothing; the frame ends here |
//! | 1 | header | [`Header`]; always the first record, and only the first |
//! | 2 | model | [`SavedModel`] |
//! | 3 | publisher | [`SavedPublisher`], of the model before it; its events follow it |
//! | 4 | worker | instance as 8 bytes, data-parallel rank as 4, cache group as 4, tier as 1, event id as 8 |
//! | 5, 6 | stored | the parent as 8 bytes (6 only), the number of blocks as 4, their sequence hashes, their local hashes |
//! | 7 | removed | the number of blocks as 4 bytes, their sequence hashes |
//! | 8, 9, 10, 11 | cleared, worker removed, worker added, copies counted | nothing |
//!
//! Header, model and publisher are in postcard's format, behind their length as 4 bytes. Hashes are 8 bytes each: they
//! are random, so a variable length would be longer. Sequence hashes and local hashes are written in columns: workers
//! that share prompts share columns, and the compression finds them. Reading a record never allocates more than
//! [`MAX_TEXT`] bytes or what [`MAX_BLOCKS`] blocks need.
//!
//! A worker's record says whose events follow. Tiers are 0 for the device, 1 for the host, 2 for the disk. What is
//! stored on a tier includes the faster tiers, as in the index. The cache group is 0; other groups are not indexed yet,
//! and are refused. Where copies are counted, a block is stored once more for every further copy. The first of these
//! takes 29 bytes before compression, and the others, which are equal to it, next to nothing.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Reason;
use crate::event::{Block, Event, EventData, Worker};
use crate::service::tier::{MAX_RANK, Tier};

/// How far back zstd looks for repetitions, as a power of two. Writer and reader need as much memory.
pub(super) const WINDOW_LOG: u32 = 24;

/// The cache group whose blocks are indexed.
const GROUP: u32 = 0;

/// The longest header, model or publisher, in bytes.
pub(super) const MAX_TEXT: u32 = 256 << 20;
/// The most blocks in an event. Longer events are written as several, each the child of the one before.
pub(super) const MAX_BLOCKS: usize = 1 << 16;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When it was begun, in seconds since 1970.
    pub created: u64,
    /// The release that wrote it.
    pub release: String,
}

/// An index in a snapshot. Its publishers follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedModel {
    /// The model's name.
    pub model: String,
    /// The routing group.
    pub group: String,
    /// The tenant.
    pub tenant: String,
    /// Tokens in a block.
    pub block_size: u32,
    /// The local hash of an empty block. It differs between secret keys, and from that without a key.
    pub hashing: u64,
}

/// A publisher in a snapshot. Its events follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPublisher {
    /// The instance.
    pub instance: u64,
    /// The data-parallel rank that it was registered as.
    pub dp_rank: u32,
    /// The engine that it is, an [`Engine`](crate::service::Engine) as JSON; empty if it speaks over HTTP.
    pub engine: String,
    /// Where it is in its stream, and what is remembered of it: a [`Resume`](crate::service::publisher::Resume) in
    /// postcard's format.
    pub resume: Vec<u8>,
}

/// A record of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An index.
    Model(SavedModel),
    /// A publisher of the last model.
    Publisher(SavedPublisher),
    /// Blocks that a worker of the last publisher holds. The event's worker stands for a tier, see
    /// [`Tier::worker`](crate::service::Tier::worker).
    Event(Event),
}

mod tag {
    pub(super) const END: u8 = 0;
    pub(super) const HEADER: u8 = 1;
    pub(super) const MODEL: u8 = 2;
    pub(super) const PUBLISHER: u8 = 3;
    pub(super) const WORKER: u8 = 4;
    pub(super) const STORED: u8 = 5;
    pub(super) const STORED_AFTER: u8 = 6;
    pub(super) const REMOVED: u8 = 7;
    pub(super) const CLEARED: u8 = 8;
    pub(super) const WORKER_REMOVED: u8 = 9;
    pub(super) const WORKER_ADDED: u8 = 10;
    pub(super) const COPIES_COUNTED: u8 = 11;
}

/// Writes records.
#[derive(Debug)]
pub(super) struct Records<W> {
    sink: W,
    /// The worker and id of the events that are being written.
    current: Option<(Worker, u64)>,
    bytes: Vec<u8>,
}

impl<W: Write> Records<W> {
    pub(super) fn begin(sink: W, header: &Header) -> io::Result<Self> {
        let mut records = Self { sink, current: None, bytes: Vec::new() };
        records.text(tag::HEADER, header)?;
        Ok(records)
    }

    pub(super) fn model(&mut self, model: &SavedModel) -> io::Result<()> {
        self.text(tag::MODEL, model)
    }

    pub(super) fn publisher(&mut self, publisher: &SavedPublisher) -> io::Result<()> {
        self.text(tag::PUBLISHER, publisher)
    }

    pub(super) fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.current != Some((event.worker, event.id)) {
            self.current = Some((event.worker, event.id));
            let (rank, tier) = Tier::split(event.worker);
            self.tag(tag::WORKER);
            self.bytes.extend(rank.id.to_le_bytes());
            self.bytes.extend(rank.dp_rank.to_le_bytes());
            self.bytes.extend(GROUP.to_le_bytes());
            self.bytes.push(tier as u8);
            self.bytes.extend(event.id.to_le_bytes());
            self.sink.write_all(&self.bytes)?;
        }
        match &event.data {
            EventData::Stored { parent, blocks } => self.stored(*parent, blocks),
            EventData::Removed { blocks } => {
                for piece in pieces(blocks) {
                    self.tag(tag::REMOVED);
                    self.hashes(piece.iter().copied());
                    self.sink.write_all(&self.bytes)?;
                }
                Ok(())
            }
            EventData::Cleared => self.sink.write_all(&[tag::CLEARED]),
            EventData::WorkerRemoved => self.sink.write_all(&[tag::WORKER_REMOVED]),
            EventData::WorkerAdded => self.sink.write_all(&[tag::WORKER_ADDED]),
            EventData::CopiesCounted => self.sink.write_all(&[tag::COPIES_COUNTED]),
        }
    }

    /// Writes the end, and returns the sink.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.sink.write_all(&[tag::END])?;
        Ok(self.sink)
    }

    fn stored(&mut self, mut parent: Option<u64>, blocks: &[Block]) -> io::Result<()> {
        for piece in pieces(blocks) {
            match parent {
                None => self.tag(tag::STORED),
                Some(parent) => {
                    self.tag(tag::STORED_AFTER);
                    self.bytes.extend(parent.to_le_bytes());
                }
            }
            self.hashes(piece.iter().map(|block| block.sequence));
            self.bytes.extend(piece.iter().flat_map(|block| block.local.to_le_bytes()));
            self.sink.write_all(&self.bytes)?;
            parent = piece.last().map(|block| block.sequence);
        }
        Ok(())
    }

    fn tag(&mut self, tag: u8) {
        self.bytes.clear();
        self.bytes.push(tag);
    }

    fn hashes(&mut self, hashes: impl ExactSizeIterator<Item = u64>) {
        self.bytes.extend((hashes.len() as u32).to_le_bytes());
        self.bytes.extend(hashes.flat_map(u64::to_le_bytes));
    }

    fn text(&mut self, tag: u8, value: &impl Serialize) -> io::Result<()> {
        let text = postcard::to_stdvec(value).map_err(io::Error::other)?;
        let length = u32::try_from(text.len()).ok().filter(|&length| length <= MAX_TEXT);
        let length = length.ok_or_else(|| io::Error::other("a record is too large for a snapshot"))?;
        self.tag(tag);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text);
        self.sink.write_all(&self.bytes)
    }
}

/// Splits blocks into pieces that fit into an event. No blocks are one piece.
fn pieces<T>(blocks: &[T]) -> impl Iterator<Item = &[T]> {
    blocks.chunks(MAX_BLOCKS).chain(blocks.is_empty().then_some(blocks))
}

/// Reads records, up to the first that cannot be understood.
#[derive(Debug)]
pub(super) struct Parser<R> {
    source: R,
    current: Option<(Worker, u64)>,
    /// How many were read.
    records: u64,
}

/// Why a record cannot be read.
type Why = String;

impl<R: BufRead> Parser<R> {
    pub(super) fn begin(source: R) -> Result<(Self, Header), Reason> {
        let mut parser = Self { source, current: None, records: 0 };
        let header = match parser.number() {
            Ok([tag::HEADER]) => parser.text(),
            Ok([other]) => Err(format!("it begins with a record of kind {other}")),
            Err(why) => Err(why),
        };
        let header = header.map_err(|why| parser.malformed(why))?;
        Ok((parser, header))
    }

    /// Returns the next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Reason> {
        self.records += 1;
        self.record().map_err(|why| self.malformed(why))
    }

    fn malformed(&self, why: Why) -> Reason {
        Reason::Malformed { record: self.records, why }
    }

    fn record(&mut self) -> Result<Option<Record>, Why> {
        loop {
            let [kind] = self.number()?;
            let data = match kind {
                tag::END => return self.ended().map(|()| None),
                tag::MODEL => return self.text().map(Record::Model).map(Some),
                tag::PUBLISHER => return self.text().map(Record::Publisher).map(Some),
                tag::WORKER => {
                    self.current = Some((self.worker()?, u64::from_le_bytes(self.number()?)));
                    continue;
                }
                tag::STORED => self.stored(None)?,
                tag::STORED_AFTER => {
                    let parent = u64::from_le_bytes(self.number()?);
                    self.stored(Some(parent))?
                }
                tag::REMOVED => {
                    let count = self.count()?;
                    EventData::Removed { blocks: self.hashes(count)? }
                }
                tag::CLEARED => EventData::Cleared,
                tag::WORKER_REMOVED => EventData::WorkerRemoved,
                tag::WORKER_ADDED => EventData::WorkerAdded,
                tag::COPIES_COUNTED => EventData::CopiesCounted,
                other => return Err(format!("there is no record of kind {other}")),
            };
            let (worker, id) = self.current.ok_or("an event of no worker")?;
            return Ok(Some(Record::Event(Event { worker, id, data })));
        }
    }

    fn ended(&mut self) -> Result<(), Why> {
        let left = self.source.fill_buf().map_err(|error| error.to_string())?;
        if left.is_empty() { Ok(()) } else { Err("something follows the end".to_owned()) }
    }

    fn worker(&mut self) -> Result<Worker, Why> {
        let rank = Worker::new(u64::from_le_bytes(self.number()?), u32::from_le_bytes(self.number()?));
        let group = u32::from_le_bytes(self.number()?);
        let [tier] = self.number()?;
        if rank.dp_rank > MAX_RANK {
            return Err(format!("worker {rank} has too high a rank"));
        }
        if group != GROUP {
            return Err(format!(
                "blocks of worker {rank} are of cache group {group}, and only group {GROUP} is indexed"
            ));
        }
        let known = Tier::ALL.into_iter().find(|&known| known as u8 == tier);
        known.map(|tier| tier.worker(rank)).ok_or_else(|| format!("worker {rank} has blocks on tier {tier}"))
    }

    fn stored(&mut self, parent: Option<u64>) -> Result<EventData, Why> {
        let count = self.count()?;
        let sequences = self.hashes(count)?;
        let locals = self.hashes(count)?;
        let blocks = sequences.into_iter().zip(locals).map(|(sequence, local)| Block { sequence, local });
        Ok(EventData::Stored { parent, blocks: blocks.collect() })
    }

    fn count(&mut self) -> Result<usize, Why> {
        let count = u32::from_le_bytes(self.number()?) as usize;
        if count <= MAX_BLOCKS { Ok(count) } else { Err(format!("an event of {count} blocks")) }
    }

    fn hashes(&mut self, count: usize) -> Result<Vec<u64>, Why> {
        let mut bytes = vec![0; count * size_of::<u64>()];
        self.source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        let (hashes, _) = bytes.as_chunks();
        Ok(hashes.iter().copied().map(u64::from_le_bytes).collect())
    }

    fn text<T: DeserializeOwned>(&mut self) -> Result<T, Why> {
        let length = u32::from_le_bytes(self.number()?);
        if length > MAX_TEXT {
            return Err(format!("a record of {length} bytes"));
        }
        // The buffer grows with what is read, not by the length, which may be wrong.
        let mut bytes = Vec::new();
        self.source.by_ref().take(length.into()).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        match postcard::take_from_bytes(&bytes) {
            Ok((value, [])) if bytes.len() == length as usize => Ok(value),
            Ok(_) => Err("a record is longer than its content".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}
