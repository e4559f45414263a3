//! Saves a workload to a file of little-endian words, and loads it.
//!
//! The parent process generates a workload once, and the measuring processes load it. Generating takes a while, and
//! leaves freed memory into which an index could grow without a change of the resident set.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::Path;

use kvleap::Block;

use super::{Change, Kind, Step, Workload};

/// Stands in place of a parent's number where a store has no parent.
const ROOT: u32 = u32::MAX;
/// Stands in place of a parent's number where the change is a removal.
const REMOVED: u32 = u32::MAX - 1;

impl Workload {
    /// Writes the workload to `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = Words(BufWriter::new(File::create(path)?));
        for word in [self.workers, self.block_size, self.held as u32, self.distinct as u32, u32::from(self.miss)] {
            out.put(word)?;
        }
        out.all(&self.blocks, |out, block| {
            out.put_long(block.sequence)?;
            out.put_long(block.local)
        })?;
        out.all(&self.numbers, |out, &number| out.put(number))?;
        out.all(&self.steps, |out, step| {
            out.put_range(&step.query)?;
            out.put_range(&step.changes)
        })?;
        out.all(&self.changes, Words::put_change)?;
        out.all(&self.last, Words::put_change)?;
        out.0.flush()
    }

    /// Reads what [`Workload::save`] wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is too short.
    pub fn load(path: &Path) -> io::Result<Self> {
        let mut file = Words(BufReader::new(File::open(path)?));
        let [workers, block_size, held, distinct, miss] =
            [file.get()?, file.get()?, file.get()?, file.get()?, file.get()?];
        Ok(Self {
            workers,
            block_size,
            held: held.into(),
            distinct: distinct.into(),
            miss: miss != 0,
            blocks: file.many(|file| Ok(Block { sequence: file.get_long()?, local: file.get_long()? }))?,
            numbers: file.many(Words::get)?,
            steps: file.many(|file| Ok(Step { query: file.get_range()?, changes: file.get_range()? }))?,
            changes: file.many(Words::get_change)?,
            last: file.many(Words::get_change)?,
        })
    }
}

/// A file that is read or written word by word.
struct Words<F>(F);

impl<W: Write> Words<W> {
    fn all<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T) -> io::Result<()>) -> io::Result<()> {
        self.put(items.len() as u32)?;
        items.iter().try_for_each(|item| put(self, item))
    }

    fn put(&mut self, word: u32) -> io::Result<()> {
        self.0.write_all(&word.to_le_bytes())
    }

    fn put_long(&mut self, word: u64) -> io::Result<()> {
        self.0.write_all(&word.to_le_bytes())
    }

    fn put_range(&mut self, range: &Range<u32>) -> io::Result<()> {
        self.put(range.start)?;
        self.put(range.end)
    }

    fn put_change(&mut self, change: &Change) -> io::Result<()> {
        self.put(change.worker)?;
        self.put(change.id)?;
        self.put(match change.kind {
            Kind::Stored { parent } => parent.unwrap_or(ROOT),
            Kind::Removed => REMOVED,
        })?;
        self.put_range(&change.blocks)
    }
}

impl<R: Read> Words<R> {
    /// Reads a list of items into a vector of exactly their number.
    fn many<T>(&mut self, mut get: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.get()?;
        let mut items = Vec::with_capacity(count as usize);
        for _ in 0..count {
            items.push(get(self)?);
        }
        Ok(items)
    }

    fn get(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn get_long(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn get_range(&mut self) -> io::Result<Range<u32>> {
        Ok(self.get()?..self.get()?)
    }

    fn get_change(&mut self) -> io::Result<Change> {
        let (worker, id) = (self.get()?, self.get()?);
        let kind = match self.get()? {
            ROOT => Kind::Stored { parent: None },
            REMOVED => Kind::Removed,
            parent => Kind::Stored { parent: Some(parent) },
        };
        Ok(Change { worker, id, kind, blocks: self.get_range()? })
    }
}
