//! Heat maps: counts as cells in shades of one scale.

use super::chart::{Point, Series};
use super::theme::SHADES;

/// A scale of shades for counts from 1 up, in classes with round bounds. Counts below 1 are not drawn.
///
/// Every class is a series, so the legend of the figure is that of the scale. Charts of one figure that use the same
/// scale can be compared.
///
/// ```
/// use kvleap::report::{Axis, Chart, Figure, Shades, Theme, Unit};
///
/// let axis = |label: &str| Axis::linear(label, Unit::Of(String::new()));
/// let cells = [((0.0, 0.0), (1.0, 1.0), 3.0), ((1.0, 0.0), (2.0, 1.0), 40.0)];
/// let shades = Shades::up_to(40.0, "blocks");
/// let chart = shades.series(cells).into_iter().fold(Chart::new("", axis("time"), axis("worker")), Chart::series);
/// assert!(Figure::new("Cells").chart(chart).svg(Theme::Light)?.contains("10 to 19 blocks"));
/// # Ok::<(), kvleap::report::FigureError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shades {
    /// The least value of every class, ascending.
    bounds: Vec<f64>,
    unit: String,
}

impl Shades {
    /// Creates a scale for counts up to `most` in this unit. All classes have the same width, which is 1, 2 or 5 times
    /// a power of ten.
    #[must_use]
    pub fn up_to(most: f64, unit: impl Into<String>) -> Self {
        let widths = (0..300).flat_map(|decade| [1.0, 2.0, 5.0].map(|lead| lead * 10_f64.powi(decade)));
        let fits = |width: &f64| most < width * SHADES as f64;
        let width = widths.into_iter().find(fits).unwrap_or(f64::MAX);
        let more = (1..SHADES).map(|class| class as f64 * width).filter(|&bound| bound > 1.0 && bound <= most);
        Self { bounds: std::iter::once(1.0).chain(more).collect(), unit: unit.into() }
    }

    /// Returns a series for every class, the least first. A cell is two opposite corners and a value.
    #[must_use]
    pub fn series(&self, cells: impl IntoIterator<Item = (Point, Point, f64)>) -> Vec<Series> {
        let mut classes = vec![Vec::new(); self.bounds.len()];
        for (from, to, value) in cells {
            if let Some(class) = self.bounds.partition_point(|&bound| bound <= value).checked_sub(1) {
                classes[class].push((from, to));
            }
        }
        // Spread over all shades; the strongest is for the largest counts.
        let shade = |class: usize| (class * (SHADES - 1)).checked_div(self.bounds.len() - 1).unwrap_or(SHADES - 1);
        let series = |(class, cells)| Series::rectangles(self.name(class), cells).shade(shade(class));
        classes.into_iter().enumerate().map(series).collect()
    }

    fn name(&self, class: usize) -> String {
        let least = self.bounds[class];
        match self.bounds.get(class + 1) {
            Some(next) if next - 1.0 > least => format!("{least} to {} {}", next - 1.0, self.unit),
            Some(_) => format!("{least} {}", self.unit),
            None => format!("{least} {} or more", self.unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_round_and_few() {
        let bounds = |most| Shades::up_to(most, "").bounds;
        assert_eq!(bounds(0.0), [1.0]);
        assert_eq!(bounds(3.0), [1.0, 2.0, 3.0]);
        assert_eq!(bounds(13.0), [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(bounds(2_100.0), [1.0, 500.0, 1_000.0, 1_500.0, 2_000.0]);
        assert!([1e9, 1e300, f64::MAX, f64::NAN].into_iter().all(|most| bounds(most).len() <= SHADES));
    }

    #[test]
    fn names_say_what_belongs_to_a_class() {
        let names = |most| -> Vec<String> {
            Shades::up_to(most, "blocks").series([]).into_iter().map(|series| series.name).collect()
        };
        assert_eq!(names(2.0), ["1 blocks", "2 blocks or more"]);
        assert_eq!(names(11.0)[..2], ["1 blocks", "2 to 3 blocks"]);
    }

    #[test]
    fn every_cell_is_in_the_class_of_its_value() {
        let at = |x: f64, value| ((x, 0.0), (x + 1.0, 1.0), value);
        let cells = [at(0.0, 0.0), at(1.0, 1.0), at(2.0, 9.9), at(3.0, 10.0), at(4.0, 99.0)];
        let count = |series: &Series| series.marks.xs().count() / 2;
        let counts: Vec<usize> = Shades::up_to(30.0, "blocks").series(cells).iter().map(count).collect();
        assert_eq!(counts, [1, 1, 1, 0, 0, 0, 1]);
    }
}
