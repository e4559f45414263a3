//! Operations as bytes, in postcard's format, both for schedules in files and for the load of a trial's process.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::What;
use crate::event::{Block, Event, EventData, Worker};

/// An encoded lookup or event; `H` is a list of hashes, borrowed to write and owned when read.
#[derive(Serialize, Deserialize)]
pub(super) enum Encoded<H> {
    Lookup(H),
    Event { id: u64, dp_rank: u32, event: u64, data: EncodedData<H> },
}

#[derive(Serialize, Deserialize)]
pub(super) enum EncodedData<H> {
    /// Sequence hashes and local hashes.
    Stored {
        parent: Option<u64>,
        blocks: Vec<(u64, u64)>,
    },
    Removed(H),
    Cleared,
    WorkerRemoved,
    WorkerAdded,
    CopiesCounted,
}

impl<'a> Encoded<&'a [u64]> {
    pub(super) fn of(what: &'a What) -> Self {
        match what {
            What::Lookup(hashes) => Self::Lookup(hashes),
            What::Event(event) => Self::of_event(event),
        }
    }

    pub(super) fn of_event(event: &'a Event) -> Self {
        let data = match &event.data {
            EventData::Stored { parent, blocks } => {
                let blocks = blocks.iter().map(|block| (block.sequence, block.local)).collect();
                EncodedData::Stored { parent: *parent, blocks }
            }
            EventData::Removed { blocks } => EncodedData::Removed(&blocks[..]),
            EventData::Cleared => EncodedData::Cleared,
            EventData::WorkerRemoved => EncodedData::WorkerRemoved,
            EventData::WorkerAdded => EncodedData::WorkerAdded,
            EventData::CopiesCounted => EncodedData::CopiesCounted,
        };
        Self::Event { id: event.worker.id, dp_rank: event.worker.dp_rank, event: event.id, data }
    }
}

impl From<Encoded<Vec<u64>>> for What {
    fn from(kind: Encoded<Vec<u64>>) -> Self {
        let (id, dp_rank, event, data) = match kind {
            Encoded::Lookup(hashes) => return Self::Lookup(hashes.into()),
            Encoded::Event { id, dp_rank, event, data } => (id, dp_rank, event, data),
        };
        let data = match data {
            EncodedData::Stored { parent, blocks } => {
                let blocks = blocks.into_iter().map(|(sequence, local)| Block { sequence, local }).collect();
                EventData::Stored { parent, blocks }
            }
            EncodedData::Removed(blocks) => EventData::Removed { blocks },
            EncodedData::Cleared => EventData::Cleared,
            EncodedData::WorkerRemoved => EventData::WorkerRemoved,
            EncodedData::WorkerAdded => EventData::WorkerAdded,
            EncodedData::CopiesCounted => EventData::CopiesCounted,
        };
        Self::Event(Event { worker: Worker::new(id, dp_rank), id: event, data })
    }
}

pub(super) fn put(value: &impl Serialize, sink: &mut impl Write) -> io::Result<()> {
    postcard::to_io(value, sink).map(drop).map_err(io::Error::other)
}

pub(super) fn take<T: DeserializeOwned>(source: &mut impl Read) -> Result<T, String> {
    // The scratch space is empty because nothing that is read borrows from it.
    postcard::from_io((source, &mut [])).map(|(value, _)| value).map_err(|error| error.to_string())
}
