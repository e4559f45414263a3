//! How an index is set up.

use std::fmt;
use std::time::Duration;

use super::Index;
use super::local::{LocalReader, LocalWriter};
use super::prefix::PrefixHasher;
use super::shard::Shard;

/// Settings of an [`Index`]. Every one has a default that suits a router with a few hundred workers.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) shards: usize,
    pub(super) pin: Vec<usize>,
    pub(super) mailbox: usize,
    pub(super) publish_interval: Duration,
    pub(super) publish_batch: u64,
    pub(super) jump_stride: u32,
    pub(super) seed: Option<u64>,
    pub(super) max_positions: u32,
    pub(super) max_workers: u32,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            shards: 1,
            pin: Vec::new(),
            mailbox: 65_536,
            publish_interval: Duration::from_micros(100),
            publish_batch: 256,
            jump_stride: 32,
            seed: None,
            max_positions: 1 << 20,
            max_workers: 1 << 16,
        }
    }
}

/// The most shards an index can have.
pub const MAX_SHARDS: usize = 256;

impl Builder {
    /// How many writers share the work, each with a thread and a part of the workers of its own. Default 1, at most
    /// [`MAX_SHARDS`]. A lookup visits every shard, so more of them make writing faster and reading slower: add some
    /// when [`ShardStatus::mailbox_depth`](crate::ShardStatus::mailbox_depth) does not go down between bursts.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The cores to pin the writer threads to: shard `i` to `cores[i % cores.len()]`, numbered as the operating
    /// system does. Default: none, the threads go where the scheduler puts them. A core that this process may not use
    /// is refused when the index is built; a writer that can still not be pinned says so in the log and in its
    /// [status](crate::ShardStatus::pinned), and runs unpinned.
    #[must_use]
    pub fn pin(mut self, cores: Vec<usize>) -> Self {
        self.pin = cores;
        self
    }

    /// How many events wait for a shard's writer at most, before a sender waits or gets its event back. Default
    /// 65,536, which are not allocated in advance. It bounds events, whatever their size, and with them memory and,
    /// times the cost of an event, staleness.
    #[must_use]
    pub fn mailbox(mut self, events: usize) -> Self {
        self.mailbox = events;
        self
    }

    /// How long an applied event stays invisible at most while more events keep arriving; when none are waiting, what
    /// was applied is published at once. Default 100 µs. Shorter means fresher and costs the writer some of its time.
    /// The clock is read once in 64 blocks or events, so up to so many more, or one longer event, may come before the
    /// publication; zero publishes whenever the clock is read.
    #[must_use]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        self.publish_interval = interval;
        self
    }

    /// How many events are applied at most before the next publication. Default 256. Fewer mean fresher answers under
    /// load, more mean fewer publications; the interval still holds.
    #[must_use]
    pub fn publish_batch(mut self, events: u64) -> Self {
        self.publish_batch = events;
        self
    }

    /// The first jump of the search inside a run, in blocks; later ones double. Default 32. It changes the speed of
    /// lookups, never their answer.
    #[must_use]
    pub fn jump_stride(mut self, blocks: u32) -> Self {
        self.jump_stride = blocks;
        self
    }

    /// The seed of the prefix hash, to repeat a run exactly. Default: none, and every index draws 256 bits of the
    /// system's randomness. Only then does the [bound](crate#exactness) on the probability of a wrong answer hold: who
    /// knows the seed can prepare prompts that collide.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Blocks at this position or beyond, counted from 0 at a sequence's root, are rejected
    /// ([`Rejection::TooDeep`](crate::Rejection::TooDeep)). Default 1,048,576: sixteen million tokens in blocks of
    /// sixteen.
    #[must_use]
    pub fn max_positions(mut self, blocks: u32) -> Self {
        self.max_positions = blocks;
        self
    }

    /// How many workers a shard knows at the same time at most; the first event of one more is rejected
    /// ([`Rejection::TooManyWorkers`](crate::Rejection::TooManyWorkers)). Default 65,536.
    #[must_use]
    pub fn max_workers(mut self, workers: u32) -> Self {
        self.max_workers = workers;
        self
    }

    /// Starts the writer threads.
    ///
    /// # Errors
    /// A setting out of its range, a core that does not exist, a thread that cannot be started, or a system without
    /// randomness. The writers that were started before that end.
    pub fn build(self) -> Result<Index, ConfigError> {
        self.check()?;
        Index::start(&self)
    }

    /// A single shard without a thread, for callers that own theirs: the caller applies and publishes on the writer,
    /// and readers look up as ever. Shards, cores, mailbox and publication settings do not matter.
    ///
    /// # Errors
    /// A setting out of its range, or a system without randomness.
    pub fn build_local(self) -> Result<(LocalWriter, LocalReader), ConfigError> {
        Self { shards: 1, pin: Vec::new(), ..self.clone() }.check()?;
        let hasher = self.hasher()?;
        let writer = LocalWriter::new(self.shard(&hasher));
        let reader = LocalReader::new(&writer, hasher, self.jump_stride);
        Ok((writer, reader))
    }

    pub(super) fn hasher(&self) -> Result<PrefixHasher, ConfigError> {
        if let Some(seed) = self.seed {
            return Ok(PrefixHasher::seeded(seed));
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| ConfigError::Randomness(error.into()))?;
        Ok(PrefixHasher::new(secret))
    }

    pub(super) fn shard(&self, hasher: &PrefixHasher) -> Shard {
        Shard::new(hasher.clone(), self.max_positions, self.max_workers)
    }

    /// Whether every setting is in its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let at_least_1 = |name, value: u64| (value > 0).then_some(()).ok_or(ConfigError::Zero { name });
        at_least_1("shards", self.shards as u64)?;
        at_least_1("mailbox", self.mailbox as u64)?;
        at_least_1("publish_batch", self.publish_batch)?;
        at_least_1("jump_stride", self.jump_stride.into())?;
        at_least_1("max_positions", self.max_positions.into())?;
        at_least_1("max_workers", self.max_workers.into())?;
        if self.shards > MAX_SHARDS {
            return Err(ConfigError::TooManyShards { shards: self.shards });
        }
        // Slots of all shards together are numbered with 32 bits.
        if u64::from(self.max_workers) * self.shards as u64 > u64::from(u32::MAX) {
            return Err(ConfigError::TooManyWorkers { max_workers: self.max_workers, shards: self.shards });
        }
        let cores = cores();
        match self.pin.iter().find(|core| !cores.contains(core)) {
            Some(&core) => Err(ConfigError::NoSuchCore { core, cores }),
            None => Ok(()),
        }
    }
}

/// The cores that this process can pin threads to.
fn cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Why an index could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting that must be at least 1 is 0.
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// More shards than [`MAX_SHARDS`].
    TooManyShards {
        /// How many were asked for.
        shards: usize,
    },
    /// `max_workers` of every shard are more than 2^32 - 1 together.
    TooManyWorkers {
        /// How many a shard would take.
        max_workers: u32,
        /// How many shards.
        shards: usize,
    },
    /// A writer cannot be pinned to a core that is not there.
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// Those this process may use.
        cores: Vec<usize>,
    },
    /// The operating system refused a writer thread.
    Thread(std::io::Error),
    /// The operating system has no randomness to draw the keys of the prefix hash from.
    Randomness(std::io::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { name } => write!(f, "{name} is 0; it must be at least 1"),
            Self::TooManyShards { shards } => write!(f, "{shards} shards; at most {MAX_SHARDS} are possible"),
            Self::TooManyWorkers { max_workers, shards } => {
                write!(f, "{max_workers} workers in each of {shards} shards; all together may be at most {}", u32::MAX)
            }
            Self::NoSuchCore { core, cores } => write!(f, "core {core} cannot be pinned to; choose from {cores:?}"),
            Self::Thread(error) => write!(f, "a writer thread could not be started: {error}"),
            Self::Randomness(error) => write!(f, "the system has no randomness for the keys of the hash: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) | Self::Randomness(error) => Some(error),
            _ => None,
        }
    }
}
