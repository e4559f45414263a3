//! The least of many scores, with ties broken at random.

use super::{Candidates, Random};

/// Scores that are compared at a time.
const LANES: usize = 16;
type Row = [f32; LANES];
/// Rows of which one minimum is kept.
const ROWS: usize = 4;

/// A score for each seat, and the space to find the least. Everything that concerns all seats is a pass that
/// vectorises, rather than a loop with a branch for each.
#[derive(Clone, Debug, Default)]
pub(super) struct Scores {
    /// By seat; infinity for seats that are not candidates, and behind the last seat.
    values: Vec<Row>,
    /// The minimum of every [`ROWS`] rows.
    minima: Vec<f32>,
}

impl Scores {
    /// Sets the score of each seat. Seats that are not candidates get infinity.
    pub(super) fn set(&mut self, candidates: &Candidates<'_>, scores: impl ExactSizeIterator<Item = f32>) {
        self.values.resize(scores.len().div_ceil(LANES), [f32::INFINITY; LANES]);
        let (values, behind) = self.values.as_flattened_mut().split_at_mut(scores.len());
        // Overwriting vectorises; clearing and extending does not.
        values.iter_mut().zip(scores).for_each(|(value, score)| *value = score);
        behind.fill(f32::INFINITY);
        candidates.mask().overwrite_others(values, f32::INFINITY);
        self.minima.clear();
        self.minima.extend(self.values.chunks(ROWS).map(minimum));
    }

    /// Scores those with the least score again, by these scores of all seats. All others get infinity.
    pub(super) fn again(&mut self, scores: &[f32]) {
        let least = self.minimum();
        let chunks = self.values.chunks_mut(ROWS).zip(&mut self.minima).zip(scores.chunks(LANES * ROWS));
        for ((rows, minimum_of_rows), scores) in chunks {
            for (value, &score) in rows.as_flattened_mut().iter_mut().zip(scores) {
                *value = if *value > least { f32::INFINITY } else { score };
            }
            *minimum_of_rows = minimum(rows);
        }
    }

    /// Returns the least score; infinity if no candidate has one.
    pub(super) fn minimum(&self) -> f32 {
        self.minima.iter().copied().fold(f32::INFINITY, lesser)
    }

    /// Calls `visit` with the seats whose scores are at most `margin` above the least one, ascending, and these scores.
    pub(super) fn within(&self, least: f32, margin: f32, mut visit: impl FnMut(usize, f32)) {
        let near = |score: f32| score - least <= margin;
        for (index, row) in self.values.iter().enumerate() {
            // Most rows have none, which takes one test.
            if row.iter().fold(false, |any, &score| any | near(score)) {
                (index * LANES..)
                    .zip(row)
                    .filter(|&(_, &score)| near(score))
                    .for_each(|(seat, &score)| visit(seat, score));
            }
        }
    }

    /// Returns the candidate with the least score; ties are broken at random. `None` if no candidate has a score below
    /// infinity.
    #[allow(clippy::float_cmp, reason = "the least is one of the scores")]
    pub(super) fn least(&self, random: &mut Random) -> Option<usize> {
        let least = self.minimum();
        if least == f32::INFINITY {
            return None;
        }
        let ties = |scores: &[f32]| scores.iter().map(|&score| u32::from(score == least)).sum::<u32>() as usize;
        // Only the few chunks whose minimum it is are searched.
        let chunks = self.values.chunks(ROWS).zip(&self.minima).enumerate().filter(|&(_, (_, &min))| min == least);
        let chunks = chunks.map(|(index, (rows, _))| (index * ROWS * LANES, rows.as_flattened()));
        let count = chunks.clone().map(|(_, scores)| ties(scores)).sum();
        let mut pick = if count > 1 { random.below(count) } else { 0 };
        for (first, scores) in chunks {
            let here = ties(scores);
            if pick < here {
                return (first..).zip(scores).filter(|&(_, &score)| score == least).nth(pick).map(|(seat, _)| seat);
            }
            pick -= here;
        }
        None
    }
}

/// Not `f32::min`, which is slower because it handles NaN.
fn lesser(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

fn minimum(rows: &[Row]) -> f32 {
    let mut lanes = [f32::INFINITY; LANES];
    for row in rows {
        lanes.iter_mut().zip(row).for_each(|(lane, &score)| *lane = lesser(*lane, score));
    }
    // By halves, which is a few instructions.
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = lesser(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}
