//! Reads the events of the workers from the record of a replay.

use std::path::Path;

use serde::Deserialize;

use crate::event::{EventData, Worker};
use crate::figures::FiguresError;
use crate::trace::{Form, Input, Lines, Reason, TraceError};

const LINE: Form = Form {
    name: "a line of a record",
    rule: "each line must be an object as written by `kvleap replay --record`, with op, worker, dp_rank and blocks",
};

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Line {
    Stored { worker: u64, dp_rank: u32, blocks: Vec<(u64, u64)> },
    Removed { worker: u64, dp_rank: u32, blocks: Vec<u64> },
    Cleared { worker: u64, dp_rank: u32 },
    Query {},
}

/// The part of an event that is counted: sequence hashes.
pub(super) enum BlockChange {
    Stored(Vec<u64>),
    Removed(Vec<u64>),
    Cleared,
}

impl BlockChange {
    pub(super) fn of(data: &EventData) -> Self {
        match data {
            EventData::Stored { blocks, .. } => Self::Stored(blocks.iter().map(|block| block.sequence).collect()),
            EventData::Removed { blocks } => Self::Removed(blocks.clone()),
            EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded => Self::Cleared,
            // It names no block.
            EventData::CopiesCounted => Self::Stored(Vec::new()),
        }
    }
}

/// Calls `each` for every event, with the number of requests before it. Returns the number of all requests.
pub(super) fn read(path: &Path, mut each: impl FnMut(u64, Worker, BlockChange)) -> Result<u64, FiguresError> {
    let mut lines = Input::open(path).map(Lines::new).map_err(FiguresError::Record)?;
    let mut requests = 0;
    while let Some(line) = lines.advance() {
        line.map_err(FiguresError::Record)?;
        let wrong = |error: serde_json::Error| -> TraceError {
            lines.error(Some(error.column()), Reason::of_json(&error, LINE))
        };
        match serde_json::from_slice(lines.bytes()).map_err(|error| FiguresError::Record(wrong(error)))? {
            Line::Query {} => requests += 1,
            Line::Cleared { worker, dp_rank } => each(requests, Worker::new(worker, dp_rank), BlockChange::Cleared),
            Line::Removed { worker, dp_rank, blocks } => {
                each(requests, Worker::new(worker, dp_rank), BlockChange::Removed(blocks));
            }
            Line::Stored { worker, dp_rank, blocks } => {
                let blocks = blocks.into_iter().map(|(sequence, _)| sequence).collect();
                each(requests, Worker::new(worker, dp_rank), BlockChange::Stored(blocks));
            }
        }
    }
    Ok(requests)
}
