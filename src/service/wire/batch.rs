//! Batches: a time, events, and perhaps a data-parallel rank.

use std::mem::size_of;

use super::columns::{Columns, Extra};
use super::error::Error;
use super::event::Event;
use super::read::{Kind, Reader};

/// How many times larger than its encoding a decoded batch can be on the heap. The worst case is empty names among
/// extra keys: each is encoded in a byte, and takes twice its size while its list grows.
pub const MAX_EXPANSION: usize = 2 * size_of::<(u32, Extra<'static>)>();

// The shortest event that is kept is a removal of nothing. It must not be a worse case.
const _: () = assert!(2 * size_of::<Event<'static>>() <= MAX_EXPANSION * b"\x92\xacBlockRemoved\x90".len());

/// A decoded batch. Only strings and digests are borrowed from the input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// When it was sent, in seconds since 1970, by the publisher's clock.
    pub(in crate::service) ts: f64,
    /// The data-parallel rank, if the batch names one.
    pub(in crate::service) rank: Option<u64>,
    /// The events in order, without those that are malformed or of unknown kinds.
    pub(in crate::service) events: Vec<Event<'a>>,
    pub(in crate::service) unknown: Unread,
    /// What was wrong with the first malformed event.
    pub(in crate::service) error: Option<Error>,
    pub(in crate::service) malformed: Unread,
    pub(in crate::service) columns: Columns<'a>,
}

/// Events that are missing from [`Batch::events`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::service) struct Unread {
    /// How many they are.
    pub(in crate::service) times: u64,
    /// How many of the batch's events come before the last of them.
    before_last: usize,
}

impl Unread {
    fn add(&mut self, before: usize) {
        (self.times, self.before_last) = (self.times + 1, before);
    }

    /// Whether one of them comes after the event at this place.
    pub(in crate::service) fn is_behind(self, place: usize) -> bool {
        self.times > 0 && self.before_last > place
    }
}

impl<'a> Batch<'a> {
    /// Decodes a batch.
    ///
    /// # Errors
    /// The bytes are not msgpack, or not a batch. A malformed event is not an error; it is counted.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let mut batch = Self::default();
        if reader.kind()? == Kind::Map {
            batch.map(&mut reader)?;
        } else {
            batch.array(&mut reader)?;
        }
        Ok(batch)
    }

    /// Returns how many events it has, without those that are malformed or of unknown kinds.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it has no such event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns how many bytes it takes on the heap.
    pub fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Event<'_>>() + self.columns.bytes()
    }

    fn array(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        let at = reader.at();
        let elements = reader.array()?;
        if elements < 2 {
            return Err(Error::Expected { at, expected: "a batch of two elements or more: time, events" });
        }
        self.ts = reader.float()?;
        self.events(reader)?;
        if elements > 2 {
            self.rank(reader)?;
        }
        (3..elements).try_for_each(|_| reader.skip())
    }

    fn map(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        let at = reader.at();
        let mut found = false;
        for _ in 0..reader.map()? {
            match reader.str()? {
                "ts" => self.ts = reader.float()?,
                "events" if !found => {
                    self.events(reader)?;
                    found = true;
                }
                "data_parallel_rank" | "attn_dp_rank" | "dp_rank" => self.rank(reader)?,
                _ => reader.skip()?,
            }
        }
        if found { Ok(()) } else { Err(Error::Expected { at, expected: "a batch with the key events" }) }
    }

    fn rank(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        if !reader.nil()? {
            self.rank = Some(reader.unsigned()?);
        }
        Ok(())
    }

    fn events(&mut self, reader: &mut Reader<'a>) -> Result<(), Error> {
        for _ in 0..reader.array()? {
            let mut next = *reader;
            next.skip()?;
            self.event(reader);
            *reader = next;
        }
        Ok(())
    }

    /// Reads an event, whose msgpack was skipped before and so is valid. What a malformed event has left in the columns
    /// is taken out again.
    fn event(&mut self, reader: &mut Reader<'a>) {
        let lengths = self.columns.lengths();
        match Event::read(reader, &mut self.columns) {
            Ok(Some(event)) => self.events.push(event),
            Ok(None) => self.unknown.add(self.events.len()),
            Err(error) => {
                self.columns.truncate(lengths);
                self.error.get_or_insert(error);
                self.malformed.add(self.events.len());
            }
        }
    }
}
