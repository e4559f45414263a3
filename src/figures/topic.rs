//! What there is to draw.

use std::fmt;
use std::str::FromStr;

use super::FiguresError;

/// What a figure is about. Written by its name, and parsed from that or from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Blocks stored, removed and cleared, by time and worker.
    Density,
    /// Events on their way from engines to readers, with the figures of a run.
    Flow,
    /// The position arrays of a small index, and the radix tree of the same events.
    Structure,
    /// A writer and two readers, to the microsecond.
    Timeline,
    /// Every place that a lookup looks at.
    Search,
    /// Load offered and achieved, for every backend.
    Throughput,
}

impl Topic {
    /// Every one, by number.
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

    /// How its files are called, without an ending: number and name.
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
