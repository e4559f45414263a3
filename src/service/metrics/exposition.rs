//! The text format of Prometheus.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Metrics, as text.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// It only grows, until the process ends. Its name ends in `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// One metric, with a sample for each set of labels.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Exposition {
    /// Begins a metric. Its samples have to follow before the next one begins.
    pub(super) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &str) -> Family<'a> {
        let text = &mut self.0;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text, name }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

fn put(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("memory takes all text");
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &Labels, value: impl Display) {
        put(self.text, format_args!("{}{labels} {value}\n", self.name));
    }

    /// Adds a sample of a metric that has no labels.
    pub(super) fn value(&mut self, value: impl Display) {
        self.sample(&Labels::default(), value);
    }

    /// Adds what is in the buckets.
    pub(super) fn buckets(&mut self, labels: &Labels, buckets: &Buckets) {
        let Self { text, name } = self;
        let mut count = 0;
        for (bound, many) in Buckets::BOUNDS.iter().zip(buckets.counts) {
            count += many;
            put(text, format_args!("{name}_bucket{} {count}\n", labels.with("le", bound)));
        }
        count += buckets.beyond;
        put(text, format_args!("{name}_bucket{} {count}\n", labels.with("le", "+Inf")));
        put(text, format_args!("{name}_sum{labels} {}\n{name}_count{labels} {count}\n", buckets.sum.as_secs_f64()));
    }
}

/// Labels of a sample, escaped.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(String);

impl Labels {
    #[must_use]
    pub(super) fn with(&self, name: &str, value: impl Display) -> Self {
        let mut text = self.0.clone();
        let comma = if text.is_empty() { "" } else { "," };
        put(&mut text, format_args!("{comma}{name}=\""));
        write!(Escaped(&mut text), "{value}").expect("memory takes all text");
        text.push('"');
        Self(text)
    }
}

impl Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{{{}}}", self.0) }
    }
}

/// Escapes what would end the value of a label.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for sign in text.chars() {
            match sign {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(sign),
            }
        }
        Ok(())
    }
}

/// Times, sorted into buckets.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    counts: [u64; Buckets::BOUNDS.len()],
    beyond: u64,
    sum: Duration,
}

impl Buckets {
    /// Upper bounds in seconds.
    const BOUNDS: [f64; 20] = [
        10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0, 30.0,
    ];

    /// Adds all times of a histogram in nanoseconds.
    pub(super) fn add(&mut self, times: &Histogram<u64>) {
        for step in times.iter_recorded() {
            let (time, many) = (Duration::from_nanos(step.value_iterated_to()), step.count_since_last_iteration());
            let seconds = time.as_secs_f64();
            match Self::BOUNDS.iter().position(|&bound| seconds <= bound) {
                Some(place) => self.counts[place] += many,
                None => self.beyond += many,
            }
            self.sum += Duration::from_nanos(step.value_iterated_to().saturating_mul(many));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_ends_its_sample() {
        let mut text = Exposition::default();
        let labels = Labels::default().with("model", "a\"} 1\nforged{b=\"\\").with("rank", 3);
        text.family(Kind::Gauge, "g", "Help").sample(&labels, 0.5);
        text.family(Kind::Counter, "c_total", "Help").value(u64::MAX);
        let expected = "# HELP g Help\n# TYPE g gauge\ng{model=\"a\\\"} 1\\nforged{b=\\\"\\\\\",rank=\"3\"} 0.5\n\
                        # HELP c_total Help\n# TYPE c_total counter\nc_total 18446744073709551615\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn every_time_is_in_all_buckets_that_are_not_below_it() {
        let mut times = Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("valid bounds");
        times.record_n(20_000, 5).expect("within bounds");
        times.record(2_000_000_000).expect("within bounds");
        times.record(59_000_000_000).expect("within bounds");
        let mut buckets = Buckets::default();
        buckets.add(&times);
        let mut text = Exposition::default();
        text.family(Kind::Histogram, "h", "Help").buckets(&Labels::default(), &buckets);
        let text = text.into_text();
        for line in [
            "h_bucket{le=\"0.00001\"} 0",
            "h_bucket{le=\"0.000025\"} 5",
            "h_bucket{le=\"1\"} 5",
            "h_bucket{le=\"2.5\"} 6",
            "h_bucket{le=\"30\"} 6",
            "h_bucket{le=\"+Inf\"} 7",
            "h_count 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
