//! Storage tiers: device memory, host memory, disk.
//!
//! The index knows one kind of block. What a rank has on a slower tier is therefore kept for a worker of its own, the
//! rank's name with the tier in its upper bits, and is cumulative: that worker holds what the rank has on this tier or a
//! faster one. Its depth is then the prefix that the rank can serve without computing, if it may reach down so far.

use crate::event::Worker;

/// Where a rank keeps a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The accelerator's own memory.
    #[default]
    Device,
    /// The host's memory.
    Host,
    /// A disk, or other storage of the instance's own.
    Disk,
}

/// The highest data-parallel rank that the service takes; the bits above name the tier.
pub const MAX_RANK: u32 = (1 << RANK_BITS) - 1;

const RANK_BITS: u32 = 28;

impl Tier {
    /// All of them, fastest first.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::Disk];

    /// As answers name it: `gpu`, `cpu`, `disk`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "gpu",
            Self::Host => "cpu",
            Self::Disk => "disk",
        }
    }

    /// The worker of the index that stands for this tier of `rank`, whose rank is at most [`MAX_RANK`].
    #[must_use]
    pub fn worker(self, rank: Worker) -> Worker {
        debug_assert!(rank.dp_rank <= MAX_RANK, "ranks are checked where they come in");
        Worker::new(rank.id, rank.dp_rank | (self as u32) << RANK_BITS)
    }

    /// The rank and the tier that a worker of the index stands for.
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
