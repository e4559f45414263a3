//! Where and why a trace cannot be used.

use std::path::PathBuf;
use std::{error, fmt, io};

use super::input::Compression;
use super::lines::MAX_LINE;

/// Where and why a trace could not be read. Printed as `file:line:column: reason: what to do`.
#[derive(Debug)]
pub struct TraceError {
    /// The file, or what the reader was told to call it.
    pub name: String,
    /// The line, from 1; `None` when the whole file is meant.
    pub line: Option<u64>,
    /// The byte of the line, from 1, where the line is malformed.
    pub column: Option<usize>,
    /// What is wrong there.
    pub reason: Reason,
}

impl TraceError {
    pub(super) fn of_file(name: String, reason: Reason) -> Self {
        Self { name, line: None, column: None, reason }
    }
}

/// What a file is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What a line, or the file, is called.
    pub name: &'static str,
    /// What it must be like.
    pub rule: &'static str,
}

/// Why a trace could not be read, or makes no sense.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The operating system says no.
    Unreadable(io::Error),
    /// The compressed data ends early.
    Truncated(Compression),
    /// The compressed data is damaged.
    Corrupt(Compression, io::Error),
    /// The line is not what it should be.
    Malformed {
        /// Why: not JSON, a field missing, negative, out of range.
        why: String,
        /// What it should be.
        form: Form,
    },
    /// The line is longer than [`MAX_LINE`].
    LineTooLong,
    /// There is no row at all.
    Empty,
    /// The request arrives before the one of the line before.
    Unsorted {
        /// When it arrives, in milliseconds.
        timestamp: u64,
        /// When the one before arrived.
        previous: u64,
    },
    /// Too few ids for the prompt: a whole block has none.
    TooFewIds {
        /// Tokens of the prompt.
        input_length: u32,
        /// How many ids there are.
        ids: usize,
        /// Tokens that each was taken for.
        block_size: u32,
    },
    /// A last block that is not full has an id here, and had none in a row before.
    UnevenTails {
        /// Tokens of the prompt.
        input_length: u32,
        /// How many ids there are.
        ids: usize,
        /// Tokens that each was taken for.
        block_size: u32,
    },
    /// More ids than the prompt has blocks, where the tool cannot do with them.
    SpareIds {
        /// Tokens of the prompt.
        input_length: u32,
        /// How many ids there are.
        ids: usize,
        /// Tokens that each was taken for.
        block_size: u32,
    },
    /// An id that followed another one, or none, in an earlier row or earlier in this one.
    TwoParents {
        /// The id.
        id: u64,
    },
    /// An id too large to be multiplied.
    TooLargeId {
        /// The id.
        id: u64,
    },
    /// More distinct ids than are told apart, 2^32 - 1.
    TooManyDistinctIds,
}

impl Reason {
    /// Of an error while reading. Decompressors wrap what they say in errors of their own.
    pub(super) fn of_io(error: io::Error, compression: Option<Compression>) -> Self {
        let Some(compression) = compression else { return Self::Unreadable(error) };
        let mut cause: Option<&(dyn error::Error + 'static)> = Some(&error);
        while let Some(here) = cause {
            match here.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::UnexpectedEof) => return Self::Truncated(compression),
                // What libzstd complains of has no kind of its own.
                Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
                    return Self::Corrupt(compression, error);
                }
                // An `io::Error` names as its source not the error within but that one's source.
                _ => cause = here.downcast_ref::<io::Error>().and_then(inner).or_else(|| here.source()),
            }
        }
        Self::Unreadable(error)
    }

    /// Of a line that serde could not read.
    pub(crate) fn of_json(error: &serde_json::Error, form: Form) -> Self {
        let text = error.to_string();
        // Its line counts from the row, ours from the file.
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::Malformed { why: text.strip_suffix(&place).unwrap_or(&text).to_owned(), form }
    }
}

fn inner(error: &io::Error) -> Option<&(dyn error::Error + 'static)> {
    error.get_ref().map(|error| error as &(dyn error::Error + 'static))
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read ({error}): check the path and its permissions"),
            Self::Truncated(compression) => {
                write!(f, "the {compression} data ends early: fetch or compress the file again")
            }
            Self::Corrupt(compression, error) => {
                write!(f, "the {compression} data is damaged ({error}): fetch or compress the file again")
            }
            Self::Malformed { why, form } => write!(f, "not {} ({why}): {}", form.name, form.rule),
            Self::LineTooLong => write!(
                f,
                "the line is longer than {MAX_LINE} bytes: is this a trace, with one request per line? \
                 If so, use larger trace blocks"
            ),
            Self::Empty => f.write_str("no rows: the file is empty or blank; check the path, or fetch it again"),
            Self::Unsorted { timestamp, previous } => write!(
                f,
                "the request arrives at {timestamp} ms, before the one of the line before, at {previous} ms: \
                 sort the trace by timestamp"
            ),
            Self::TooFewIds { input_length, ids, block_size } => write!(
                f,
                "{ids} ids are too few for {input_length} tokens in blocks of {block_size}: the block size is wrong; \
                 choose the one that the trace was made with, often 512"
            ),
            Self::UnevenTails { input_length, ids, block_size } => write!(
                f,
                "{ids} ids for {input_length} tokens in blocks of {block_size}: the last block is not full and has an \
                 id, but such blocks have none in rows before. Ids are missing there, or the block size is wrong"
            ),
            Self::SpareIds { input_length, ids, block_size } => write!(
                f,
                "{ids} ids are too many for {input_length} tokens in blocks of {block_size}: the block size is wrong; \
                 choose the one that the trace was made with, often 512"
            ),
            Self::TwoParents { id } => write!(
                f,
                "the id {id} has two parents: it followed another id before. An id must stand for a block and its \
                 whole prefix; `trace convert --chain` makes such ids"
            ),
            Self::TooLargeId { id } => write!(
                f,
                "the id {id} is too large to be split into smaller blocks: number the ids anew with --chain first"
            ),
            Self::TooManyDistinctIds => write!(f, "more than {} distinct ids: split the trace", u32::MAX),
        }
    }
}

impl error::Error for TraceError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match &self.reason {
            Reason::Unreadable(error) | Reason::Corrupt(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Why a tool that writes a trace did not.
#[derive(Debug)]
#[non_exhaustive]
pub enum ToolError {
    /// What it should read cannot be read.
    Trace(TraceError),
    /// An option is out of its range.
    Option {
        /// The option, as the command spells it.
        option: &'static str,
        /// What it must be.
        why: String,
    },
    /// The tokenizer cannot be read, or refuses a prompt.
    Tokenizer {
        /// Its file.
        path: PathBuf,
        /// What it says.
        why: String,
    },
    /// No request passes the filters.
    NothingPasses {
        /// How many were drawn in vain, one after another.
        drawn: u64,
        /// Tokens of the shortest of their prompts.
        shortest: u64,
        /// Tokens of the longest.
        longest: u64,
    },
    /// The output cannot be written.
    Output {
        /// The file that was asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ToolError {
    /// Whether the reader of a pipe has seen enough, as `head` has: no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<TraceError> for ToolError {
    fn from(error: TraceError) -> Self {
        Self::Trace(error)
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trace(source) => source.fmt(f),
            Self::Option { option, why } => write!(f, "{option} {why}"),
            Self::Tokenizer { path, why } => write!(
                f,
                "{}: the tokenizer cannot be used ({why}): give a Hugging Face tokenizer.json, `whitespace` or `bytes`",
                path.display()
            ),
            Self::NothingPasses { drawn, shortest, longest } => write!(
                f,
                "none of {drawn} requests drawn in a row passes --min-isl and --max-isl; their prompts have {shortest} \
                 to {longest} tokens: widen the limits"
            ),
            Self::Output { path, source } => write!(f, "{}: the output cannot be written: {source}", path.display()),
        }
    }
}

impl error::Error for ToolError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Trace(source) => Some(source),
            Self::Output { source, .. } => Some(source),
            _ => None,
        }
    }
}
