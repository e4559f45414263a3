//! Storage tiers: device memory, host memory, disk.
//!
//! The index knows only one kind of block. What a worker has on a slower tier is therefore held by a second worker in
//! the index, whose name is that of the first with the tier in the upper bits of the rank. Tiers are cumulative: the
//! second worker holds what the first has on this tier or a faster one. Its depth is then the prefix that the engine
//! can serve without computing it, if it may load blocks from this tier.

use crate::event::Worker;

/// Where a worker keeps a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The accelerator's own memory.
    #[default]
    Device,
    /// The host's memory.
    Host,
    /// A disk, or other storage that belongs to the instance.
    Disk,
}

/// The highest data-parallel rank that the service accepts. The bits above are those of the tier.
pub const MAX_RANK: u32 = (1 << RANK_BITS) - 1;

const RANK_BITS: u32 = 28;

impl Tier {
    /// All of them, fastest first.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::Disk];

    /// Returns its name in answers: `gpu`, `cpu`, `disk`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "gpu",
            Self::Host => "cpu",
            Self::Disk => "disk",
        }
    }

    /// Returns the worker in the index that stands for this tier of `worker`, whose rank is at most [`MAX_RANK`].
    #[must_use]
    pub fn worker(self, worker: Worker) -> Worker {
        debug_assert!(worker.dp_rank <= MAX_RANK, "ranks are checked where they come in");
        Worker::new(worker.id, worker.dp_rank | (self as u32) << RANK_BITS)
    }

    /// Returns the worker and the tier that a worker in the index stands for.
    pub fn split(worker: Worker) -> (Worker, Self) {
        let tier = match worker.dp_rank >> RANK_BITS {
            0 => Self::Device,
            1 => Self::Host,
            _ => Self::Disk,
        };
        (Worker::new(worker.id, worker.dp_rank & MAX_RANK), tier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_can_be_told_from_its_worker() {
        for dp_rank in [0, 1, MAX_RANK] {
            let rank = Worker::new(7, dp_rank);
            for tier in Tier::ALL {
                assert_eq!(Tier::split(tier.worker(rank)), (rank, tier));
            }
            assert_eq!(Tier::Device.worker(rank), rank);
        }
    }
}
