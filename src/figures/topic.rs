//! The topics of the figures.

use std::fmt;
use std::str::FromStr;

use super::FiguresError;

/// The topic of a figure. Written as its name, and parsed from its name or its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// KV events per worker over time: blocks stored, removed and cleared.
    Density,
    /// The path of an event from engines to readers, with the measurements of a run.
    Flow,
    /// The position arrays of a small index, and a radix tree of the same events.
    Structure,
    /// What a writer and two readers do, microsecond by microsecond.
    Timeline,
    /// Every position that a lookup examines.
    Search,
    /// Achieved against offered load, for every backend.
    Throughput,
}

impl Topic {
    /// All topics, by number.
    pub const ALL: [Self; 6] =
        [Self::Density, Self::Flow, Self::Structure, Self::Timeline, Self::Search, Self::Throughput];

    /// Its number, from 1.
    pub const fn number(self) -> usize {
        self as usize + 1
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Density => "event-density",
            Self::Flow => "event-flow",
            Self::Structure => "prefix-structure",
            Self::Timeline => "concurrency",
            Self::Search => "jump-search",
            Self::Throughput => "throughput",
        }
    }

    /// The name of its files without the extension: number and name.
    pub fn stem(self) -> String {
        format!("{}-{}", self.number(), self.name())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Topic {
    type Err = FiguresError;

    fn from_str(name: &str) -> Result<Self, FiguresError> {
        let found = Self::ALL.into_iter().find(|topic| topic.name() == name || topic.number().to_string() == name);
        found.ok_or_else(|| FiguresError::UnknownFigure { name: name.to_owned() })
    }
}
