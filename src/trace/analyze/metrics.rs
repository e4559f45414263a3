//! The table: lengths and hit rates of requests.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::tally::{Summary, Tally};
use crate::trace::Row;

/// Figures of the requests by name, in the order in which they are shown.
///
/// | name | of a request |
/// |---|---|
/// | `Input Length` | tokens of the prompt |
/// | `Context Length` | its ids that occur more than once in the whole file, anywhere in the row, x block size; if all do, the input length |
/// | `Unique Prompt Length` | input length - context length |
/// | `Output Length` | tokens generated |
/// | `Theoretical Hit Rates` | the share of its ids before the first that no earlier row has; rows without ids are left out |
/// | `Causal Context Length` | tokens of its ids before the first that no earlier row has, at most the input length |
/// | `Causal Unique Prompt Length` | input length - causal context length |
///
/// The first five are those of Dynamo's `datagen analyze`, as it computes them; a row's context there includes what is
/// repeated later only. The causal ones are what its documentation describes: what earlier requests made.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics(Vec<(&'static str, Summary)>);

impl Metrics {
    /// The figures called `name`.
    pub fn get(&self, name: &str) -> Option<&Summary> {
        self.iter().find(|(other, _)| *other == name).map(|(_, summary)| summary)
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Summary)> {
        self.0.iter().map(|(name, summary)| (*name, summary))
    }
}

/// As a map in the same order.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        self.iter().try_for_each(|(name, summary)| map.serialize_entry(name, summary))?;
        map.end()
    }
}

/// How many requests have which length.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// What is counted, as in [`Metrics`].
    pub name: &'static str,
    /// Where each of the intervals of equal width begins, in tokens, and how many requests are in it.
    pub bins: Vec<(f64, u64)>,
}

/// Intervals of a histogram.
const BINS: usize = 40;

/// Collects what a row tells by itself and by those before it.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    input: Tally,
    output: Tally,
    hit_rate: Tally,
    context: Tally,
    unique: Tally,
}

impl Lengths {
    /// A row of which the first `known` ids occurred in an earlier one.
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
