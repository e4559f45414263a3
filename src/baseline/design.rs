//! The designs by name, and how they are opened.

use std::sync::Arc;
use std::{fmt, io};

use super::actor::Actor;
use super::backend::Backend;
use super::locked::Locked;
use super::model::Admitted;
use super::pool::Pool;
use super::reference::Reference;
use super::{concurrent, inverted, nested, null, positional, radix};

/// A design to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Design {
    /// 1. A map for every worker, from local hash to the sequence hashes stored with it, behind a lock. Counts a block
    ///    wherever the worker holds it.
    Nested,
    /// 2. The same, owned by a thread to which events and lookups are sent.
    NestedActor,
    /// 3. A map from local hash to sequence hash to workers, owned by a thread. Counts blocks like the first design.
    Inverted,
    /// 4. A tree with a node for every block under its prefix, owned by a thread. Exact as long as every worker holds a
    ///    block only together with all blocks before it, and under one sequence hash.
    RadixTree,
    /// 5. The same with a lock in every node. Lookups run on the caller's thread, and a pool of threads applies events.
    ConcurrentRadixTree,
    /// 6. A map from position and local hash to workers, searched by jumps, with threads like the fifth. Does not compare
    ///    what it jumps over, and takes a block that is the only one with its tokens at its position for the query's.
    Positional,
    /// The literal [`Reference`] behind a lock.
    Reference,
    /// An index that forgets events and finds nobody, to measure what the caller itself costs.
    Null,
}

impl Design {
    /// All designs.
    pub const ALL: [Self; 8] = [
        Self::Nested,
        Self::NestedActor,
        Self::Inverted,
        Self::RadixTree,
        Self::ConcurrentRadixTree,
        Self::Positional,
        Self::Reference,
        Self::Null,
    ];

    /// Returns its name in tables and charts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::NestedActor => "nested-actor",
            Self::Inverted => "inverted",
            Self::RadixTree => "radix-tree",
            Self::ConcurrentRadixTree => "concurrent-radix-tree",
            Self::Positional => "positional",
            Self::Reference => "reference",
            Self::Null => "null",
        }
    }

    /// Opens an empty index. Dropping it drops the events that still wait, ends its threads, and waits for their end.
    ///
    /// # Errors
    /// A core to pin to does not exist ([`io::ErrorKind::InvalidInput`]), or a thread cannot be started.
    pub fn open(self, writers: &Writers) -> io::Result<Box<dyn Backend>> {
        writers.check()?;
        let name = self.name();
        Ok(match self {
            Self::Nested => Box::new(Locked::<Admitted<nested::Nested>>::new(name)),
            Self::NestedActor => Box::new(Actor::start::<Admitted<nested::Nested>>(name, writers)?),
            Self::Inverted => Box::new(Actor::start::<Admitted<inverted::Inverted>>(name, writers)?),
            Self::RadixTree => Box::new(Actor::start::<Admitted<radix::RadixTree>>(name, writers)?),
            Self::ConcurrentRadixTree => {
                Box::new(Pool::<Admitted<Arc<concurrent::ConcurrentRadixTree>>>::start(name, writers)?)
            }
            Self::Positional => Box::new(Pool::<Admitted<Arc<positional::Positional>>>::start(name, writers)?),
            Self::Reference => Box::new(Locked::<Reference>::new(name)),
            Self::Null => Box::new(null::Null),
        })
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The threads with which a design applies events.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    /// How many threads, for designs with a pool; the others have one or none. 0 is taken as 1. Default 0.
    pub threads: usize,
    /// Cores to pin them to, as the operating system numbers them: thread i to `pin[i % len]`. Default empty: not pinned.
    pub pin: Vec<usize>,
}

impl Writers {
    /// Checks that the cores exist.
    fn check(&self) -> io::Result<()> {
        let cores: Vec<_> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        match self.pin.iter().find(|core| !cores.contains(core)) {
            None => Ok(()),
            Some(core) => {
                let why = format!("core {core} cannot be pinned to; choose from {cores:?}");
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }

    /// Returns the core for a thread.
    pub(super) fn core(&self, thread: usize) -> Option<usize> {
        (!self.pin.is_empty()).then(|| self.pin[thread % self.pin.len()])
    }
}
