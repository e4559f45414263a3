//! Tokens to block hashes.
//!
//! A prompt is cut into blocks of a fixed number of tokens; a short last block has no hash. A *local hash* names a
//! block's tokens alone, and queries are made of local hashes. The formulae are those of Dynamo's KV router, so both
//! can be fed by the same engines:
//!
//! ```text
//! local    = XXH3-64(tokens as u32 LE ‖ multimodal hashes, ascending, as u64 LE; seed)
//! seed     = 1337 + XXH3-64(lora; 0) + XXH3-64(namespace; 1)    wrapping, an empty name adds nothing
//! sequence = local of the first block, then XXH3-64(parent's sequence LE ‖ local LE; 1337)
//! ```
//!
//! Anybody can compute these hashes, and so can look for different tokens with equal hashes. With any hash of 64 bits that
//! takes about 2^32 steps; with XXH3 it takes none, if the tokens can be chosen freely. The index takes such blocks for the
//! same block. If this crate does all the hashing, because both events and queries carry tokens, a secret key prevents it
//! ([`BlockHasher::keyed`]):
//!
//! ```text
//! local    = SipHash-2-4(0 ‖ lora ‖ namespace ‖ number of multimodal hashes ‖ tokens as u32 LE
//!                        ‖ multimodal hashes, ascending; key)         numbers as u64 LE
//! lora     = SipHash-2-4(1 ‖ name; key), namespace = SipHash-2-4(2 ‖ name; key)    0 where the name is empty
//! ```

mod key;
mod prompt;

pub use key::{HashKey, InvalidHashKey};
pub use prompt::Prompt;

use std::{error, fmt};

use key::Name;
use twox_hash::XxHash3_64;

/// The seed of a block without adapter and namespace, and of every sequence hash.
const SEED: u64 = 1337;

/// Computes local hashes for a block size, an adapter, a namespace, and perhaps a secret key.
///
/// Two hashers that differ in the adapter (`LoRA`) or the namespace (a tenant, a salt) give the same tokens different
/// hashes, so neither finds the other's blocks. It is a few words large, and cheap to copy.
///
/// ```
/// use kvleap::BlockHasher;
///
/// let hasher = BlockHasher::new(4)?;
/// let hashes = hasher.hash(&[1, 2, 3, 4, 5, 6, 7, 8, 9]); // two blocks; the ninth token waits for three more
/// assert_eq!(hashes, [14643705804678351452, 16777012769546811212]);
/// assert_ne!(hasher.lora("my-lora").hash(&[1, 2, 3, 4]), hashes[..1]);
/// # Ok::<(), kvleap::hash::ZeroBlockSize>(())
/// ```
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHasher {
    key: Option<HashKey>,
    block_size: u32,
    lookahead: u32,
    lora: u64,
    namespace: u64,
}

impl BlockHasher {
    /// Creates a hasher for blocks of `block_size` tokens, without adapter or namespace.
    ///
    /// # Errors
    /// [`ZeroBlockSize`] when `block_size` is 0.
    pub fn new(block_size: u32) -> Result<Self, ZeroBlockSize> {
        if block_size == 0 {
            return Err(ZeroBlockSize);
        }
        Ok(Self { key: None, block_size, lookahead: 0, lora: 0, namespace: 0 })
    }

    /// Creates a hasher for blocks of `block_size` tokens whose hashes depend on a secret key. They differ from those of any other
    /// key, and from those of [`new`](Self::new). Somebody who does not know the key cannot prepare blocks with equal
    /// hashes, provided that `SipHash-2-4` is a pseudo-random function (Aumasson and Bernstein, "`SipHash`: a fast
    /// short-input PRF", 2012). Among *m* different blocks, the probability that any two have equal hashes is then at
    /// most *m*^2 / 2^65.
    ///
    /// Events and queries must be hashed with the same key, so this crate must hash both, and not an engine or another
    /// router. Two multimodal objects count as different if their 64-bit [`mm_hash`]es do.
    ///
    /// ```
    /// use kvleap::{BlockHasher, HashKey};
    ///
    /// let key: HashKey = "000102030405060708090a0b0c0d0e0f".parse()?; // draw yours at random, and keep it secret
    /// let hasher = BlockHasher::keyed(4, key)?;
    /// assert_ne!(hasher.hash(&[1, 2, 3, 4]), BlockHasher::new(4)?.hash(&[1, 2, 3, 4]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ZeroBlockSize`] when `block_size` is 0.
    pub fn keyed(block_size: u32, key: HashKey) -> Result<Self, ZeroBlockSize> {
        Ok(Self { key: Some(key), ..Self::new(block_size)? })
    }

    /// Whether its hashes depend on a secret key.
    pub fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// Sets the name of the adapter. Default empty, which means none.
    pub fn lora(self, name: &str) -> Self {
        let lora = match self.key {
            Some(key) => key.named(name, Name::Adapter),
            None => named(name, 0),
        };
        Self { lora, ..self }
    }

    /// Sets the name of the namespace. Default empty, which means none.
    pub fn namespace(self, name: &str) -> Self {
        self.namespace_hash(self.hash_of_namespace(name))
    }

    /// The hash of a namespace's name, as it enters the hashes of its blocks; 0 stands for no namespace.
    pub(crate) fn hash_of_namespace(&self, name: &str) -> u64 {
        match self.key {
            Some(key) => key.named(name, Name::Namespace),
            None => namespace_hash(name),
        }
    }

    /// Like [`namespace`](Self::namespace), but takes the [`hash_of_namespace`](Self::hash_of_namespace).
    pub(crate) fn namespace_hash(self, namespace: u64) -> Self {
        Self { namespace, ..self }
    }

    /// Sets how many tokens behind a block its hash also covers. Default 0. Engines that speculate cache with a block what
    /// they computed from the tokens behind it, so they can reuse the block only for a prompt that goes on with the same
    /// tokens.
    pub fn lookahead(self, tokens: u32) -> Self {
        Self { lookahead: tokens, ..self }
    }

    /// Sets whether the engine speculates with EAGLE. Default off. Its cache then holds bigrams, which is a
    /// [`lookahead`](Self::lookahead) of 1.
    pub fn eagle(self, on: bool) -> Self {
        self.lookahead(on.into())
    }

    /// The number of tokens per block; never 0.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Returns the local hash of one block. All of `tokens` go into it, whatever their number; with a
    /// [`lookahead`](Self::lookahead) they are more than the block size. Makes one allocation.
    pub fn hash_block(&self, tokens: &[u32]) -> u64 {
        self.hash_block_mm(tokens, &[])
    }

    /// Returns the local hash of one block into which images or other multimodal objects reach, with these hashes
    /// ([`mm_hash`]) in any order.
    pub fn hash_block_mm(&self, tokens: &[u32], mm_hashes: &[u64]) -> u64 {
        let mut words: Vec<_> = tokens.iter().map(|token| token.to_le_bytes()).collect();
        let mut objects = mm_hashes.to_vec();
        objects.sort_unstable();
        for hash in objects {
            words.extend_from_slice(hash.to_le_bytes().as_chunks().0);
        }
        self.digest(&words, mm_hashes.len())
    }

    /// Returns the local hashes of all full blocks of `tokens`.
    pub fn hash(&self, tokens: &[u32]) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(tokens.len() / self.stride());
        self.hash_into(tokens, &mut hashes);
        hashes
    }

    /// Appends the local hashes of all full blocks of `tokens`. Makes one allocation of a block's size.
    pub fn hash_into(&self, tokens: &[u32], hashes: &mut Vec<u64>) {
        let mut words = Vec::with_capacity(self.window().min(tokens.len()));
        hashes.extend(tokens.windows(self.window()).step_by(self.stride()).map(|block| {
            words.clear();
            words.extend(block.iter().map(|token| token.to_le_bytes()));
            self.digest(&words, 0)
        }));
    }

    /// The hash of `words`: tokens, and behind them the multimodal hashes of `objects` objects.
    fn digest(&self, words: &[[u8; 4]], objects: usize) -> u64 {
        if let Some(key) = self.key {
            return key.hash(&[0, self.lora, self.namespace, objects as u64], words.as_flattened());
        }
        let seed = SEED.wrapping_add(self.lora).wrapping_add(self.namespace);
        XxHash3_64::oneshot_with_seed(seed, words.as_flattened())
    }

    /// Tokens from one block to the next.
    fn stride(&self) -> usize {
        self.block_size as usize
    }

    /// Tokens that one hash covers.
    pub(crate) fn window(&self) -> usize {
        self.stride() + self.lookahead as usize
    }
}

/// The block size is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroBlockSize;

impl fmt::Display for ZeroBlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the block size is 0; pass the engine's block size, often 16 or 64")
    }
}

impl error::Error for ZeroBlockSize {}

/// Returns the hash of a multimodal object from the identifier that engines publish. For an identifier of 64 hexadecimal
/// digits (a SHA-256) it is the first 16 of them, for any other its XXH3-64 with seed 0.
pub fn mm_hash(identifier: &str) -> u64 {
    let sha256 = identifier.len() == 64 && identifier.bytes().all(|byte| byte.is_ascii_hexdigit());
    let leading = sha256.then(|| u64::from_str_radix(&identifier[..16], 16).ok()).flatten();
    leading.unwrap_or_else(|| XxHash3_64::oneshot(identifier.as_bytes()))
}

/// Returns the token that stands for a multimodal object in engines that replace placeholder tokens and do not append
/// [`mm_hash`]es: 1,000,000 + the low 30 bits of the hash.
pub fn mm_pad_token(mm_hash: u64) -> u32 {
    1_000_000 + (mm_hash & ((1 << 30) - 1)) as u32
}

/// Returns the sequence hash of a block, from that of its parent (`None` at the beginning of a sequence) and its local
/// hash.
///
/// The index never computes sequence hashes, because engines choose their own. This is for mock engines and tests.
pub fn sequence_hash(parent: Option<u64>, local: u64) -> u64 {
    parent.map_or(local, |parent| hash_pair(parent, local))
}

/// Returns the [`sequence_hash`] of every block of a sequence, from its local hashes.
///
/// ```
/// use kvleap::hash::{sequence_hash, sequence_hashes};
///
/// assert_eq!(sequence_hashes([7, 8]).collect::<Vec<_>>(), [7, sequence_hash(Some(7), 8)]);
/// ```
pub fn sequence_hashes(locals: impl IntoIterator<Item = u64>) -> impl Iterator<Item = u64> {
    locals.into_iter().scan(None, |parent, local| {
        *parent = Some(sequence_hash(*parent, local));
        *parent
    })
}

/// XXH3-64(a LE ‖ b LE; 1337).
pub(crate) fn hash_pair(a: u64, b: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(SEED, [a.to_le_bytes(), b.to_le_bytes()].as_flattened())
}

/// The [`BlockHasher::hash_of_namespace`] of a hasher without a key.
pub(crate) fn namespace_hash(name: &str) -> u64 {
    named(name, 1)
}

/// What a name adds to the seed.
fn named(name: &str, seed: u64) -> u64 {
    if name.is_empty() { 0 } else { XxHash3_64::oneshot_with_seed(seed, name.as_bytes()) }
}

#[cfg(test)]
#[allow(clippy::unreadable_literal, reason = "hashes, written as they are published elsewhere")]
mod tests {
    use super::*;
    use siphasher::sip::SipHasher24;

    fn hasher(block_size: u32) -> BlockHasher {
        BlockHasher::new(block_size).expect("a block size above 0")
    }

    fn range(tokens: u32) -> Vec<u32> {
        (0..tokens).collect()
    }

    #[test]
    fn known_hashes() {
        let eight = [1, 2, 3, 4, 5, 6, 7, 8];
        let plain = [14643705804678351452, 16777012769546811212];
        assert_eq!(hasher(4).hash(&eight), plain);
        assert_eq!(hasher(4).lora("").namespace("").hash(&eight), plain);
        assert_eq!(hasher(4).lora("my-lora").hash(&eight), [15671544057904749233, 7919241211032067838]);
        assert_eq!(hasher(4).namespace("tenant-a").hash(&eight), [5738685477468498325, 11202231085456067787]);
        let both = hasher(4).namespace("b").lora("a").namespace("tenant-a").lora("my-lora");
        assert_eq!(both.hash(&eight), [6157910915076630503, 3256431856703716508]);
        assert_eq!(hasher(2).eagle(true).hash(&[10, 11, 12, 13, 14]), [5959138341449004422, 13917772031453556700]);
        assert_eq!(hasher(4).hash(&[u32::MAX; 4]), [12410542959481710713]);
        assert_eq!(hasher(64).hash(&range(64)), [3480597578098033343]);
        assert_eq!(hasher(128).hash(&range(128)), [9509643624113304476]);
    }

    #[test]
    fn known_multimodal_hashes() {
        let [objects, swapped] = [[0xaaaa, 0xbbbb], [0xbbbb, 0xaaaa]];
        assert_eq!(hasher(4).hash_block_mm(&[5, 6, 7, 8], &objects), 3679992117707428780);
        assert_eq!(hasher(4).hash_block_mm(&[5, 6, 7, 8], &swapped), 3679992117707428780);
        assert_eq!(mm_hash("opaque-renderer-image-0"), 14437604544409538977);
        assert_eq!(mm_hash(&"0123456789abcdef".repeat(4)), 0x0123_4567_89ab_cdef);
        for opaque in ["+123456789abcdef".repeat(4), "a".repeat(63), "a".repeat(65)] {
            assert_eq!(mm_hash(&opaque), XxHash3_64::oneshot(opaque.as_bytes()), "{opaque}");
        }
        assert_eq!(mm_pad_token(9533257059414191570), 49115154);
    }

    #[test]
    fn known_sequence_hashes() {
        let locals = hasher(4).hash(&(1..=12).collect::<Vec<_>>());
        let sequence = [14643705804678351452, 4945711292740353085, 12583592247330656132];
        assert_eq!(sequence_hashes(locals).collect::<Vec<_>>(), sequence);
        assert_eq!(sequence_hashes([]).next(), None);
    }

    const KEY: [u8; 16] = [7; 16];

    fn keyed(block_size: u32) -> BlockHasher {
        BlockHasher::keyed(block_size, HashKey::new(KEY)).expect("a block size above 0")
    }

    #[test]
    fn keyed_hashes_are_the_formula() {
        let sip = |numbers: &[u64], bytes: &[u8]| {
            let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            SipHasher24::new_with_key(&KEY).hash(&[&numbers, bytes].concat())
        };
        let bytes = |tokens: &[u32]| tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(keyed(2).hash(&[1, 2, 3, 4, 5]), [1, 3].map(|t| sip(&[0, 0, 0, 0], &bytes(&[t, t + 1]))));
        let hasher = keyed(2).namespace("tenant-a").lora("my-lora").eagle(true);
        let names = [sip(&[1], b"my-lora"), sip(&[2], b"tenant-a")];
        assert_eq!(hasher.hash(&[1, 2, 3]), [sip(&[0, names[0], names[1], 0], &bytes(&[1, 2, 3]))]);
        let objects = [&bytes(&[7]), &5_u64.to_le_bytes()[..], &9_u64.to_le_bytes()].concat();
        assert_eq!(keyed(1).hash_block_mm(&[7], &[9, 5]), sip(&[0, 0, 0, 2], &objects));
        assert_eq!(keyed(1).lora("").namespace(""), keyed(1));
    }

    #[test]
    fn keyed_hashes_differ_in_whatever_blocks_differ_in() {
        let other = BlockHasher::keyed(4, HashKey::new([8; 16])).expect("a block size above 0");
        let all = [hasher(4), keyed(4), other, keyed(4).lora("a"), keyed(4).namespace("a"), keyed(4).eagle(true)];
        let tokens = range(5);
        let mut hashes: Vec<u64> = all.iter().map(|hasher| hasher.hash(&tokens)[0]).collect();
        // Two more tokens and a multimodal hash can have the same bytes.
        hashes.push(keyed(4).hash_block(&[0, 1, 2, 3, 4, 0]));
        hashes.push(keyed(4).hash_block_mm(&[0, 1, 2, 3], &[4]));
        hashes.push(keyed(4).hash_block_mm(&[0, 1, 2, 3, 4, 0], &[5]));
        hashes.push(keyed(4).hash_block_mm(&[0, 1, 2, 3], &[4, 5]));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
        assert_eq!([hasher(4).is_keyed(), keyed(4).is_keyed()], [false, true]);
    }

    /// XXH3 takes the exclusive or of each word and a public secret, and multiplies two of these. A word that is equal to
    /// its secret makes the product 0, whatever the other word is.
    #[test]
    fn prepared_blocks_are_equal_unless_there_is_a_key() {
        let cancelling = 0xbe4b_a423_396c_feb8 + SEED;
        let block = |other| [&[cancelling as u32, (cancelling >> 32) as u32, other, other][..], &[100; 12]].concat();
        assert_eq!(hasher(16).hash(&block(1)), hasher(16).hash(&block(2)));
        assert_ne!(keyed(16).hash(&block(1)), keyed(16).hash(&block(2)));
    }

    #[test]
    fn short_blocks_have_no_hash() {
        assert!(hasher(4).hash(&[]).is_empty());
        assert!(hasher(4).hash(&[1, 2, 3]).is_empty());
        assert!(hasher(u32::MAX).eagle(true).hash(&[1, 2, 3]).is_empty());
        assert!(hasher(4).eagle(true).hash(&[1, 2, 3, 4]).is_empty(), "the last token's bigram is incomplete");
        assert_eq!(BlockHasher::new(0), Err(ZeroBlockSize));
    }

    #[test]
    fn hash_into_appends() {
        let mut hashes = vec![7];
        hasher(4).hash_into(&[1, 2, 3, 4], &mut hashes);
        assert_eq!(hashes, [7, 14643705804678351452]);
    }
}
