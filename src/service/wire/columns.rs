//! The hashes, tokens and extra keys of a batch, in columns.

use std::mem::size_of;
use std::ops::Range;

/// The hashes, tokens and extra keys of all events of a batch, one after another, so that decoding allocates a few
/// times per batch and never per token. An event has the ranges that are its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Columns<'a> {
    pub(super) hashes: Vec<u64>,
    pub(super) tokens: Vec<u32>,
    /// Each with the number of its block within the event.
    pub(super) extras: Vec<(u32, Extra<'a>)>,
}

impl Columns<'_> {
    /// Returns how long the columns are, for [`Columns::truncate`].
    pub(super) fn lengths(&self) -> [usize; 3] {
        [self.hashes.len(), self.tokens.len(), self.extras.len()]
    }

    /// Shortens the columns to these lengths.
    pub(super) fn truncate(&mut self, [hashes, tokens, extras]: [usize; 3]) {
        self.hashes.truncate(hashes);
        self.tokens.truncate(tokens);
        self.extras.truncate(extras);
    }

    /// Returns how many bytes they take on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>()
            + self.tokens.capacity() * size_of::<u32>()
            + self.extras.capacity() * size_of::<(u32, Extra<'_>)>()
    }
}

/// A part of a block's identity other than its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::service) enum Extra<'a> {
    /// A name that may be an adapter, a cache salt or a multimodal object, depending on the version.
    Name(&'a str),
    /// A multimodal object.
    Object(&'a str),
    /// A digest of embeddings that were given in place of tokens.
    Embedding(&'a [u8]),
}

/// The range of an event's hashes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Hashes(pub(super) Range<usize>);

impl Hashes {
    pub(in crate::service) fn of<'b>(&self, columns: &'b Columns<'_>) -> &'b [u64] {
        &columns.hashes[self.0.clone()]
    }
}
