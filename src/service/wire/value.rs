//! The values of events' fields: names, hashes, tokens, extra keys.

use std::ops::Range;

use super::columns::Extra;
use super::error::Error;
use super::read::{Kind, Reader};

/// Reads a name; an empty one is none.
pub(super) fn name<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Error> {
    reader.str().map(|name| (!name.is_empty()).then_some(name))
}

/// Reads a hash: an integer of any sign, or a digest, whose last eight bytes are the integer that the engine would have
/// sent.
pub(super) fn hash(reader: &mut Reader<'_>) -> Result<u64, Error> {
    if reader.kind()? != Kind::Bin {
        return reader.bits();
    }
    let at = reader.at();
    let digest = reader.bin()?.last_chunk();
    digest.copied().map(u64::from_be_bytes).ok_or(Error::Expected { at, expected: "a digest of at least 8 bytes" })
}

/// Reads a list of hashes.
pub(super) fn hashes(reader: &mut Reader<'_>, into: &mut Vec<u64>) -> Result<Range<usize>, Error> {
    let start = into.len();
    let length = reader.array()?;
    into.reserve(length);
    for _ in 0..length {
        into.push(hash(reader)?);
    }
    Ok(start..into.len())
}

/// Reads a list of tokens or of bigrams. Returns which of them it was.
pub(super) fn tokens(reader: &mut Reader<'_>, into: &mut Vec<u32>) -> Result<(Range<usize>, bool), Error> {
    let start = into.len();
    let length = reader.array()?;
    into.reserve(length + 1);
    if length > 0 && reader.kind()? == Kind::Array {
        bigrams(reader, length, into)?;
        return Ok((start..into.len(), true));
    }
    for _ in 0..length {
        into.push(reader.token()?);
    }
    Ok((start..into.len(), false))
}

/// Reads pairs of neighbouring tokens: each begins with the token that the one before ends with.
fn bigrams(reader: &mut Reader<'_>, length: usize, into: &mut Vec<u32>) -> Result<(), Error> {
    let mut last = None;
    for _ in 0..length {
        let at = reader.at();
        let pair = reader.array()? == 2;
        let (first, second) = if pair { (reader.token()?, reader.token()?) } else { (0, 0) };
        if !pair || last.is_some_and(|last| last != first) {
            return Err(Error::Expected { at, expected: "a pair that begins with the last token of the one before" });
        }
        into.push(first);
        last = Some(second);
    }
    into.extend(last);
    Ok(())
}

/// Reads a list of tokens for each block, those behind it, and returns the length that all these lists have.
pub(super) fn behind(reader: &mut Reader<'_>, into: &mut Vec<u32>) -> Result<(Range<usize>, usize), Error> {
    let start = into.len();
    let mut each = None;
    for _ in 0..reader.array()? {
        let at = reader.at();
        let length = reader.array()?;
        if *each.get_or_insert(length) != length {
            return Err(Error::Expected { at, expected: "equally many tokens behind every block" });
        }
        for _ in 0..length {
            into.push(reader.token()?);
        }
    }
    Ok((start..into.len(), each.unwrap_or(0)))
}

/// Reads one of a block's extra keys.
pub(super) fn extra_key<'a>(reader: &mut Reader<'a>) -> Result<Extra<'a>, Error> {
    match reader.kind()? {
        Kind::Str => reader.str().map(Extra::Name),
        Kind::Bin => reader.bin().map(Extra::Embedding),
        _ => {
            let at = reader.at();
            let elements = reader.array()?;
            if elements == 0 {
                return Err(Error::Expected { at, expected: "a multimodal object: identifier, offset" });
            }
            let object = reader.str()?;
            (1..elements).try_for_each(|_| reader.skip())?;
            Ok(Extra::Object(object))
        }
    }
}

/// Reads a multimodal object in the form of a map.
pub(super) fn object<'a>(reader: &mut Reader<'a>) -> Result<Extra<'a>, Error> {
    let at = reader.at();
    let mut hash = None;
    for _ in 0..reader.map()? {
        if reader.str()? == "hash" {
            hash = Some(reader.str()?);
        } else {
            reader.skip()?;
        }
    }
    hash.map(Extra::Object).ok_or(Error::Expected { at, expected: "a multimodal object with the key hash" })
}
