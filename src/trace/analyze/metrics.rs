//! Lengths and hit rates of requests.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::tally::{Summary, Tally};
use crate::trace::Row;

/// Statistics of the requests by name, in the order in which they are shown.
///
/// | name | for each request |
/// |---|---|
/// | `Input Length` | tokens of the prompt |
/// | `Context Length` | block size x the number of its ids that occur more than once in the whole file; the input length if all do |
/// | `Unique Prompt Length` | input length - context length |
/// | `Output Length` | tokens of the answer |
/// | `Theoretical Hit Rates` | the share of its ids that come before the first new one; rows without ids are left out |
/// | `Causal Context Length` | tokens of its ids before the first new one, at most the input length |
/// | `Causal Unique Prompt Length` | input length - causal context length |
///
/// An id is new if no earlier row has it. The first five are computed as in Dynamo's `datagen analyze`, in which a
/// row's context includes ids that are repeated only later. The causal ones are what its documentation describes: ids
/// that earlier requests have produced.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(Vec<(&'static str, Option<Summary>)>);

impl Metrics {
    /// Returns the statistics called `name`; `None` if no request counts there, or if nothing is called that.
    pub fn get(&self, name: &str) -> Option<&Summary> {
        self.iter().find(|(other, _)| *other == name).and_then(|(_, summary)| summary)
    }

    /// Returns all statistics, in order; `None` stands for one in which no request counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Option<&Summary>)> {
        self.0.iter().map(|(name, summary)| (*name, summary.as_ref()))
    }
}

/// Serializes as a map in the same order.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.iter().try_for_each(|(name, summary)| map.serialize_entry(name, &summary))?;
        map.end()
    }
}

/// A histogram of lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The length that is counted, named as in [`Metrics`].
    pub name: &'static str,
    /// For each interval, all of one width, its start in tokens and the requests in it.
    pub bins: Vec<(f64, u64)>,
}

/// Intervals in a histogram.
const BINS: usize = 40;

/// Collects what depends on a row and the rows before it only.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    input: Tally,
    output: Tally,
    hit_rate: Tally,
    context: Tally,
    unique: Tally,
}

impl Lengths {
    /// Counts a row of which the first `known` ids occur in an earlier one.
    pub(super) fn row(&mut self, row: &Row, known: usize, block_size: u32) {
        self.input.add(row.input_length.into());
        self.output.add(row.output_length.into());
        if !row.hash_ids.is_empty() {
            self.hit_rate.add(known as f64 / row.hash_ids.len() as f64);
        }
        let context = (known as u64 * u64::from(block_size)).min(row.input_length.into());
        self.context.add(context as f64);
        self.unique.add((u64::from(row.input_length) - context) as f64);
    }

    pub(super) fn histograms(&self) -> Vec<Histogram> {
        let lengths = [("Input Length", &self.input), ("Output Length", &self.output)];
        lengths.into_iter().map(|(name, tally)| Histogram { name, bins: tally.histogram(BINS) }).collect()
    }

    pub(super) fn finish(self, context: &Tally, unique: &Tally) -> Metrics {
        Metrics(vec![
            ("Input Length", self.input.summary()),
            ("Context Length", context.summary()),
            ("Unique Prompt Length", unique.summary()),
            ("Output Length", self.output.summary()),
            ("Theoretical Hit Rates", self.hit_rate.summary()),
            ("Causal Context Length", self.context.summary()),
            ("Causal Unique Prompt Length", self.unique.summary()),
        ])
    }
}
