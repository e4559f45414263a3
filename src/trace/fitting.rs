//! The block sizes that fit the rows of a trace.

use std::fmt;

/// The block sizes that fit all rows read so far.
///
/// Every full block of a prompt has an id. A partial last block has one, too, or has none, and it is the same in all
/// rows. So the number of ids is the number of tokens divided by the block size, and either always rounded up or always
/// rounded down. Each of the two is true for the sizes of one interval, and every row narrows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FittingSizes {
    rows: u32,
    down: Interval,
    up: Interval,
}

/// All sizes from `least` to `most`; none if that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    least: u32,
    most: u32,
}

impl Interval {
    const ALL: Self = Self { least: 1, most: u32::MAX };
    const NONE: Self = Self { least: 1, most: 0 };

    /// All sizes from `least` to `most`, or without an end if there is none, that a `u32` can be.
    fn new(least: u64, most: Option<u64>) -> Self {
        let most = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
        u32::try_from(least).map_or(Self::NONE, |least| Self { least, most })
    }

    fn narrow(&mut self, other: Self) {
        *self = Self { least: self.least.max(other.least), most: self.most.min(other.most) };
    }

    fn contains(self, size: u32) -> bool {
        (self.least..=self.most).contains(&size)
    }

    fn is_empty(self) -> bool {
        self.least > self.most
    }
}

impl Default for FittingSizes {
    fn default() -> Self {
        Self { rows: 0, down: Interval::ALL, up: Interval::ALL }
    }
}

impl FittingSizes {
    /// Takes out the sizes that do not fit the next row, which has this many tokens and ids.
    pub(super) fn narrow(&mut self, tokens: u32, ids: usize) {
        let (tokens, ids) = (u64::from(tokens), ids as u64);
        self.rows = self.rows.saturating_add(1);
        // ids * size <= tokens < (ids + 1) * size
        self.down.narrow(Interval::new(tokens / (ids + 1) + 1, tokens.checked_div(ids)));
        // (ids - 1) * size < tokens <= ids * size
        self.up.narrow(match (tokens, ids) {
            (0, 0) => Interval::ALL,
            (0, _) | (_, 0) => Interval::NONE,
            _ => Interval::new(tokens.div_ceil(ids), (tokens - 1).checked_div(ids - 1)),
        });
    }

    pub(super) fn contains(&self, size: u32) -> bool {
        self.down.contains(size) || self.up.contains(size)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.down.is_empty() && self.up.is_empty()
    }

    /// Returns the size, if there is only one that fits, or only one that is usual: a power of two.
    fn one(&self) -> Option<u32> {
        let ends = [self.down.least, self.down.most, self.up.least, self.up.most];
        let only = |sizes: &mut dyn Iterator<Item = u32>| {
            let mut fitting = sizes.filter(|&size| self.contains(size));
            let first = fitting.next()?;
            fitting.all(|size| size == first).then_some(first)
        };
        only(&mut (0..32).map(|power| 1 << power)).or_else(|| only(&mut ends.into_iter()))
    }
}

/// Says which block size is right, as far as the rows tell.
impl fmt::Display for FittingSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows =
            if self.rows == 1 { "the only row".to_owned() } else { format!("all of the first {} rows", self.rows) };
        if let Some(size) = self.one() {
            return write!(f, "the block size is wrong; blocks of {size} tokens fit {rows}");
        }
        let mut intervals: Vec<_> = [self.down, self.up].into_iter().filter(|sizes| !sizes.is_empty()).collect();
        if let [down, up] = intervals[..]
            && down.most >= up.least - 1
        {
            intervals = vec![Interval { least: down.least, most: up.most }];
        }
        let ranges = intervals.into_iter().map(|Interval { least, most }| match most {
            u32::MAX => format!("{least} or more"),
            _ => format!("{least} to {most}"),
        });
        match ranges.collect::<Vec<_>>().join(", or of ") {
            none if none.is_empty() => {
                write!(f, "no block size fits {rows}, so a row has lost ids, has too many, or has a wrong input_length")
            }
            ranges => write!(f, "the block size is wrong; blocks of {ranges} tokens fit {rows}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting(rows: &[(u32, usize)]) -> FittingSizes {
        let mut sizes = FittingSizes::default();
        for &(tokens, ids) in rows {
            sizes.narrow(tokens, ids);
        }
        sizes
    }

    #[test]
    fn sizes_fit_if_all_rows_round_up_or_all_round_down() {
        let rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (7, 1), (8, 2), (9, 2), (9, 3), (12, 3), (100, 0)];
        for (first, second) in rows.iter().flat_map(|first| rows.iter().map(move |second| (*first, *second))) {
            let sizes = fitting(&[first, second]);
            let all = |fits: fn(u32, u32) -> u32, size| {
                [first, second].iter().all(|&(tokens, ids)| fits(tokens, size) as usize == ids)
            };
            for size in 1..200 {
                let expected = all(|tokens, size| tokens / size, size) || all(u32::div_ceil, size);
                assert_eq!(sizes.contains(size), expected, "{first:?} {second:?} in blocks of {size}");
            }
        }
    }

    #[test]
    fn a_size_is_named_if_it_is_the_only_one_or_the_only_power_of_two() {
        let said = |rows: &[(u32, usize)]| fitting(rows).to_string();
        assert!(said(&[(1500, 3)]).contains("blocks of 512 tokens fit the only row"));
        assert!(said(&[(1100, 2)]).contains("blocks of 367 to 1099 tokens fit"), "512 and 1024");
        let both = said(&[(1100, 2), (1500, 3)]);
        assert!(both.contains("blocks of 376 to 500, or of 550 to 749 tokens fit all of the first 2 rows"), "{both}");
        assert!(said(&[(300, 3), (301, 4)]).contains("blocks of 100 tokens fit all of the first 2 rows"));
        assert!(said(&[(600, 0)]).contains("601 or more"));
        assert!(said(&[(u32::MAX, 0)]).contains("no block size fits the only row"));
        assert!(said(&[(10, 10), (10, 1)]).contains("no block size fits all of the first 2 rows"));
    }
}
