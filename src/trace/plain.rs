//! A fast parser for rows that are written in the usual way.

use super::Row;

/// Reads a row that has only the five known fields, each at most once, integers written in digits only, and a session
/// without escapes. Returns `false` for any other line, malformed or not, which is left to serde; the content of `row`
/// is then unspecified.
pub(super) fn read(line: &[u8], row: &mut Row) -> bool {
    row.session_id = None;
    Plain { line, at: 0 }.row(row).is_some()
}

struct Plain<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Plain<'a> {
    fn row(mut self, row: &mut Row) -> Option<()> {
        let (mut timestamp, mut input, mut output, mut ids, mut session) = (false, false, false, false, false);
        self.expect(b'{')?;
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            let again = match key {
                b"timestamp" => {
                    row.timestamp = self.integer()?;
                    &mut timestamp
                }
                b"input_length" => {
                    row.input_length = self.integer()?.try_into().ok()?;
                    &mut input
                }
                b"output_length" => {
                    row.output_length = self.integer()?.try_into().ok()?;
                    &mut output
                }
                b"hash_ids" => {
                    self.integers(&mut row.hash_ids)?;
                    &mut ids
                }
                b"session_id" => {
                    row.session_id = Some(str::from_utf8(self.string()?).ok()?.to_owned());
                    &mut session
                }
                _ => return None,
            };
            if *again {
                return None;
            }
            *again = true;
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        self.space();
        (self.at == self.line.len() && timestamp && input && output && ids).then_some(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r') = self.line.get(self.at) {
            self.at += 1;
        }
    }

    /// Takes the next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = *self.line.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// Takes a string without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = &self.line[self.at..];
        let end = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        self.at += end + 1;
        (rest[end] == b'"').then(|| &rest[..end])
    }

    fn integer(&mut self) -> Option<u64> {
        self.space();
        let start = self.at;
        let mut value = 0_u64;
        while let Some(digit) = self.line.get(self.at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            value = value.wrapping_mul(10).wrapping_add(digit.into());
            self.at += 1;
        }
        // Nineteen digits never overflow; more may, and are left to serde. JSON has no leading zeros.
        let digits = self.at - start;
        ((1..20).contains(&digits) && (self.line[start] != b'0' || digits == 1)).then_some(value)
    }

    fn integers(&mut self, list: &mut Vec<u64>) -> Option<()> {
        list.clear();
        self.expect(b'[')?;
        self.space();
        if self.line.get(self.at) == Some(&b']') {
            self.at += 1;
            return Some(());
        }
        loop {
            list.push(self.integer()?);
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }
}
