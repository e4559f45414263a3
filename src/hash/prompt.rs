//! The local hashes of a prompt that grows.

use super::BlockHasher;

/// The local hashes of a prompt that grows.
///
/// It hashes newly completed blocks only, and keeps only the tokens of the incomplete last one. However the tokens are cut
/// into pushes, the hashes are those of [`BlockHasher::hash`] over all of them.
///
/// ```
/// use kvleap::{BlockHasher, Prompt};
///
/// let mut prompt = Prompt::new(BlockHasher::new(4)?);
/// prompt.push(&[1, 2, 3, 4, 5, 6, 7]);
/// assert_eq!(prompt.hashes().len(), 1);
/// prompt.push(&[8]); // a generated token completes the second block
/// assert_eq!(prompt.hashes(), [14643705804678351452, 16777012769546811212]);
/// # Ok::<(), kvleap::hash::ZeroBlockSize>(())
/// ```
#[derive(Clone, Debug)]
pub struct Prompt {
    hasher: BlockHasher,
    hashes: Vec<u64>,
    /// Tokens from the last block boundary on, fewer than one window.
    tail: Vec<[u8; 4]>,
}

impl Prompt {
    /// Creates an empty prompt.
    pub fn new(hasher: BlockHasher) -> Self {
        Self { hasher, hashes: Vec::new(), tail: Vec::new() }
    }

    /// Appends tokens. Allocates only to grow.
    pub fn push(&mut self, mut tokens: &[u32]) {
        while !tokens.is_empty() {
            let (now, later) = tokens.split_at(tokens.len().min(self.hasher.window() - self.tail.len()));
            self.tail.extend(now.iter().map(|token| token.to_le_bytes()));
            if self.tail.len() == self.hasher.window() {
                self.hashes.push(self.hasher.digest(&self.tail, 0));
                self.tail.drain(..self.hasher.stride());
            }
            tokens = later;
        }
    }

    /// The local hashes of all full blocks: the query.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// The number of tokens so far, with the incomplete last block.
    pub fn tokens(&self) -> usize {
        self.hashes.len() * self.hasher.stride() + self.tail.len()
    }

    /// The hasher of its blocks.
    pub fn hasher(&self) -> BlockHasher {
        self.hasher
    }

    /// Forgets all tokens, and keeps the memory for the next prompt.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.tail.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;
    use proptest::prelude::*;

    fn range(tokens: u32) -> Vec<u32> {
        (0..tokens).collect()
    }

    #[test]
    fn a_cleared_prompt_starts_again() {
        let mut prompt = Prompt::new(BlockHasher::new(4).expect("a block size above 0").eagle(true));
        prompt.push(&range(7));
        prompt.clear();
        assert_eq!((prompt.tokens(), prompt.hashes().len()), (0, 0));
        prompt.push(&range(9));
        assert_eq!(prompt.hashes(), prompt.hasher().hash(&range(9)));
    }

    proptest! {
        #[test]
        fn a_prompt_hashes_as_at_once(
            block_size in 1_u32..80,
            eagle: bool,
            with_key: bool,
            pieces in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..100), 0..12),
        ) {
            let key = HashKey::new([7; 16]);
            let hasher = if with_key { BlockHasher::keyed(block_size, key) } else { BlockHasher::new(block_size) };
            let hasher = hasher.expect("a block size above 0").eagle(eagle);
            let mut prompt = Prompt::new(hasher);
            for piece in &pieces {
                prompt.push(piece);
            }
            let tokens = pieces.concat();
            prop_assert_eq!(prompt.hashes(), hasher.hash(&tokens));
            prop_assert_eq!(prompt.tokens(), tokens.len());
        }
    }
}
