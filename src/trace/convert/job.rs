//! Conversion of files of one form to lines of another.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

use super::sessions::{self, Session};
use super::{Arrivals, Rechain, Resize, chats};
use crate::trace::text::Tokenizer;
use crate::trace::{BLOCK_SIZE, Row, ToolError, open};

/// A form of traces. Written and parsed as `rows`, `sessions` or `chats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows in the Mooncake format.
    Rows,
    /// [Recorded sessions](sessions).
    Sessions,
    /// [Conversations](chats).
    Chats,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Rows, Self::Sessions, Self::Chats];

    /// The name that it is written as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Sessions => "sessions",
            Self::Chats => "chats",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ToolError;

    fn from_str(name: &str) -> Result<Self, ToolError> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| ToolError::Option {
            option: "--from",
            why: format!("cannot be {name:?}; choose from {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// A conversion.
#[derive(Clone, Debug)]
pub struct Job {
    /// The files; `-` is standard input. Rows are read from one file only.
    pub inputs: Vec<PathBuf>,
    /// Form of the files.
    pub from: Kind,
    /// Form of the output: rows, the default, or sessions.
    pub to: Kind,
    /// Tokens in a block, if the input does not say. Default 512.
    pub block_size: Option<u32>,
    /// Tokens in a block of the output, which must divide that of the input. Default: the same.
    pub to_block_size: Option<u32>,
    /// Whether the ids of rows are renumbered, so that each stands for its whole prefix. Ids of other forms always are.
    pub chain: bool,
    /// Tokenizer for the text of conversations. Default `whitespace`.
    pub tokenizer: PathBuf,
    /// When sessions start.
    pub arrivals: Arrivals,
}

/// A line of output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A row.
    Row(Row),
    /// A session.
    Session(Session),
}

/// Converts the inputs and passes the lines to `write`.
///
/// From rows to rows, the input is streamed; other inputs are held in memory as a whole.
///
/// # Errors
/// [`ToolError::Option`] if an option is out of range or does not fit another, [`ToolError::Trace`] and
/// [`ToolError::Tokenizer`] if an input cannot be read, and the errors of `write`.
pub fn convert(job: &Job, mut write: impl FnMut(Line) -> Result<(), ToolError>) -> Result<(), ToolError> {
    if job.to == Kind::Chats {
        return Err(ToolError::Option {
            option: "--to",
            why: "cannot be chats: the text cannot be recovered from ids".to_owned(),
        });
    }
    job.arrivals.check()?;
    let mut rows: Vec<Row> = Vec::new();
    let mut block_size = job.block_size.unwrap_or(BLOCK_SIZE);
    match job.from {
        Kind::Rows if job.to == Kind::Rows => return stream(job, block_size, |row| write(Line::Row(row))),
        Kind::Rows => {
            stream(job, block_size, |row| {
                rows.push(row);
                Ok(())
            })?;
        }
        Kind::Sessions => {
            let mut read = Vec::new();
            for input in &job.inputs {
                read.extend(sessions::open(input)?);
            }
            let recorded = read.first().map_or(block_size, |session| session.block_size);
            if job.block_size.is_some_and(|given| given != recorded) {
                let why = format!("is {block_size}, but the sessions have blocks of {recorded} tokens");
                return Err(ToolError::Option { option: "--block-size", why });
            }
            block_size = recorded;
            rows = sessions::to_rows(read, &job.arrivals)?;
        }
        Kind::Chats => {
            let tokenizer = Tokenizer::load(&job.tokenizer)?;
            let mut read = Vec::new();
            for input in &job.inputs {
                read.extend(chats::open(input)?);
            }
            rows = chats::to_rows(&read, &tokenizer, block_size, &job.arrivals)?;
        }
    }
    if job.from != Kind::Rows
        && let Some(to) = job.to_block_size
    {
        let resize = Resize::new(block_size, to)?;
        let fit = |reason| ToolError::Option { option: "--to-block-size", why: format!("does not fit: {reason}") };
        rows.iter_mut().try_for_each(|row| resize.row(row)).map_err(fit)?;
    }
    if job.to == Kind::Rows {
        return rows.into_iter().try_for_each(|row| write(Line::Row(row)));
    }
    let sessions = sessions::from_rows(rows, job.to_block_size.unwrap_or(block_size));
    sessions.into_iter().try_for_each(|session| write(Line::Session(session)))
}

/// Converts rows to rows, one by one.
fn stream(job: &Job, block_size: u32, mut write: impl FnMut(Row) -> Result<(), ToolError>) -> Result<(), ToolError> {
    let [input] = &*job.inputs else {
        let why = "rows reads one file only, because each trace has its own times".to_owned();
        return Err(ToolError::Option { option: "--from", why });
    };
    let mut chain = job.chain.then(Rechain::default);
    let resize = Resize::new(block_size, job.to_block_size.unwrap_or(block_size))?;
    let mut rows = open(input, block_size)?;
    while let Some(mut row) = rows.next().transpose()? {
        if let Some(chain) = &mut chain {
            chain.row(&mut row);
        }
        resize.row(&mut row).map_err(|reason| rows.error(reason))?;
        write(row)?;
    }
    Ok(())
}
