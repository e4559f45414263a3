//! The record of a replay, as JSON lines, so that another program can check every answer.

use std::path::Path;

use serde::Serialize;

use super::ReplayError;
use crate::event::{Event, EventData, Worker};
use crate::trace::Output;

/// Writes events and queries in the order in which they took effect, one JSON object a line: `stored`, `removed`,
/// `cleared`, `query`. Like every [`Output`], the file is renamed into place when it is complete.
#[derive(Debug)]
pub struct Record(Output);

/// One line of the record.
#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Line<'a> {
    Stored { worker: u64, dp_rank: u32, event_id: u64, parent: Option<u64>, blocks: Vec<(u64, u64)> },
    Removed { worker: u64, dp_rank: u32, event_id: u64, blocks: &'a [u64] },
    Cleared { worker: u64, dp_rank: u32, event_id: u64 },
    Query { hashes: &'a [u64], scores: Vec<(u64, u32, u32)> },
}

impl Record {
    /// Starts a record, gzipped if the name ends in `.gz`. It replaces a file of that name when it is finished.
    ///
    /// # Errors
    /// [`ReplayError::Record`] if the file cannot be created, or if something other than a file has that name.
    pub fn create(path: &Path) -> Result<Self, ReplayError> {
        Output::create(path).map(Self).map_err(ReplayError::Record)
    }

    /// Writes an event. The format cannot say that a worker was removed or added, nor that copies are counted: a removed
    /// worker is written as a cleared one, for which answers are the same, and the other two are left out.
    ///
    /// # Errors
    /// [`ReplayError::Record`], for instance when the disk is full.
    pub fn event(&mut self, event: &Event) -> Result<(), ReplayError> {
        let Event { worker: Worker { id: worker, dp_rank }, id: event_id, ref data } = *event;
        self.line(&match data {
            EventData::Stored { parent, blocks } => {
                let blocks = blocks.iter().map(|block| (block.sequence, block.local)).collect();
                Line::Stored { worker, dp_rank, event_id, parent: *parent, blocks }
            }
            EventData::Removed { blocks } => Line::Removed { worker, dp_rank, event_id, blocks },
            EventData::Cleared | EventData::WorkerRemoved => Line::Cleared { worker, dp_rank, event_id },
            EventData::WorkerAdded | EventData::CopiesCounted => return Ok(()),
        })
    }

    /// Writes a query and its answer: the prompt's local hashes, and how many blocks each worker matches.
    ///
    /// # Errors
    /// [`ReplayError::Record`], for instance when the disk is full.
    pub fn query(&mut self, hashes: &[u64], answer: &[(Worker, u32)]) -> Result<(), ReplayError> {
        let scores = answer.iter().map(|&(worker, depth)| (worker.id, worker.dp_rank, depth)).collect();
        self.line(&Line::Query { hashes, scores })
    }

    /// Completes the record and gives it its name.
    ///
    /// # Errors
    /// [`ReplayError::Record`], for instance when the disk is full; no file is left then.
    pub fn finish(self) -> Result<(), ReplayError> {
        self.0.finish().map_err(ReplayError::Record)
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        self.0.write(line).map_err(ReplayError::Record)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::path::PathBuf;
    use std::{env, process};

    use flate2::read::GzDecoder;

    use super::*;
    use crate::event::Block;

    const WORKER: Worker = Worker::new(3, 1);
    const LINES: &str = concat!(
        r#"{"op":"stored","worker":3,"dp_rank":1,"event_id":1,"parent":null,"blocks":[[10,18446744073709551615]]}"#,
        "\n",
        r#"{"op":"stored","worker":3,"dp_rank":1,"event_id":2,"parent":10,"blocks":[[11,6]]}"#,
        "\n",
        r#"{"op":"removed","worker":3,"dp_rank":1,"event_id":3,"blocks":[11]}"#,
        "\n",
        r#"{"op":"cleared","worker":3,"dp_rank":1,"event_id":4}"#,
        "\n",
        r#"{"op":"query","hashes":[5,6],"scores":[[3,1,2]]}"#,
        "\n",
    );

    fn write(record: &mut Record) {
        let stored = |parent, sequence, local| EventData::Stored { parent, blocks: vec![Block { sequence, local }] };
        let said = [
            stored(None, 10, u64::MAX),
            stored(Some(10), 11, 6),
            EventData::Removed { blocks: vec![11] },
            EventData::Cleared,
        ];
        for (data, id) in said.into_iter().zip(1..) {
            record.event(&Event { worker: WORKER, id, data }).unwrap();
        }
        record.query(&[5, 6], &[(WORKER, 2)]).unwrap();
    }

    fn path(name: &str) -> PathBuf {
        env::temp_dir().join(format!("kvleap-record-{}-{name}", process::id()))
    }

    #[test]
    fn the_lines_are_what_the_format_says() {
        for name in ["plain.jsonl", "zipped.jsonl.gz"] {
            let path = path(name);
            let mut record = Record::create(&path).unwrap();
            write(&mut record);
            assert!(!path.exists(), "not there before it is complete");
            record.finish().unwrap();
            let mut text = String::new();
            let file = File::open(&path).unwrap();
            let mut lines: Box<dyn Read> =
                if name.ends_with("gz") { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
            lines.read_to_string(&mut text).unwrap();
            assert_eq!(text, LINES, "{name}");
            assert!(!Path::new(&format!("{}.partial", path.display())).exists());
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn an_unfinished_record_leaves_nothing() {
        let path = path("unfinished.jsonl.gz");
        let mut record = Record::create(&path).unwrap();
        write(&mut record);
        drop(record);
        assert!(!path.exists());
        assert!(!Path::new(&format!("{}.partial", path.display())).exists());
    }
}
