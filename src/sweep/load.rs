//! What trials play: the second half of a schedule, on the state that its first half leaves.

use std::io::{self, BufReader, BufWriter, Read, Write};

use super::encoding::{Encoded, put, take};
use super::{Op, Schedule, SweepError, What};
use crate::event::{Event, EventData};
use crate::index::Builder;

/// The part of a schedule that trials play, and the state that all of them start from.
///
/// Every trial, at whatever rate, begins in the middle of the schedule, where caches are full and evict; a slow backend
/// is spared nothing that a fast one must do. The state before that is applied as the events of an
/// [export](crate::Index::export). These are stores without the history of evictions, which would take a slow backend
/// hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The events that lead to the state at the beginning. Applying them is not timed.
    pub warm: Vec<Event>,
    /// The operations that are timed, ascending in time, which begins at 0.
    pub ops: Vec<Op>,
}

impl Load {
    /// Cuts a schedule in the middle of its lookups, and after the last one: events to which nobody looks up any more
    /// are a different load.
    ///
    /// # Errors
    /// [`SweepError::EmptySchedule`] if there are no lookups or no events to play.
    pub fn new(schedule: Schedule) -> Result<Self, SweepError> {
        let mut ops = schedule.ops;
        let asks = |(place, op): (usize, &Op)| matches!(op.what, What::Lookup(_)).then_some(place);
        let lookups: Vec<usize> = ops.iter().enumerate().filter_map(asks).collect();
        let middle = *lookups.get(lookups.len() / 2).ok_or(SweepError::EmptySchedule)?;
        ops.truncate(lookups[lookups.len() - 1] + 1);
        let mut timed = ops.split_off(middle);
        if timed.len() == lookups.len() - lookups.len() / 2 {
            return Err(SweepError::EmptySchedule);
        }
        let (mut index, _) =
            Builder::default().build_local().map_err(|error| SweepError::Backend(error.to_string()))?;
        for op in ops {
            if let What::Event(event) = op.what {
                // A rejected event changes no state, here or when it is played.
                let _ = index.apply(&event);
            }
        }
        let begin = timed.first().map_or(0, |op| op.at_ns);
        for op in &mut timed {
            op.at_ns -= begin;
        }
        Ok(Self { warm: index.export(), ops: timed })
    }

    /// Returns how many blocks are held at the beginning, summed over the workers.
    pub fn held(&self) -> u64 {
        let sum = |counts: fn(&EventData) -> bool| {
            let counted = self.warm.iter().filter(|event| counts(&event.data));
            counted.map(|event| event.data.len() as u64).sum::<u64>()
        };
        let stored = sum(|data| matches!(data, EventData::Stored { .. }));
        stored - sum(|data| matches!(data, EventData::Removed { .. }))
    }

    /// Returns how many blocks the first n operations name, for every n from 0.
    pub fn blocks(&self) -> Vec<u64> {
        let mut sum = 0;
        let sums = self.ops.iter().map(|op| {
            sum += op.what.blocks();
            sum
        });
        std::iter::once(0).chain(sums).collect()
    }

    /// Writes the load so that another process of this program can [`read`](Self::read) it. The format is not for
    /// keeping.
    ///
    /// # Errors
    /// The errors of the writer.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut to = BufWriter::new(to);
        put(&(self.warm.len() as u64), &mut to)?;
        self.warm.iter().try_for_each(|event| put(&Encoded::of_event(event), &mut to))?;
        put(&(self.ops.len() as u64), &mut to)?;
        self.ops.iter().try_for_each(|op| put(&(op.at_ns, Encoded::of(&op.what)), &mut to))?;
        to.flush()
    }

    /// Reads the state and at most `limit` operations.
    ///
    /// # Errors
    /// The errors of the reader, and `InvalidData` if the bytes are not what [`write`](Self::write) wrote.
    pub fn read(from: impl Read, limit: usize) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(1 << 20, from);
        let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let mut warm = Vec::new();
        for _ in 0..take::<u64>(&mut from).map_err(damaged)? {
            match take::<Encoded<Vec<u64>>>(&mut from).map_err(damaged)?.into() {
                What::Event(event) => warm.push(event),
                What::Lookup(_) => return Err(damaged("a lookup among the events".to_owned())),
            }
        }
        let mut ops = Vec::new();
        for _ in 0..take::<u64>(&mut from).map_err(damaged)?.min(limit as u64) {
            let (at_ns, what): (u64, Encoded<Vec<u64>>) = take(&mut from).map_err(damaged)?;
            ops.push(Op { at_ns, what: what.into() });
        }
        Ok(Self { warm, ops })
    }
}
