//! The least of many figures, fairly.

use super::{Candidates, Random};

/// As many figures are compared at a time.
const LANES: usize = 16;

/// The candidate with the least figure; of equals, each with the same probability. Figures of other seats are
/// overwritten. `None` where no candidate has a figure below infinity.
///
/// Three passes that vectorise, rather than one with a branch for each figure.
#[allow(clippy::float_cmp, reason = "the least is one of the figures")]
pub(super) fn least(figures: &mut [f32], candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
    candidates.mask().overwrite_others(figures, f32::INFINITY);
    let least = minimum(figures);
    if least == f32::INFINITY {
        return None;
    }
    let (chunks, rest) = figures.as_chunks::<LANES>();
    let equals = |figures: &[f32]| figures.iter().map(|&figure| u32::from(figure == least)).sum::<u32>() as usize;
    let count: usize = chunks.iter().map(|chunk| equals(chunk)).sum::<usize>() + equals(rest);
    let mut rank = if count == 1 { 0 } else { random.below(count) };
    for (index, chunk) in figures.chunks(LANES).enumerate() {
        let here = equals(chunk);
        if rank < here {
            let mut places = (0..).zip(chunk).filter(|&(_, &figure)| figure == least);
            return places.nth(rank).map(|(place, _): (usize, _)| index * LANES + place);
        }
        rank -= here;
    }
    None
}

/// The least figure that is one; infinity where there is none.
pub(super) fn minimum(figures: &[f32]) -> f32 {
    let mut lanes = [f32::INFINITY; LANES];
    let (chunks, rest) = figures.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &figure) in lanes.iter_mut().zip(chunk) {
            // Not `f32::min`, which is slower for what it does about NaN.
            *lane = if figure < *lane { figure } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::INFINITY, |a, b| if b < a { b } else { a })
}
