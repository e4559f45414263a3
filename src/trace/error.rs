//! Where and why a trace cannot be used.

use std::path::PathBuf;
use std::{error, fmt, io};

use thiserror::Error;

use super::MAX_LINE;
use super::compression::Compression;
use super::expand::ExpandError;
use super::fitting::FittingSizes;

/// Where and why a trace could not be read. Printed as `file:line:column: reason: what to do`.
#[derive(Debug, Error)]
#[error("{}: {reason}", place(self))]
pub struct TraceError {
    /// The name of the file, or the name that the reader was given.
    pub name: String,
    /// The line, from 1; `None` when the whole file is meant.
    pub line: Option<u64>,
    /// The byte of the line, from 1, where the line is malformed.
    pub column: Option<usize>,
    /// The reason.
    #[source]
    pub reason: Reason,
}

impl TraceError {
    pub(super) fn of_file(name: String, reason: Reason) -> Self {
        Self { name, line: None, column: None, reason }
    }
}

/// The form that a file must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What a line, or the file, should be.
    pub name: &'static str,
    /// The rule that it must obey.
    pub rule: &'static str,
}

/// Why a trace could not be read, or is inconsistent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Reason {
    /// The operating system refuses.
    #[error("cannot be read ({0}): check the path and its permissions")]
    Unreadable(#[source] io::Error),
    /// The compressed data ends early.
    #[error("the {0} data ends early: fetch or compress the file again")]
    Truncated(Compression),
    /// The compressed data is damaged.
    #[error("the {0} data is damaged ({1}): fetch or compress the file again")]
    Corrupt(Compression, #[source] io::Error),
    /// The line is not of the expected form.
    #[error("not {} ({why}): {}", form.name, form.rule)]
    Malformed {
        /// The reason: not JSON, or a field that is missing, negative or out of range.
        why: String,
        /// The expected form.
        form: Form,
    },
    /// The line is longer than [`MAX_LINE`].
    #[error(
        "the line is longer than {MAX_LINE} bytes: is this a trace, with one request per line? \
         If so, use larger trace blocks"
    )]
    LineTooLong,
    /// The file has no row.
    #[error("no rows: the file is empty or blank; check the path, or fetch it again")]
    Empty,
    /// The request arrives before the one on the previous line.
    #[error(
        "the request arrives at {timestamp} ms, before the previous one, at {previous} ms: sort the trace by timestamp"
    )]
    Unsorted {
        /// When it arrives, in milliseconds.
        timestamp: u64,
        /// When the one before arrived.
        previous: u64,
    },
    /// The number of ids does not fit the length of the prompt and the block size.
    #[error("{ids} ids {mismatch} for {input_length} tokens in blocks of {block_size}: {fitting}")]
    WrongBlockSize {
        /// Tokens of the prompt.
        input_length: u32,
        /// How many ids there are.
        ids: usize,
        /// The block size that was assumed, in tokens.
        block_size: u32,
        /// What does not fit.
        mismatch: Mismatch,
        /// The block sizes that fit the rows up to this one, and the next ones.
        fitting: FittingSizes,
    },
    /// A block of the trace has no tokens.
    #[error("blocks of 0 tokens: the --block-size of a trace must be at least 1")]
    NoBlockSize,
    /// The row cannot be cut into smaller blocks.
    #[error("{0}")]
    Expand(#[source] ExpandError),
    /// An id that has followed a different id, or none, before.
    #[error(
        "the id {id} has two parents: it followed another id before. An id must stand for a block and its whole \
         prefix; `trace convert --chain` makes such ids"
    )]
    TwoParents {
        /// The id.
        id: u64,
    },
    /// An id too large to be split into the ids of smaller blocks.
    #[error("the id {id} is too large to be split into smaller blocks: renumber the ids with --chain first")]
    TooLargeId {
        /// The id.
        id: u64,
    },
    /// More than 2^32 - 1 distinct ids.
    #[error("more than {} distinct ids: split the trace", u32::MAX)]
    TooManyDistinctIds,
}

impl Reason {
    /// The reason for an error while reading. Decompressors wrap their errors in others.
    pub(super) fn of_io(error: io::Error, compression: Option<Compression>) -> Self {
        let Some(compression) = compression else { return Self::Unreadable(error) };
        let mut cause: Option<&(dyn error::Error + 'static)> = Some(&error);
        while let Some(here) = cause {
            match here.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::UnexpectedEof) => return Self::Truncated(compression),
                // Errors of libzstd have no kind of their own.
                Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
                    return Self::Corrupt(compression, error);
                }
                // The source of an `io::Error` is not the error inside it, but the source of that.
                _ => cause = here.downcast_ref::<io::Error>().and_then(inner).or_else(|| here.source()),
            }
        }
        Self::Unreadable(error)
    }

    /// The reason for a line that serde cannot parse.
    pub(crate) fn of_json(error: &serde_json::Error, form: Form) -> Self {
        let text = error.to_string();
        // Its line number counts from the row, ours from the start of the file.
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::Malformed { why: text.strip_suffix(&place).unwrap_or(&text).to_owned(), form }
    }
}

fn inner(error: &io::Error) -> Option<&(dyn error::Error + 'static)> {
    error.get_ref().map(|error| error as &(dyn error::Error + 'static))
}

/// `file:line:column`, as far as they are known.
fn place(TraceError { name, line, column, .. }: &TraceError) -> String {
    let parts = [*line, column.map(|column| column as u64)].into_iter().flatten();
    parts.fold(name.clone(), |place, part| format!("{place}:{part}"))
}

/// How a number of ids differs from the number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A full block has no id.
    TooFew,
    /// An id stands for no token.
    TooMany,
    /// The partial last block has no id, and in an earlier row it has one.
    WithoutTail,
    /// The partial last block has an id, and in an earlier row it has none.
    WithTail,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooFew => "are too few",
            Self::TooMany => "are too many",
            Self::WithoutTail => "without one for the partial last block, which has an id in earlier rows,",
            Self::WithTail => "with one for the partial last block, which has no id in earlier rows,",
        })
    }
}

/// Why a tool that writes a trace stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The input cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// An option is out of range.
    #[error("{option} {why}")]
    Option {
        /// The option, as it is written on the command line.
        option: &'static str,
        /// The reason.
        why: String,
    },
    /// The tokenizer cannot be read, or refuses a prompt.
    #[error(
        "{}: the tokenizer cannot be used ({why}): give a Hugging Face tokenizer.json, `whitespace` or `bytes`",
        path.display()
    )]
    Tokenizer {
        /// Its file.
        path: PathBuf,
        /// Its message.
        why: String,
    },
    /// No request passes the limits on its length.
    #[error(
        "none of {drawn} requests drawn in a row passes --min-isl and --max-isl; their prompts have {shortest} to \
         {longest} tokens: widen the limits"
    )]
    NothingPasses {
        /// Requests that were drawn in a row.
        drawn: u64,
        /// Tokens of the shortest of their prompts.
        shortest: u64,
        /// Tokens of the longest.
        longest: u64,
    },
    /// The output cannot be written.
    #[error("{}: the output cannot be written: {source}", path.display())]
    Output {
        /// The file that was asked for.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl ToolError {
    /// Returns whether the reader of a pipe has closed it, as `head` does, which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}
