//! What trials play: the second half of a schedule, on the state that the first half leaves.

use std::io::{self, BufReader, BufWriter, Read, Write};

use super::{Op, Schedule, SweepError, What};
use crate::{Block, Builder, Event, EventData, Worker};

/// The part of a schedule that trials play, and the state that all of them start from.
///
/// Every trial of whatever rate begins at the same place, in the middle of the schedule, where caches are full and
/// evict: a slow backend is spared nothing that a fast one must do. The state before it is handed over as the events of
/// an [export](crate::Index::export): stores, and no history of evictions, so that it does not take a slow backend
/// hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The state to begin with; applying these is not timed.
    pub warm: Vec<Event>,
    /// What is timed, ascending in time, which begins at 0.
    pub ops: Vec<Op>,
}

impl Load {
    /// Cuts a schedule in the middle of its lookups, and after the last of them: what a fleet still says when nobody
    /// asks any more is another load.
    ///
    /// # Errors
    /// [`SweepError::EmptySchedule`] where what is played has no lookups or no events.
    pub fn new(schedule: Schedule) -> Result<Self, SweepError> {
        let mut ops = schedule.ops;
        let asks = |(place, op): (usize, &Op)| matches!(op.what, What::Lookup(_)).then_some(place);
        let lookups: Vec<usize> = ops.iter().enumerate().filter_map(asks).collect();
        let middle = *lookups.get(lookups.len() / 2).ok_or(SweepError::EmptySchedule)?;
        ops.truncate(lookups[lookups.len() - 1] + 1);
        let mut timed = ops.split_off(middle);
        if timed.len() == lookups.len() - lookups.len() / 2 {
            return Err(SweepError::EmptySchedule);
        }
        let (mut index, _) =
            Builder::default().build_local().map_err(|error| SweepError::Backend(error.to_string()))?;
        for op in ops {
            if let What::Event(event) = op.what {
                // What an index rejects, it rejects when it is played, too; it is no part of the state.
                let _ = index.apply(&event);
            }
        }
        let begin = timed.first().map_or(0, |op| op.at_ns);
        for op in &mut timed {
            op.at_ns -= begin;
        }
        Ok(Self { warm: index.export(), ops: timed })
    }

    /// How many blocks are held to begin with, each worker's counted.
    pub fn held(&self) -> u64 {
        let sum = |counts: fn(&EventData) -> bool| {
            let counted = self.warm.iter().filter(|event| counts(&event.data));
            counted.map(|event| event.data.len() as u64).sum::<u64>()
        };
        let stored = sum(|data| matches!(data, EventData::Stored { .. }));
        stored - sum(|data| matches!(data, EventData::Removed { .. }))
    }

    /// How many blocks the first n operations name, for every n from 0.
    pub fn blocks(&self) -> Vec<u64> {
        let mut sum = 0;
        let sums = self.ops.iter().map(|op| {
            sum += op.what.blocks();
            sum
        });
        std::iter::once(0).chain(sums).collect()
    }

    /// Writes it as 64-bit words for [`read`](Self::read): for processes of one program, not for keeping.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut words = Words(BufWriter::new(to));
        words.put(self.warm.len() as u64)?;
        self.warm.iter().try_for_each(|event| words.put_event(event))?;
        words.put(self.ops.len() as u64)?;
        for op in &self.ops {
            words.put(op.at_ns)?;
            match &op.what {
                What::Lookup(query) => {
                    words.put(LOOKUP)?;
                    words.put(query.len() as u64)?;
                    query.iter().try_for_each(|&hash| words.put(hash))?;
                }
                What::Event(event) => words.put_event(event)?,
            }
        }
        words.0.flush()
    }

    /// Reads the state and at most `limit` operations.
    ///
    /// # Errors
    /// Those of the reader, and `InvalidData` where it is not what [`write`](Self::write) wrote.
    pub fn read(from: impl Read, limit: usize) -> io::Result<Self> {
        let mut words = Words(BufReader::with_capacity(1 << 20, from));
        let mut warm = Vec::new();
        for _ in 0..words.take()? {
            let kind = words.take()?;
            warm.push(words.take_event(kind)?);
        }
        let mut ops = Vec::new();
        for _ in 0..words.take()?.min(limit as u64) {
            let at_ns = words.take()?;
            let what = match words.take()? {
                LOOKUP => What::Lookup(words.take_many(Words::take)?.into_boxed_slice()),
                kind => What::Event(words.take_event(kind)?),
            };
            ops.push(Op { at_ns, what });
        }
        Ok(Self { warm, ops })
    }
}

/// Kinds of operations.
const LOOKUP: u64 = 0;
const ROOT: u64 = 1;
const STORED: u64 = 2;
const REMOVED: u64 = 3;
const CLEARED: u64 = 4;
const WORKER_REMOVED: u64 = 5;
const WORKER_ADDED: u64 = 6;

/// A stream of words.
struct Words<T>(T);

impl<T: Write> Words<T> {
    fn put(&mut self, word: u64) -> io::Result<()> {
        self.0.write_all(&word.to_le_bytes())
    }

    /// Kind, worker, rank, id; parent, blocks.
    fn put_event(&mut self, event: &Event) -> io::Result<()> {
        let kind = match &event.data {
            EventData::Stored { parent: None, .. } => ROOT,
            EventData::Stored { parent: Some(_), .. } => STORED,
            EventData::Removed { .. } => REMOVED,
            EventData::Cleared => CLEARED,
            EventData::WorkerRemoved => WORKER_REMOVED,
            EventData::WorkerAdded => WORKER_ADDED,
        };
        let Worker { id, dp_rank } = event.worker;
        [kind, id, dp_rank.into(), event.id].into_iter().try_for_each(|word| self.put(word))?;
        match &event.data {
            EventData::Stored { parent, blocks } => {
                parent.map_or(Ok(()), |parent| self.put(parent))?;
                self.put(blocks.len() as u64)?;
                blocks.iter().flat_map(|block| [block.sequence, block.local]).try_for_each(|word| self.put(word))
            }
            EventData::Removed { blocks } => {
                self.put(blocks.len() as u64)?;
                blocks.iter().try_for_each(|&sequence| self.put(sequence))
            }
            EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded => Ok(()),
        }
    }
}

impl<T: Read> Words<T> {
    fn take(&mut self) -> io::Result<u64> {
        let mut word = [0; 8];
        self.0.read_exact(&mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn take_many<V>(&mut self, one: impl Fn(&mut Self) -> io::Result<V>) -> io::Result<Vec<V>> {
        let len = self.take()? as usize;
        // Not more at once than a damaged length may cost.
        let mut many = Vec::with_capacity(len.min(1 << 16));
        for _ in 0..len {
            many.push(one(self)?);
        }
        Ok(many)
    }

    fn take_event(&mut self, kind: u64) -> io::Result<Event> {
        let worker = Worker::new(self.take()?, self.take()? as u32);
        let id = self.take()?;
        let data = match kind {
            ROOT | STORED => {
                let parent = if kind == STORED { Some(self.take()?) } else { None };
                let block = |words: &mut Self| Ok(Block { sequence: words.take()?, local: words.take()? });
                EventData::Stored { parent, blocks: self.take_many(block)? }
            }
            REMOVED => EventData::Removed { blocks: self.take_many(Self::take)? },
            CLEARED => EventData::Cleared,
            WORKER_REMOVED => EventData::WorkerRemoved,
            WORKER_ADDED => EventData::WorkerAdded,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no operation has the kind {kind}"))),
        };
        Ok(Event { worker, id, data })
    }
}
