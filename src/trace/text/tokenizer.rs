//! Tokenizers.

use std::fmt;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::trace::ToolError;

/// Cuts text into tokens.
#[non_exhaustive]
pub enum Tokenizer {
    /// Words between white space. Equal words are equal tokens, and different words are different tokens unless 64-bit
    /// hashes collide.
    Whitespace,
    /// The bytes of UTF-8.
    Bytes,
    /// A Hugging Face tokenizer. Special tokens are not added.
    HuggingFace(Box<tokenizers::Tokenizer>),
}

impl Tokenizer {
    /// Loads `whitespace`, `bytes`, or else the Hugging Face `tokenizer.json` at this path.
    ///
    /// # Errors
    /// [`ToolError::Tokenizer`] if the file cannot be read or is not a tokenizer.
    pub fn load(name: &Path) -> Result<Self, ToolError> {
        match name.to_str() {
            Some("whitespace") => Ok(Self::Whitespace),
            Some("bytes") => Ok(Self::Bytes),
            _ => match tokenizers::Tokenizer::from_file(name) {
                Ok(mut tokenizer) => {
                    // A file may configure equal lengths for a model's input, which would distort the prompts.
                    tokenizer.with_padding(None);
                    // It cannot fail without parameters.
                    let _ = tokenizer.with_truncation(None);
                    Ok(Self::HuggingFace(Box::new(tokenizer)))
                }
                Err(error) => Err(ToolError::Tokenizer { path: name.to_owned(), why: error.to_string() }),
            },
        }
    }

    /// Appends the tokens of `text`.
    ///
    /// # Errors
    /// The message of a Hugging Face tokenizer that cannot handle the text.
    pub fn tokens(&self, text: &str, tokens: &mut Vec<u64>) -> Result<(), String> {
        match self {
            Self::Whitespace => {
                tokens.extend(text.split_whitespace().map(|word| XxHash3_64::oneshot(word.as_bytes())));
            }
            Self::Bytes => tokens.extend(text.bytes().map(u64::from)),
            Self::HuggingFace(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).map_err(|error| error.to_string())?;
                tokens.extend(encoding.get_ids().iter().copied().map(u64::from));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whitespace => "Whitespace",
            Self::Bytes => "Bytes",
            Self::HuggingFace(_) => "HuggingFace",
        })
    }
}
