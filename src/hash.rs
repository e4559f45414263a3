//! Tokens to local block hashes.

/// Hashes token blocks.
#[derive(Clone, Debug)]
pub struct BlockHasher;
/// A prompt as local hashes.
#[derive(Clone, Debug)]
pub struct Prompt;
