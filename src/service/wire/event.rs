//! Events: blocks stored, blocks removed, all blocks cleared.

use std::ops::Range;

use super::columns::{Columns, Extra, Hashes};
use super::error::Error;
use super::read::{Kind, Reader};
use super::value::{behind, extra_key, hash, hashes, name, object, tokens};

/// An event of an engine.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::service) enum Event<'a> {
    Stored(Stored<'a>),
    Removed { hashes: Hashes, location: Location<'a> },
    Cleared,
}

/// Blocks of one sequence that were stored, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::service) struct Stored<'a> {
    pub(in crate::service) hashes: Hashes,
    pub(in crate::service) parent: Option<u64>,
    tokens: Range<usize>,
    /// Whether the tokens were given as pairs of neighbours. The first token of each pair is kept, and the second of
    /// the last.
    pub(in crate::service) bigrams: bool,
    /// The tokens behind each block that its hash covers, block by block, and how many each block has.
    behind: Option<(Range<usize>, usize)>,
    pub(in crate::service) block_size: u64,
    pub(in crate::service) lora_id: bool,
    pub(in crate::service) lora_name: Option<&'a str>,
    pub(in crate::service) salt: Option<&'a str>,
    extras: Range<usize>,
    /// Whether it is in the form of releases in which multimodal objects are bare names among the extra keys.
    pub(in crate::service) may_have_bare_objects: bool,
    pub(in crate::service) kind: Option<&'a str>,
    pub(in crate::service) location: Location<'a>,
}

/// Which of the engine's caches an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::service) struct Location<'a> {
    pub(in crate::service) medium: Option<&'a str>,
    pub(in crate::service) group: Option<u64>,
    pub(in crate::service) locality: Option<&'a str>,
    pub(in crate::service) ownership: Option<&'a str>,
}

impl<'a> Stored<'a> {
    pub(in crate::service) fn tokens<'b>(&self, columns: &'b Columns<'_>) -> &'b [u32] {
        &columns.tokens[self.tokens.clone()]
    }

    /// Returns the tokens behind each block that its hash covers, block by block, and how many each block has, at least
    /// 1.
    pub(in crate::service) fn behind<'b>(&self, columns: &'b Columns<'_>) -> Option<(&'b [u32], usize)> {
        let (range, each) = self.behind.clone()?;
        (each > 0).then(|| (&columns.tokens[range], each))
    }

    /// Returns the extra keys, each with the number of its block, ascending.
    pub(in crate::service) fn extras<'b>(&self, columns: &'b Columns<'a>) -> &'b [(u32, Extra<'a>)] {
        &columns.extras[self.extras.clone()]
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

/// Arrays with fewer fields than this may have bare names of multimodal objects: vLLM 0.17 and 0.18 wrote them. 0.19
/// wrote pairs into arrays of the same length; later releases have more fields, or maps.
const BARE_OBJECTS: usize = 9;

/// The fields of an event in array form, behind the tag.
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
    /// Reads an event, whose hashes, tokens and extra keys go to `columns`. Returns `None` if its kind is unknown.
    pub(super) fn read(reader: &mut Reader<'a>, columns: &mut Columns<'a>) -> Result<Option<Self>, Error> {
        match reader.kind()? {
            Kind::Map => Self::read_map(reader, columns),
            // One connector packs its events twice.
            Kind::Bin => {
                let mut inner = Reader::new(reader.bin()?);
                match inner.kind()? {
                    Kind::Map => Self::read_map(&mut inner, columns),
                    _ => Self::read_array(&mut inner, columns),
                }
            }
            _ => Self::read_array(reader, columns),
        }
    }

    fn read_array(reader: &mut Reader<'a>, columns: &mut Columns<'a>) -> Result<Option<Self>, Error> {
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
            found.field(field, reader, columns)?;
        }
        found.event(tag, at, seen)
    }

    fn read_map(reader: &mut Reader<'a>, columns: &mut Columns<'a>) -> Result<Option<Self>, Error> {
        let at = reader.at();
        let pairs = reader.map()?;
        // The tag may come last, so it is looked for first: an event of an unknown kind may have any values.
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
                found.field(field, reader, columns)?;
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
            "BlockRemoved" => Ok(Some(Event::Removed { hashes: self.hashes, location: self.location })),
            _ => Ok(None),
        }
    }

    fn field(&mut self, field: Field, reader: &mut Reader<'a>, columns: &mut Columns<'a>) -> Result<(), Error> {
        if field == Field::Other {
            return reader.skip();
        }
        if field != Field::Hashes && reader.nil()? {
            return Ok(());
        }
        match field {
            Field::Hashes => self.hashes = Hashes(hashes(reader, &mut columns.hashes)?),
            Field::Parent => self.parent = Some(hash(reader)?),
            Field::Tokens => (self.tokens, self.bigrams) = tokens(reader, &mut columns.tokens)?,
            Field::BlockSize => self.block_size = reader.unsigned()?,
            Field::LoraId => {
                reader.skip()?;
                self.lora_id = true;
            }
            Field::Medium => self.location.medium = name(reader)?,
            // One version has a map with the salt here.
            Field::LoraName if reader.kind()? == Kind::Map => {
                for _ in 0..reader.map()? {
                    let field = if reader.str()? == "cache_salt" { Field::Salt } else { Field::Other };
                    self.field(field, reader, columns)?;
                }
            }
            Field::LoraName => self.lora_name = name(reader)?,
            Field::ExtraKeys => self.read_extras(reader, &mut columns.extras, extra_key)?,
            Field::Group => self.location.group = Some(reader.unsigned()?),
            Field::SpecKind => self.kind = name(reader)?,
            Field::Salt => self.salt = name(reader)?,
            Field::Objects => self.read_extras(reader, &mut columns.extras, object)?,
            Field::Behind => self.behind = Some(behind(reader, &mut columns.tokens)?),
            Field::Locality => self.location.locality = Some(reader.str()?),
            Field::Ownership => self.location.ownership = Some(reader.str()?),
            Field::Other => unreachable!("skipped above"),
        }
        Ok(())
    }

    /// Reads a list of extra keys for each block, or nil.
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
