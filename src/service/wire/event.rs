//! Events: blocks stored, removed, cleared.

use std::ops::Range;

use super::Error;
use super::batch::Batch;
use super::read::{Kind, Reader};
use super::value::{behind, extra_key, hash, hashes, name, object, tokens};

/// What an engine says.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::service) enum Event<'a> {
    Stored(Stored<'a>),
    Removed { hashes: Hashes, place: Location<'a> },
    Cleared,
}

/// Blocks of one sequence, one after another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Stored<'a> {
    pub(in crate::service) hashes: Hashes,
    pub(in crate::service) parent: Option<u64>,
    tokens: Range<usize>,
    /// Tokens are pairs, each with the one that follows; they are kept as the firsts and the last second.
    pub(in crate::service) bigrams: bool,
    /// Tokens behind each block that its hash covers, block by block, and how many for each.
    behind: Option<(Range<usize>, usize)>,
    pub(in crate::service) block_size: u64,
    pub(in crate::service) lora_id: bool,
    pub(in crate::service) lora_name: Option<&'a str>,
    pub(in crate::service) salt: Option<&'a str>,
    extras: Range<usize>,
    /// Whether it is of the form of releases whose multimodal objects are bare names among the extra keys.
    pub(in crate::service) may_have_bare_objects: bool,
    pub(in crate::service) kind: Option<&'a str>,
    pub(in crate::service) place: Location<'a>,
}

/// Which of an engine's caches it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::service) struct Location<'a> {
    pub(in crate::service) medium: Option<&'a str>,
    pub(in crate::service) group: Option<u64>,
    pub(in crate::service) locality: Option<&'a str>,
    pub(in crate::service) ownership: Option<&'a str>,
}

/// What a block's identity has beside its tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::service) enum Extra<'a> {
    /// A name whose meaning depends on the version: adapter, cache salt or multimodal object.
    Name(&'a str),
    /// A multimodal object.
    Object(&'a str),
    /// A digest of embeddings that were given in place of tokens.
    Embedding(&'a [u8]),
}

/// Where in a batch an event's hashes are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Hashes(Range<usize>);

impl Hashes {
    pub(in crate::service) fn of<'b>(&self, batch: &'b Batch<'_>) -> &'b [u64] {
        &batch.hashes[self.0.clone()]
    }
}

impl<'a> Stored<'a> {
    pub(in crate::service) fn tokens<'b>(&self, batch: &'b Batch<'_>) -> &'b [u32] {
        &batch.tokens[self.tokens.clone()]
    }

    /// Tokens behind each block that its hash covers, block by block, and how many for each: 1 or more.
    pub(in crate::service) fn behind<'b>(&self, batch: &'b Batch<'_>) -> Option<(&'b [u32], usize)> {
        let (range, each) = self.behind.clone()?;
        (each > 0).then(|| (&batch.tokens[range], each))
    }

    /// By block, ascending.
    pub(in crate::service) fn extras<'b>(&self, batch: &'b Batch<'a>) -> &'b [(u32, Extra<'a>)] {
        &batch.extras[self.extras.clone()]
    }
}

/// A field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Field {
    Hashes,
    Parent,
    Tokens,
    BlockSize,
    LoraId,
    Medium,
    LoraName,
    ExtraKeys,
    Group,
    SpecKind,
    Salt,
    Objects,
    Behind,
    Locality,
    Ownership,
    Other,
}

/// Arrays of so many elements may have bare names of multimodal objects: vLLM 0.17 and 0.18 wrote them. Its 0.19 wrote
/// pairs into arrays as long, and all that came later has more elements, or is a map.
const BARE_OBJECTS: usize = 9;

/// In array form, behind the tag.
const STORED: [Field; 10] = [
    Field::Hashes,
    Field::Parent,
    Field::Tokens,
    Field::BlockSize,
    Field::LoraId,
    Field::Medium,
    Field::LoraName,
    Field::ExtraKeys,
    Field::Group,
    Field::SpecKind,
];
const REMOVED: [Field; 3] = [Field::Hashes, Field::Medium, Field::Group];

impl Field {
    fn named(name: &str) -> Self {
        match name {
            "block_hashes" => Self::Hashes,
            "parent_block_hash" => Self::Parent,
            "token_ids" => Self::Tokens,
            "block_size" => Self::BlockSize,
            "lora_id" => Self::LoraId,
            "medium" => Self::Medium,
            "lora_name" => Self::LoraName,
            "extra_keys" => Self::ExtraKeys,
            "group_idx" => Self::Group,
            "kv_cache_spec_kind" => Self::SpecKind,
            "cache_salt" => Self::Salt,
            "mm_keys" => Self::Objects,
            "lookahead_token_ids" => Self::Behind,
            "locality" => Self::Locality,
            "ownership" => Self::Ownership,
            _ => Self::Other,
        }
    }
}

impl<'a> Event<'a> {
    /// Reads an event, unless its kind is unknown; what it consists of goes to `batch`.
    pub(super) fn read(reader: &mut Reader<'a>, batch: &mut Batch<'a>) -> Result<Option<Self>, Error> {
        match reader.kind()? {
            Kind::Map => Self::read_map(reader, batch),
            // Packed twice, as one connector has it.
            Kind::Bin => {
                let mut inner = Reader::new(reader.bin()?);
                match inner.kind()? {
                    Kind::Map => Self::read_map(&mut inner, batch),
                    _ => Self::read_array(&mut inner, batch),
                }
            }
            _ => Self::read_array(reader, batch),
        }
    }

    fn read_array(reader: &mut Reader<'a>, batch: &mut Batch<'a>) -> Result<Option<Self>, Error> {
        let at = reader.at();
        let Some(elements) = reader.array()?.checked_sub(1) else {
            return Err(Error::Expected { at, expected: "an event that begins with its tag" });
        };
        let tag = reader.str()?;
        let fields: &[Field] = match tag {
            "BlockStored" => &STORED,
            "BlockRemoved" => &REMOVED,
            _ => &[],
        };
        let mut found = Stored { may_have_bare_objects: elements < BARE_OBJECTS, ..Stored::default() };
        let mut seen = false;
        for &field in fields.iter().take(elements) {
            seen |= field == Field::Hashes;
            found.field(field, reader, batch)?;
        }
        found.event(tag, at, seen)
    }

    fn read_map(reader: &mut Reader<'a>, batch: &mut Batch<'a>) -> Result<Option<Self>, Error> {
        let at = reader.at();
        let pairs = reader.map()?;
        // The tag may come last, and what other events have under the same keys is nobody's business.
        let mut ahead = *reader;
        let mut tag = None;
        for _ in 0..pairs {
            if ahead.str()? == "type" {
                tag = Some(ahead.str()?);
                break;
            }
            ahead.skip()?;
        }
        let Some(tag) = tag else { return Err(Error::Expected { at, expected: "an event with the key type" }) };
        let mut found = Stored::default();
        let mut seen = false;
        if matches!(tag, "BlockStored" | "BlockRemoved") {
            for _ in 0..pairs {
                let field = Field::named(reader.str()?);
                if field == Field::Hashes && std::mem::replace(&mut seen, true) {
                    return Err(Error::Expected { at, expected: "an event with one list of hashes" });
                }
                found.field(field, reader, batch)?;
            }
        }
        found.event(tag, at, seen)
    }
}

impl<'a> Stored<'a> {
    fn event(self, tag: &str, at: usize, has_hashes: bool) -> Result<Option<Event<'a>>, Error> {
        match tag {
            "AllBlocksCleared" => Ok(Some(Event::Cleared)),
            "BlockStored" | "BlockRemoved" if !has_hashes => {
                Err(Error::Expected { at, expected: "an event with block_hashes" })
            }
            "BlockStored" => Ok(Some(Event::Stored(self))),
            "BlockRemoved" => Ok(Some(Event::Removed { hashes: self.hashes, place: self.place })),
            _ => Ok(None),
        }
    }

    fn field(&mut self, field: Field, reader: &mut Reader<'a>, batch: &mut Batch<'a>) -> Result<(), Error> {
        if field == Field::Other {
            return reader.skip();
        }
        if field != Field::Hashes && reader.nil()? {
            return Ok(());
        }
        match field {
            Field::Hashes => self.hashes = Hashes(hashes(reader, &mut batch.hashes)?),
            Field::Parent => self.parent = Some(hash(reader)?),
            Field::Tokens => (self.tokens, self.bigrams) = tokens(reader, &mut batch.tokens)?,
            Field::BlockSize => self.block_size = reader.unsigned()?,
            Field::LoraId => {
                reader.skip()?;
                self.lora_id = true;
            }
            Field::Medium => self.place.medium = name(reader)?,
            // One version has its salt here, in a map.
            Field::LoraName if reader.kind()? == Kind::Map => {
                for _ in 0..reader.map()? {
                    let field = if reader.str()? == "cache_salt" { Field::Salt } else { Field::Other };
                    self.field(field, reader, batch)?;
                }
            }
            Field::LoraName => self.lora_name = name(reader)?,
            Field::ExtraKeys => self.read_extras(reader, &mut batch.extras, extra_key)?,
            Field::Group => self.place.group = Some(reader.unsigned()?),
            Field::SpecKind => self.kind = name(reader)?,
            Field::Salt => self.salt = name(reader)?,
            Field::Objects => self.read_extras(reader, &mut batch.extras, object)?,
            Field::Behind => self.behind = Some(behind(reader, &mut batch.tokens)?),
            Field::Locality => self.place.locality = Some(reader.str()?),
            Field::Ownership => self.place.ownership = Some(reader.str()?),
            Field::Other => unreachable!("passed over above"),
        }
        Ok(())
    }

    /// A list for each block, or nil.
    fn read_extras(
        &mut self,
        reader: &mut Reader<'a>,
        extras: &mut Vec<(u32, Extra<'a>)>,
        read: fn(&mut Reader<'a>) -> Result<Extra<'a>, Error>,
    ) -> Result<(), Error> {
        let start = extras.len();
        if !self.extras.is_empty() {
            return Err(Error::Expected { at: reader.at(), expected: "an event with extra keys in one field" });
        }
        for block in 0..reader.array()? as u32 {
            if !reader.nil()? {
                for _ in 0..reader.array()? {
                    extras.push((block, read(reader)?));
                }
            }
        }
        self.extras = start..extras.len();
        Ok(())
    }
}
