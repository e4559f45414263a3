//! The backends that a sweep compares: this index, and the designs of [`baseline`](crate::baseline).

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use super::SweepError;
use crate::baseline::{Backend, Design, Reader, Writers};
use crate::event::{Event, Worker};
use crate::index::{Index, Matches};

/// A backend by its name. Written and parsed as `kvleap`, or as the [`Design`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum System {
    /// This index: an [`Index`] as anybody would use it.
    Kvleap,
    /// Another design.
    Design(Design),
}

impl System {
    /// All backends, this index first.
    pub const ALL: [Self; 9] = {
        let mut all = [Self::Kvleap; 9];
        let mut number = 0;
        while number < Design::ALL.len() {
            all[number + 1] = Self::Design(Design::ALL[number]);
            number += 1;
        }
        all
    };

    /// Returns its name in tables and charts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvleap => "kvleap",
            Self::Design(design) => design.name(),
        }
    }

    /// Returns whether it answers at all; [`Design::Null`] does not.
    pub fn answers(self) -> bool {
        self != Self::Design(Design::Null)
    }

    /// Opens an empty backend with these threads to apply events: the shards of this index, or the pool of a design.
    ///
    /// # Errors
    /// [`SweepError::Backend`] if a core does not exist, or if a thread cannot be started.
    pub fn open(self, writers: &Writers) -> Result<Box<dyn Backend>, SweepError> {
        match self {
            Self::Kvleap => {
                let builder = Index::builder().shards(writers.threads.max(1)).pin(writers.pin.clone());
                let index = builder.build().map_err(|error| SweepError::Backend(error.to_string()))?;
                Ok(Box::new(Kvleap { index, sent: AtomicU64::new(0) }))
            }
            Self::Design(design) => design.open(writers).map_err(|error| SweepError::Backend(error.to_string())),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<System> for &'static str {
    fn from(system: System) -> Self {
        system.name()
    }
}

impl TryFrom<String> for System {
    type Error = SweepError;

    fn try_from(name: String) -> Result<Self, SweepError> {
        name.parse()
    }
}

impl FromStr for System {
    type Err = SweepError;

    fn from_str(name: &str) -> Result<Self, SweepError> {
        let named = Self::ALL.into_iter().find(|system| system.name() == name);
        named.ok_or_else(|| SweepError::UnknownSystem { name: name.to_owned() })
    }
}

/// This index as a backend. It counts the events that it sends, since those that wait are the ones sent and not visible.
#[derive(Debug)]
struct Kvleap {
    index: Index,
    sent: AtomicU64,
}

impl Backend for Kvleap {
    fn name(&self) -> &'static str {
        System::Kvleap.name()
    }

    fn apply(&self, event: Event) {
        self.sent.fetch_add(1, Relaxed);
        self.index.send(event).expect("the index is open, unless a writer thread panicked");
    }

    fn reader(&self) -> Box<dyn Reader + Send + '_> {
        Box::new(Finder { index: &self.index, matches: Matches::new() })
    }

    fn flush(&self) {
        self.index.flush().expect("the index is open, unless a writer thread panicked");
    }

    fn queued(&self) -> usize {
        let mut matches = Matches::new();
        self.index.find(&[], &mut matches);
        let visible: u64 = matches.watermarks().map(|watermark| watermark.events).sum();
        self.sent.load(Relaxed).saturating_sub(visible) as usize
    }

    fn rejected(&self) -> u64 {
        let status = self.index.status();
        let known = status.workers.iter().flat_map(|worker| worker.rejected);
        known.chain(status.shards.iter().flat_map(|shard| shard.rejected_strangers)).sum()
    }
}

struct Finder<'a> {
    index: &'a Index,
    matches: Matches,
}

impl Reader for Finder<'_> {
    fn find(&mut self, query: &[u64], scores: &mut Vec<(Worker, u32)>) {
        self.index.find(query, &mut self.matches);
        scores.clear();
        scores.extend(self.matches.iter());
    }
}
