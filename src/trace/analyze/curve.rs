//! Hit rate as a function of cache size.

use serde::Serialize;

/// The hit rate of a fleet whose workers take requests in turn, as a function of the size of their caches.
///
/// The caches evict the least recently used block; among blocks that one request used last, the deepest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Number of workers.
    pub workers: u32,
    /// The curve at eight capacities an octave, up to the least capacity with the highest hit rate.
    pub points: Vec<CurvePoint>,
    /// Hits for each capacity from 0.
    #[serde(skip)]
    hits: Vec<u64>,
    #[serde(skip)]
    blocks: u64,
}

/// A point on a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Blocks that each worker can cache.
    pub capacity: u64,
    /// Hit blocks / blocks.
    pub hit_rate: f64,
}

impl Curve {
    /// Creates the curve from the number of uses with each reuse distance, and the number of all blocks, at least one.
    pub(super) fn new(workers: u32, mut uses: Vec<u64>, blocks: u64) -> Self {
        let last = uses.iter().rposition(|&n| n > 0).unwrap_or(0);
        uses.truncate(last + 1);
        let mut sum = 0;
        for n in &mut uses {
            sum += *n;
            *n = sum;
        }
        let mut curve = Self { workers, points: Vec::new(), hits: uses, blocks };
        let octaves = (0..).map(|step| 2_f64.powf(f64::from(step) / 8.0).round() as u64);
        let mut capacities: Vec<u64> = octaves.take_while(|&capacity| capacity < last as u64).collect();
        capacities.dedup();
        capacities.push(last as u64);
        let point = |capacity| CurvePoint { capacity, hit_rate: curve.hit_rate(capacity) };
        curve.points = capacities.into_iter().map(point).collect();
        curve
    }

    /// Returns the exact share of all blocks that are hit if each cache has `capacity` blocks.
    pub fn hit_rate(&self, capacity: u64) -> f64 {
        let place = (capacity as usize).min(self.hits.len().saturating_sub(1));
        let hits = self.hits.get(place).copied().unwrap_or(0);
        hits as f64 / self.blocks as f64
    }
}
