//! The secret key of block hashes.

use std::hash::Hasher as _;
use std::str::FromStr;
use std::{error, fmt};

use siphasher::sip::SipHasher24;

/// A secret key of 128 bits for [`BlockHasher::keyed`](crate::BlockHasher::keyed). Only those who have it can compute the
/// hashes.
///
/// It is made from its bytes, or parsed from 32 hexadecimal digits. Draw it at random: a key that can be guessed
/// protects nothing. Its `Debug` form does not contain the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

/// The kind of a name.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Adapter = 1,
    Namespace,
}

impl HashKey {
    /// Creates a key from its bytes, all of which should come from a source of randomness.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// The hash of an adapter's or a namespace's name; 0 if it is empty.
    pub(super) fn named(&self, name: &str, kind: Name) -> u64 {
        if name.is_empty() { 0 } else { self.hash(&[kind as u64], name.as_bytes()) }
    }

    /// The hash of these numbers and bytes.
    pub(super) fn hash(&self, numbers: &[u64], bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for number in numbers {
            hasher.write(&number.to_le_bytes());
        }
        hasher.write(bytes);
        hasher.finish()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl FromStr for HashKey {
    type Err = InvalidHashKey;

    fn from_str(text: &str) -> Result<Self, InvalidHashKey> {
        // `from_str_radix` would accept a sign as well.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        key.map(|key| Self(key.to_be_bytes())).ok_or(InvalidHashKey)
    }
}

/// A text is not a [`HashKey`]. The message does not repeat the text, which may be a mistyped secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHashKey;

impl fmt::Display for InvalidHashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key of the block hash must be 32 hexadecimal digits, as `openssl rand -hex 16` prints them")
    }
}

impl error::Error for InvalidHashKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HashKey {
        "000102030405060708090a0b0c0d0e0f".parse().expect("32 digits")
    }

    /// The example in appendix A of the paper.
    #[test]
    fn a_known_hash() {
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(key().hash(&[], &message), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn keys_are_32_digits_and_not_shown() {
        let bytes: [u8; 16] = std::array::from_fn(|i| i as u8);
        assert_eq!(key(), HashKey::new(bytes));
        assert_eq!("F".repeat(32).parse(), Ok(HashKey::new([255; 16])));
        for wrong in ["", "0", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))] {
            assert_eq!(wrong.parse::<HashKey>(), Err(InvalidHashKey), "{wrong}");
        }
        let shown = format!("{:?}", HashKey::new([0xab; 16]));
        assert!(!shown.contains("171") && !shown.contains("ab"), "{shown}");
    }
}
