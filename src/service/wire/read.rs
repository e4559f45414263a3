//! A cursor over msgpack. It borrows values one after another, and trusts none of them.

use rmp::Marker;

use super::error::Error;

/// Reads values from a buffer. After an error, the cursor is at the beginning of the offending value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The kind of the next value, as far as a decoder has to know it before it reads the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nil,
    Bool,
    Int,
    Float,
    Str,
    Bin,
    Array,
    Map,
    Other,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn marker(&self) -> Result<Marker, Error> {
        self.bytes.get(self.at).map(|&byte| Marker::from_u8(byte)).ok_or(Error::Truncated { at: self.at })
    }

    pub(super) fn kind(&self) -> Result<Kind, Error> {
        Ok(match self.marker()? {
            Marker::Null => Kind::Nil,
            Marker::True | Marker::False => Kind::Bool,
            Marker::F32 | Marker::F64 => Kind::Float,
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => Kind::Str,
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Kind::Bin,
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => Kind::Array,
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => Kind::Map,
            Marker::Reserved
            | Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => Kind::Other,
            _ => Kind::Int,
        })
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, Error> {
        Err(Error::Expected { at: self.at, expected })
    }

    /// Returns `N` bytes at this distance from the cursor.
    fn bytes<const N: usize>(&self, ahead: usize) -> Result<[u8; N], Error> {
        let bytes = self.bytes.get(self.at + ahead..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or(Error::Truncated { at: self.at })
    }

    /// Returns the big-endian number of `width` bytes behind the marker.
    fn number(&self, width: usize) -> Result<u64, Error> {
        Ok(match width {
            1 => u64::from(u8::from_be_bytes(self.bytes(1)?)),
            2 => u64::from(u16::from_be_bytes(self.bytes(1)?)),
            4 => u64::from(u32::from_be_bytes(self.bytes(1)?)),
            _ => u64::from_be_bytes(self.bytes(1)?),
        })
    }

    /// Reads an integer of any width. A negative one is returned as the unsigned number with the same bits.
    pub(super) fn bits(&mut self) -> Result<u64, Error> {
        let (value, width) = match self.marker()? {
            Marker::FixPos(value) => (u64::from(value), 0),
            Marker::FixNeg(value) => (i64::from(value).cast_unsigned(), 0),
            Marker::U8 => (self.number(1)?, 1),
            Marker::U16 => (self.number(2)?, 2),
            Marker::U32 => (self.number(4)?, 4),
            Marker::U64 | Marker::I64 => (self.number(8)?, 8),
            Marker::I8 => (i64::from(i8::from_be_bytes(self.bytes(1)?)).cast_unsigned(), 1),
            Marker::I16 => (i64::from(i16::from_be_bytes(self.bytes(1)?)).cast_unsigned(), 2),
            Marker::I32 => (i64::from(i32::from_be_bytes(self.bytes(1)?)).cast_unsigned(), 4),
            _ => return self.expected("an integer"),
        };
        self.at += 1 + width;
        Ok(value)
    }

    /// Reads an integer that is not negative.
    pub(super) fn unsigned(&mut self) -> Result<u64, Error> {
        let mut ahead = *self;
        let signed = matches!(self.marker()?, Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64);
        let value = ahead.bits()?;
        if signed && value.cast_signed() < 0 {
            return self.expected("an integer of at least 0");
        }
        *self = ahead;
        Ok(value)
    }

    /// Reads a token. The most common markers are tried first, because a batch has thousands of tokens.
    #[inline]
    pub(super) fn token(&mut self) -> Result<u32, Error> {
        let (value, width) = match self.bytes.get(self.at) {
            Some(&byte @ 0..=0x7f) => (u32::from(byte), 1),
            Some(0xcd) => (u32::from(u16::from_be_bytes(self.bytes(1)?)), 3),
            Some(0xce) => (u32::from_be_bytes(self.bytes(1)?), 5),
            _ => {
                let mut ahead = *self;
                let Ok(value) = u32::try_from(ahead.unsigned()?) else { return self.expected("a token below 2^32") };
                *self = ahead;
                return Ok(value);
            }
        };
        self.at += width;
        Ok(value)
    }

    /// Reads a number of any type as a float.
    pub(super) fn float(&mut self) -> Result<f64, Error> {
        let (value, width) = match self.marker()? {
            Marker::F64 => (f64::from_be_bytes(self.bytes(1)?), 8),
            Marker::F32 => (f64::from(f32::from_be_bytes(self.bytes(1)?)), 4),
            _ if self.kind()? == Kind::Int => return Ok(self.bits()?.cast_signed() as f64),
            _ => return self.expected("a number"),
        };
        self.at += 1 + width;
        Ok(value)
    }

    /// Reads a string or bytes, behind a header of this many bytes.
    fn blob(&mut self, header: usize, length: u64) -> Result<&'a [u8], Error> {
        let start = self.at + header;
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let blob = end.and_then(|end| self.bytes.get(start..end)).ok_or(Error::Truncated { at: self.at })?;
        self.at = start + blob.len();
        Ok(blob)
    }

    pub(super) fn str(&mut self) -> Result<&'a str, Error> {
        let at = self.at;
        let blob = match self.marker()? {
            Marker::FixStr(length) => self.blob(1, length.into())?,
            Marker::Str8 => self.blob(2, self.number(1)?)?,
            Marker::Str16 => self.blob(3, self.number(2)?)?,
            Marker::Str32 => self.blob(5, self.number(4)?)?,
            _ => return self.expected("a string"),
        };
        std::str::from_utf8(blob).map_err(|_| {
            self.at = at;
            Error::Expected { at, expected: "a string in UTF-8" }
        })
    }

    pub(super) fn bin(&mut self) -> Result<&'a [u8], Error> {
        match self.marker()? {
            Marker::Bin8 => self.blob(2, self.number(1)?),
            Marker::Bin16 => self.blob(3, self.number(2)?),
            Marker::Bin32 => self.blob(5, self.number(4)?),
            _ => self.expected("bytes"),
        }
    }

    /// Reads the header of an array and returns its length. Each element takes at least a byte, so an array that is
    /// longer than the rest of the buffer is refused. Callers can therefore allocate room for its elements.
    pub(super) fn array(&mut self) -> Result<usize, Error> {
        let (length, width) = match self.marker()? {
            Marker::FixArray(length) => (u64::from(length), 0),
            Marker::Array16 => (self.number(2)?, 2),
            Marker::Array32 => (self.number(4)?, 4),
            _ => return self.expected("an array"),
        };
        self.elements(length, 1, width)
    }

    /// Reads the header of a map and returns its number of pairs, bounded likewise.
    pub(super) fn map(&mut self) -> Result<usize, Error> {
        let (length, width) = match self.marker()? {
            Marker::FixMap(length) => (u64::from(length), 0),
            Marker::Map16 => (self.number(2)?, 2),
            Marker::Map32 => (self.number(4)?, 4),
            _ => return self.expected("a map"),
        };
        self.elements(length, 2, width)
    }

    fn elements(&mut self, length: u64, bytes_each: u64, width: usize) -> Result<usize, Error> {
        if length.saturating_mul(bytes_each) > (self.left() - 1 - width) as u64 {
            return Err(Error::Truncated { at: self.at });
        }
        self.at += 1 + width;
        Ok(length as usize)
    }

    /// Reads nil, if that is next. Returns whether it was.
    pub(super) fn nil(&mut self) -> Result<bool, Error> {
        let nil = self.kind()? == Kind::Nil;
        self.at += usize::from(nil);
        Ok(nil)
    }

    /// Skips a value, whatever it is and however deeply nested: in a loop, because recursion could overflow the stack.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            match self.kind()? {
                Kind::Nil | Kind::Bool => self.at += 1,
                Kind::Int => drop(self.bits()?),
                Kind::Float => drop(self.float()?),
                Kind::Bin => drop(self.bin()?),
                Kind::Array => left += self.array()?,
                Kind::Map => left += 2 * self.map()?,
                Kind::Str | Kind::Other => drop(self.opaque()?),
            }
        }
        Ok(())
    }

    /// Skips a string, whose bytes need not be valid UTF-8 then, or an extension.
    fn opaque(&mut self) -> Result<&'a [u8], Error> {
        match self.marker()? {
            Marker::FixStr(length) => self.blob(1, length.into()),
            Marker::Str8 => self.blob(2, self.number(1)?),
            Marker::Str16 => self.blob(3, self.number(2)?),
            Marker::Str32 => self.blob(5, self.number(4)?),
            Marker::FixExt1 => self.blob(2, 1),
            Marker::FixExt2 => self.blob(2, 2),
            Marker::FixExt4 => self.blob(2, 4),
            Marker::FixExt8 => self.blob(2, 8),
            Marker::FixExt16 => self.blob(2, 16),
            Marker::Ext8 => self.blob(3, self.number(1)?),
            Marker::Ext16 => self.blob(4, self.number(2)?),
            Marker::Ext32 => self.blob(6, self.number(4)?),
            _ => self.expected("a msgpack value"),
        }
    }
}
