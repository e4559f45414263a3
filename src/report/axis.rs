//! Axes: from values to places, ticks and labels.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis: its label, unit, scale and range.
#[derive(Clone, Debug)]
pub struct Axis {
    pub(super) label: String,
    pub(super) unit: Unit,
    pub(super) scale: Scale,
    covers: Vec<f64>,
    /// Whether there is no room around the range.
    tight: bool,
    names: Vec<String>,
}

/// The unit of an axis, which determines how values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// This unit, which is named in the title of the axis; values have prefixes, as in 20 k and 1.5 M. Empty for a
    /// plain number.
    Of(String),
    /// Values are seconds. Every tick has its own unit: 100 ns, 2 ms, 5 s.
    Seconds,
    /// Values are fractions; ticks are percentages.
    Share,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences take equal space.
    Linear,
    /// Equal ratios take equal space; values must be positive.
    Log,
}

impl Axis {
    /// A linear axis. It starts at zero unless all values are far from zero.
    #[must_use]
    pub fn linear(label: impl Into<String>, unit: Unit) -> Self {
        Self { label: label.into(), unit, scale: Scale::Linear, covers: Vec::new(), tight: false, names: Vec::new() }
    }

    /// A logarithmic axis.
    #[must_use]
    pub fn log(label: impl Into<String>, unit: Unit) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label, unit) }
    }

    /// An axis of named places: the first name is at 0, the next at 1, and so on.
    #[must_use]
    pub fn names<S: Into<String>>(label: impl Into<String>, names: impl IntoIterator<Item = S>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let covers = vec![-0.6, names.len() as f64 - 0.4];
        Self { covers, names, ..Self::linear(label, Unit::Of(String::new())) }
    }

    /// Makes the axis cover at least the range between two values.
    #[must_use]
    pub fn covering(mut self, from: f64, to: f64) -> Self {
        self.covers.extend([from, to]);
        self
    }

    /// Ends the axis where its range ends, without room around it: a linear axis that shows a part of something longer.
    #[must_use]
    pub fn tight(mut self) -> Self {
        self.tight = true;
        self
    }

    /// Returns label and unit.
    pub(super) fn title(&self) -> String {
        match &self.unit {
            Unit::Of(unit) if !unit.is_empty() => format!("{} ({unit})", self.label),
            _ => self.label.clone(),
        }
    }

    /// Returns whether the axis can show a value. Values beyond 1e300 would overflow with the margin around them, and
    /// on a logarithmic axis so would values below 1e-300.
    pub(super) fn takes(&self, value: f64) -> bool {
        value.abs() <= 1e300 && (self.scale == Scale::Linear || value >= 1e-300)
    }

    /// Fits the axis to these values and to at most this many labels. It must [take](Self::takes) all values.
    pub(super) fn span(&self, values: impl Iterator<Item = f64>, labels: usize) -> Span {
        let covers = self.covers.iter().copied().filter(|&value| self.takes(value));
        let (least, most) = values
            .chain(covers)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        if !self.names.is_empty() {
            let ticks = self.names.iter().enumerate().map(|(place, name)| (place as f64, name.clone())).collect();
            return Span { scale: self.scale, from: least, to: most, ticks, minor: Vec::new() };
        }
        match self.scale {
            Scale::Linear => self.linear_span(least, most, labels),
            Scale::Log => self.log_span(least, most, labels),
        }
    }

    fn linear_span(&self, least: f64, most: f64, labels: usize) -> Span {
        // Includes zero, unless that would flatten the data.
        let from = if least > 0.0 && least < 0.6 * most { 0.0 } else { least };
        let to = if most < 0.0 && most > 0.6 * least { 0.0 } else { most };
        let (from, to) = if self.tight && to > from {
            (least, most)
        } else {
            let room = if to > from { (to - from) * 0.04 } else { from.abs().max(1.0) * 0.5 };
            let from = if from == 0.0 { from } else { from - room };
            (from, if to == 0.0 && from < 0.0 { to } else { to + room })
        };
        Span { scale: Scale::Linear, from, to, ticks: self.even_ticks(from, to, labels), minor: Vec::new() }
    }

    /// Returns ticks with equal distances.
    fn even_ticks(&self, from: f64, to: f64, labels: usize) -> Vec<(f64, String)> {
        let step = step(to - from, labels);
        let ticks: Vec<f64> =
            ((from / step).ceil() as i64..=(to / step).floor() as i64).map(|tick| tick as f64 * step).collect();
        let largest = ticks.iter().fold(0.0_f64, |largest, tick| largest.max(tick.abs()));
        // Numbers of up to four digits need no prefix.
        let largest = if matches!(self.unit, Unit::Of(_)) && largest < 1e4 { 1.0 } else { largest };
        ticks.into_iter().map(|tick| (tick, self.write(tick, largest, step))).collect()
    }

    fn log_span(&self, least: f64, most: f64, labels: usize) -> Span {
        // A margin of three percent of the axis, in decades.
        let room = (0.03 * (most.log10() - least.log10())).clamp(0.08, 2.0);
        let (from, to) = (least / 10.0_f64.powf(room), most * 10.0_f64.powf(room));
        let decades: Vec<i32> = (from.log10().ceil() as i32..=to.log10().floor() as i32).collect();
        let multiples = |decade: i32| (1..10).map(move |digit| f64::from(digit) * 10.0_f64.powi(decade));
        let first = from.log10().floor() as i32;
        let all: Vec<f64> =
            (first..=to.log10().floor() as i32).flat_map(multiples).filter(|tick| (from..=to).contains(tick)).collect();
        let ticks: Vec<f64> = if decades.len() >= 3 {
            let every = decades.len().div_ceil(labels.max(1));
            decades.iter().step_by(every).map(|&decade| 10.0_f64.powi(decade)).collect()
        } else {
            let lead = |tick: f64| (tick / 10.0_f64.powf(tick.log10().floor() + 1e-9)).round() as u32;
            let leads: &[u32] = if all.len() <= labels { &[1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[1, 2, 5, 10] };
            all.iter().copied().filter(|&tick| leads.contains(&lead(tick))).collect()
        };
        let minor = all.into_iter().filter(|tick| !ticks.contains(tick)).collect();
        let ticks = match ticks.len() {
            // On a short axis there may be no round multiple of a power of ten.
            0 | 1 => self.even_ticks(from, to, labels),
            _ => ticks.into_iter().map(|tick| (tick, self.write(tick, tick, tick))).collect(),
        };
        Span { scale: Scale::Log, from, to, ticks, minor }
    }

    /// Writes a value with the prefix for `largest`, and as many digits as a distance of `step` needs.
    fn write(&self, value: f64, largest: f64, step: f64) -> String {
        let (factor, suffix) = match self.unit {
            Unit::Share => (0.01, "%"),
            Unit::Of(_) => prefix(largest, &[(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]),
            Unit::Seconds => prefix(largest, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")]),
        };
        let digits = (-(step / factor * 1.000_001).log10().floor()).max(0.0) as usize;
        if digits > 9 || (value / factor).abs() >= 1e6 {
            return format!("{value:.0e}");
        }
        // Zero has neither digits nor a prefix.
        let (value, digits) = if value == 0.0 { (0.0, 0) } else { (value / factor, digits) };
        let bare = suffix.is_empty() || (value == 0.0 && self.unit != Unit::Share);
        if bare { format!("{value:.digits$}") } else { format!("{value:.digits$} {suffix}") }
    }
}

/// Returns the first prefix that does not exceed `largest`, or the last one.
fn prefix<'a>(largest: f64, prefixes: &[(f64, &'a str)]) -> (f64, &'a str) {
    let fits = prefixes.iter().find(|(factor, _)| largest >= factor * 0.999_999);
    *fits.or(prefixes.last()).expect("every unit has a prefix")
}

/// Returns the distance of ticks, which is 1, 2 or 5 times a power of ten, so that at most `labels` of them fit into
/// `length`.
fn step(length: f64, labels: usize) -> f64 {
    let least = length / labels.max(1) as f64;
    let decade = 10.0_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= least).unwrap_or(10.0);
    factor * decade
}

/// An axis that is fitted to its values: its range and its ticks.
#[derive(Clone, Debug)]
pub(super) struct Span {
    scale: Scale,
    pub(super) from: f64,
    pub(super) to: f64,
    /// Places and labels of the ticks.
    pub(super) ticks: Vec<(f64, String)>,
    /// Places of grid lines without a label.
    minor: Vec<f64>,
}

impl Span {
    /// Returns `count` values between two values, evenly spaced on this axis.
    pub(super) fn spread(&self, from: f64, to: f64, count: usize) -> impl Iterator<Item = f64> {
        let scale = self.scale;
        (0..count).map(move |place| {
            let part = place as f64 / (count - 1) as f64;
            match scale {
                Scale::Linear => from + (to - from) * part,
                Scale::Log => from * (to / from).powf(part),
            }
        })
    }
}

impl Ranged for Span {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let part = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value / self.from).ln() / (self.to / self.from).ln(),
        };
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let labelled = self.ticks.iter().map(|&(tick, _)| tick);
        if hint.weight().allow_light_points() { self.minor.clone() } else { labelled.collect() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Span {
    #[allow(clippy::float_cmp)] // it is one of the ticks, unchanged
    fn format_ext(&self, value: &f64) -> String {
        let label = self.ticks.iter().find(|(tick, _)| tick == value).map(|(_, label)| label.clone());
        label.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64], count: usize) -> String {
        let span = axis.span(values.iter().copied(), count);
        span.ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn linear_ticks_are_round_and_start_at_zero_where_that_is_near() {
        let of = |unit: &str| Axis::linear("x", Unit::Of(unit.into()));
        assert_eq!(labels(&of("blocks"), &[3.0, 41.0], 6), "0 | 10 | 20 | 30 | 40");
        assert_eq!(labels(&of("blocks"), &[12_000.0, 61_000.0], 4), "0 | 20 k | 40 k | 60 k");
        assert_eq!(labels(&of("blocks"), &[1_000_000.0, 1_000_004.0], 3), "1.000000 M | 1.000002 M | 1.000004 M");
        assert_eq!(labels(&of(""), &[-2.0, 2.0], 5), "-2 | -1 | 0 | 1 | 2");
        assert_eq!(labels(&Axis::linear("x", Unit::Share), &[0.1, 0.9], 4), "0 % | 50 %");
        assert_eq!(labels(&Axis::linear("x", Unit::Seconds), &[0.0, 0.0021], 3), "0 | 1 ms | 2 ms");
        assert_eq!(labels(&of(""), &[7.0], 3), "5 | 10", "a single value has room around it");
        let part = of("").covering(30.0, 50.0).tight().span(std::iter::empty(), 3);
        assert_eq!((part.from, part.to, part.ticks.len()), (30.0, 50.0, 3), "a tight axis ends where its range does");
    }

    #[test]
    fn log_ticks_are_decades_or_finer_where_there_are_few() {
        let axis = Axis::log("x", Unit::Of("blocks/s".into()));
        assert_eq!(labels(&axis, &[900.0, 2e6], 8), "1 k | 10 k | 100 k | 1 M");
        assert_eq!(labels(&axis, &[1.0, 1e9], 5), "1 | 100 | 10 k | 1 M | 100 M");
        assert_eq!(labels(&axis, &[15.0, 90.0], 5), "20 | 50 | 100");
        assert_eq!(labels(&axis, &[1.35], 5), "1.2 | 1.4 | 1.6", "equal values have ticks around them");
        assert_eq!(labels(&axis, &[1e-300, 1e300], 3), "1e-302 | 1e-100 | 1e102");
        assert_eq!(labels(&Axis::log("x", Unit::Seconds), &[2e-7, 3e-2], 9), "1 µs | 10 µs | 100 µs | 1 ms | 10 ms");
    }

    #[test]
    fn names_stand_at_whole_numbers() {
        let span = Axis::names("system", ["a", "b"]).span([0.0, 1.0].into_iter(), 9);
        assert_eq!(span.ticks, [(0.0, "a".to_owned()), (1.0, "b".to_owned())]);
        assert!(span.from < -0.5 && span.to > 1.5);
    }

    #[test]
    fn ends_map_to_ends() {
        for axis in [Axis::linear("x", Unit::Of(String::new())), Axis::log("x", Unit::Of(String::new()))] {
            let span = axis.span([0.5, 70.0].into_iter(), 5);
            assert_eq!((span.map(&span.from, (10, 90)), span.map(&span.to, (10, 90))), (10, 90));
            let places: Vec<f64> = span.spread(1.0, 16.0, 5).collect();
            let mapped: Vec<i32> = places.iter().map(|place| span.map(place, (0, 10_000))).collect();
            let gaps: Vec<i32> = mapped.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(gaps.iter().max().unwrap() - gaps.iter().min().unwrap() <= 1, "{gaps:?}");
        }
    }
}
