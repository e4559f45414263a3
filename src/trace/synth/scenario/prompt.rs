//! Prompts as pieces of texts, and their block ids.

use crate::trace::blocks::{BlockIds, Chain, chain};

/// The first `tokens` tokens of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Texts with the same number have the same tokens.
    pub(super) text: u64,
    pub(super) tokens: u32,
}

/// Assigns block ids to prompts: two blocks have the same id if all tokens up to their ends are equal.
#[derive(Debug)]
pub(super) struct Prompts {
    block_size: u32,
    ids: BlockIds,
    scratch: Vec<u8>,
}

impl Prompts {
    pub(super) fn new(block_size: u32) -> Self {
        Self { block_size, ids: BlockIds::default(), scratch: Vec::new() }
    }

    /// Returns the ids of a prompt, including that of a partial last block.
    pub(super) fn ids(&mut self, pieces: &[Piece]) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut prefix: Chain = 0;
        // The content of the block so far: for each piece of a text, the text, and where the piece starts and ends.
        let mut block: Vec<u64> = Vec::new();
        let mut room = self.block_size;
        for piece in pieces {
            let mut from = 0;
            while from < piece.tokens {
                let part = room.min(piece.tokens - from);
                block.extend([piece.text, from.into(), (from + part).into()]);
                from += part;
                room -= part;
                if room == 0 {
                    prefix = chain(prefix, block.drain(..), &mut self.scratch);
                    ids.push(self.ids.id(prefix));
                    room = self.block_size;
                }
            }
        }
        if !block.is_empty() {
            ids.push(self.ids.id(chain(prefix, block, &mut self.scratch)));
        }
        ids
    }
}

pub(super) fn length(pieces: &[Piece]) -> u32 {
    pieces.iter().map(|piece| piece.tokens).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prefixes_have_equal_ids() {
        let mut prompts = Prompts::new(4);
        let piece = |text, tokens| Piece { text, tokens };
        assert_eq!(prompts.ids(&[piece(1, 6), piece(2, 3)]), [0, 1, 2]);
        assert_eq!(prompts.ids(&[piece(1, 6), piece(2, 6)]), [0, 1, 3], "the last block was not full");
        assert_eq!(prompts.ids(&[piece(1, 6), piece(3, 2)]), [0, 4]);
        assert_eq!(prompts.ids(&[piece(1, 5), piece(2, 3)]), [0, 5], "another cut");
        assert_eq!(prompts.ids(&[piece(2, 4), piece(1, 4)]), [6, 7], "the same text under another prefix");
        assert_eq!(prompts.ids(&[piece(9, 0)]), [0; 0]);
    }
}
