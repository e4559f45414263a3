//! Batches: a time, events, and perhaps a rank.

use std::mem::size_of;

use super::Error;
use super::event::{Event, Extra};
use super::read::{Kind, Reader};

/// The heap bytes that a decoded batch takes at most, in multiples of its encoded size. The worst are empty names among
/// extra keys: a byte each, and twice the room of one while their list grows.
pub const MAX_EXPANSION: usize = 2 * size_of::<(u32, Extra<'static>)>();

/// The shortest event that is kept, a removal of nothing, weighs no more than that.
const _: () = assert!(2 * size_of::<Event<'static>>() <= MAX_EXPANSION * b"\x92\xacBlockRemoved\x90".len());

/// A decoded batch. Strings are borrowed from the input, and so is nothing else.
///
/// Hashes, tokens and extra keys of all events lie one after another, so that decoding allocates a few times a batch,
/// and never for a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// When it was sent, in seconds since 1970, by the publisher's clock.
    pub(in crate::service) ts: f64,
    /// The data-parallel rank, if it says so.
    pub(in crate::service) rank: Option<u64>,
    /// In order, without those that are malformed or of unknown kinds.
    pub(in crate::service) events: Vec<Event<'a>>,
    pub(in crate::service) unknown: Left,
    /// What was wrong with the first that was malformed.
    pub(in crate::service) error: Option<Error>,
    pub(in crate::service) malformed: Left,
    pub(super) hashes: Vec<u64>,
    pub(super) tokens: Vec<u32>,
    pub(super) extras: Vec<(u32, Extra<'a>)>,
}

/// Events that are not among a batch's: how many, and how many of the batch's come before the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::service) struct Left {
    pub(in crate::service) times: u64,
    pub(in crate::service) before_last: usize,
}

impl Left {
    fn add(&mut self, before: usize) {
        (self.times, self.before_last) = (self.times + 1, before);
    }

    /// Whether one of them comes behind the event at this place.
    pub(in crate::service) fn is_behind(self, place: usize) -> bool {
        self.times > 0 && self.before_last > place
    }
}

impl<'a> Batch<'a> {
    /// Decodes a batch.
    ///
    /// # Errors
    /// [`Error`], where the bytes are no msgpack, or no batch. A malformed event is none: it is counted.
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

    /// How many events it has, without those that are malformed or of unknown kinds.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether it has no such event.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many bytes it has on the heap.
    pub fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Event<'_>>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.tokens.capacity() * size_of::<u32>()
            + self.extras.capacity() * size_of::<(u32, Extra<'_>)>()
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

    /// The msgpack is in order; the event may not be.
    fn event(&mut self, reader: &mut Reader<'a>) {
        let lengths = (self.hashes.len(), self.tokens.len(), self.extras.len());
        match Event::read(reader, self) {
            Ok(Some(event)) => self.events.push(event),
            Ok(None) => self.unknown.add(self.events.len()),
            Err(error) => {
                self.hashes.truncate(lengths.0);
                self.tokens.truncate(lengths.1);
                self.extras.truncate(lengths.2);
                self.error.get_or_insert(error);
                self.malformed.add(self.events.len());
            }
        }
    }
}
