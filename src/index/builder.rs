//! The settings of an index.

use std::fmt;
use std::time::Duration;

use super::Index;
use super::mailbox::Room;
use super::reader::Reader;
use super::shared::prefix::PrefixHasher;
use super::write::shard::Shard;
use super::writer::Writer;

/// Settings of an [`Index`]. Every one has a default that suits a router with a few hundred workers.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) shards: usize,
    pub(super) pin: Vec<usize>,
    pub(super) mailbox: usize,
    pub(super) mailbox_bytes: usize,
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
            mailbox_bytes: 64 << 20,
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
    /// How many shards share the work, each with a writer thread and a part of the workers. Default 1, at most
    /// [`MAX_SHARDS`]. A lookup visits every shard, so more of them make writing faster and reading slower: add some
    /// when [`ShardStatus::mailbox_depth`](crate::ShardStatus::mailbox_depth) does not go down between bursts.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// The cores to which writer threads are pinned: shard `i` to `cores[i % cores.len()]`, numbered as the operating
    /// system does. Default: none, and the scheduler places the threads. A core that this process may not use is refused
    /// when the index is built. A writer that cannot be pinned after all logs a warning, says so in its
    /// [status](crate::ShardStatus::pinned), and runs unpinned.
    ///
    /// A writer that shares its core with no other writer of the index looks into its mailbox for 100 µs before it sleeps:
    /// what comes next is visible some tens of microseconds earlier, and nobody who sends has to wake it. It keeps the core
    /// busy while events come closer together than that, so give it one that no other thread needs.
    #[must_use]
    pub fn pin(mut self, cores: Vec<usize>) -> Self {
        self.pin = cores;
        self
    }

    /// How many events can wait for a shard's writer. Beyond that, `send` waits and `try_send` hands the event back.
    /// Default 65,536, not allocated in advance. This bounds the staleness; see also
    /// [`mailbox_bytes`](Self::mailbox_bytes).
    #[must_use]
    pub fn mailbox(mut self, events: usize) -> Self {
        self.mailbox = events;
        self
    }

    /// How many bytes of events can wait for a shard's writer: what they have on the heap, and about a hundred bytes for
    /// each. Beyond that, `send` waits and `try_send` hands the event back. Default 64 MiB, not allocated in advance. An
    /// event or an import that takes more than all of it is accepted when nothing else waits; otherwise nobody could ever
    /// send it.
    #[must_use]
    pub fn mailbox_bytes(mut self, bytes: usize) -> Self {
        self.mailbox_bytes = bytes;
        self
    }

    /// The longest time for which an applied event stays invisible while more events keep arriving. When no event is
    /// waiting, everything applied is published at once. Default 100 µs. A shorter interval means fresher answers, and
    /// costs the writer some of its time. The clock is read once in 64 blocks or events, so up to 64 more of them, or one
    /// longer event, may come before the publication. Before an event of 256 blocks or more there is a publication in any
    /// case. Zero publishes whenever the clock is read.
    #[must_use]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        self.publish_interval = interval;
        self
    }

    /// The largest number of events that are applied before the next publication. Default 256. Fewer mean fresher answers
    /// under load, more mean fewer publications. The interval still holds.
    #[must_use]
    pub fn publish_batch(mut self, events: u64) -> Self {
        self.publish_batch = events;
        self
    }

    /// The length of the first jump of the search inside a run, in blocks. Later jumps double. Default 32. It changes the
    /// speed of lookups, never their answers.
    #[must_use]
    pub fn jump_stride(mut self, blocks: u32) -> Self {
        self.jump_stride = blocks;
        self
    }

    /// The seed of the prefix hash, to repeat a run exactly. Default: none, and every index draws 256 bits of the
    /// system's randomness. Only then does the [bound](crate#exactness) on the probability of a wrong answer hold:
    /// somebody who knows the seed can prepare prompts that collide.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The longest sequence, in blocks. An event that stores a block at this position or beyond, counted from 0, is
    /// rejected ([`Rejection::TooDeep`](crate::Rejection::TooDeep)). Default 1,048,576: sixteen million tokens in blocks
    /// of sixteen.
    #[must_use]
    pub fn max_positions(mut self, blocks: u32) -> Self {
        self.max_positions = blocks;
        self
    }

    /// How many workers a shard can know at the same time. Events of further workers are rejected
    /// ([`Rejection::TooManyWorkers`](crate::Rejection::TooManyWorkers)). Default 65,536.
    #[must_use]
    pub fn max_workers(mut self, workers: u32) -> Self {
        self.max_workers = workers;
        self
    }

    /// Starts the writer threads.
    ///
    /// # Errors
    /// A setting is out of its range, a core does not exist, a thread cannot be started, or the system has no randomness.
    /// Writers that were already started end.
    pub fn build(self) -> Result<Index, ConfigError> {
        self.check()?;
        Index::start(&self)
    }

    /// Builds a single shard without a thread, for callers that own one. The caller applies events and publishes on the
    /// writer; readers look up as usual. The settings of shards, cores, mailbox and publication do not matter.
    ///
    /// # Errors
    /// A setting is out of its range, or the system has no randomness.
    pub fn build_local(self) -> Result<(Writer, Reader), ConfigError> {
        Self { shards: 1, pin: Vec::new(), ..self.clone() }.check()?;
        let hasher = self.hasher()?;
        let writer = Writer::new(self.shard(&hasher));
        let reader = Reader::new(&writer, hasher, self.jump_stride);
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

    /// The core to which the writer of a shard is pinned.
    pub(super) fn core(&self, shard: usize) -> Option<usize> {
        (!self.pin.is_empty()).then(|| self.pin[shard % self.pin.len()])
    }

    /// Whether no other writer is pinned to the core of this one.
    pub(super) fn has_a_core_alone(&self, shard: usize) -> bool {
        self.core(shard)
            .is_some_and(|own| (0..self.shards).all(|other| other == shard || self.core(other) != Some(own)))
    }

    pub(super) fn room(&self) -> Room {
        Room { events: self.mailbox, bytes: self.mailbox_bytes }
    }

    /// Checks that every setting is in its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let at_least_1 = |name, value: u64| (value > 0).then_some(()).ok_or(ConfigError::Zero { name });
        at_least_1("shards", self.shards as u64)?;
        at_least_1("mailbox", self.mailbox as u64)?;
        at_least_1("mailbox_bytes", self.mailbox_bytes as u64)?;
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
        /// The number asked for.
        shards: usize,
    },
    /// `max_workers` times `shards` is more than 2^32 - 1.
    TooManyWorkers {
        /// The limit of a shard.
        max_workers: u32,
        /// The number of shards.
        shards: usize,
    },
    /// A writer cannot be pinned to a core that is not there.
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores that this process may use.
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
            Self::TooManyShards { shards } => write!(f, "{shards} shards are too many; the most is {MAX_SHARDS}"),
            Self::TooManyWorkers { max_workers, shards } => {
                write!(
                    f,
                    "{max_workers} workers in each of {shards} shards are too many; the most in total is {}",
                    u32::MAX
                )
            }
            Self::NoSuchCore { core, cores } => {
                write!(f, "there is no core {core} to pin a writer to; choose from {cores:?}")
            }
            Self::Thread(error) => write!(f, "cannot start a writer thread: {error}"),
            Self::Randomness(error) => {
                write!(f, "cannot draw keys for the prefix hash from the system's randomness: {error}")
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_has_a_core_alone_if_no_other_is_pinned_to_it() {
        let alone = |shards: usize, cores: &[usize]| -> Vec<bool> {
            let builder = Builder::default().shards(shards).pin(cores.to_vec());
            (0..shards).map(|shard| builder.has_a_core_alone(shard)).collect()
        };
        assert_eq!(alone(1, &[]), [false], "it is not pinned");
        assert_eq!(alone(1, &[4, 5]), [true]);
        assert_eq!(alone(3, &[4, 5]), [false, true, false], "the third has the core of the first");
        assert_eq!(alone(2, &[4, 4]), [false, false]);
    }
}
