//! How numbers are written for people, the same in every command.

use indicatif::{BinaryBytes, HumanCount, HumanFloatCount};

/// A count, with a comma between thousands: `12,345`.
pub(crate) fn count(count: impl Into<u64>) -> String {
    HumanCount(count.into()).to_string()
}

/// A rate per second, with three digits, and whole from a hundred on: `12,345`, `0.25`.
#[allow(clippy::cast_sign_loss, reason = "the digits are clamped")]
pub(crate) fn rate(rate: f64) -> String {
    if rate >= 99.95 {
        return whole(rate);
    }
    let digits = if rate > 0.0 { (2.0 - rate.log10().floor()).clamp(0.0, 9.0) as usize } else { 0 };
    let text = format!("{rate:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value with one digit after the point, and none from a hundred on: `12.3`, `2,806`.
pub(crate) fn tenths(value: f64) -> String {
    if value < 99.95 { format!("{value:.1}") } else { whole(value) }
}

/// A value without digits after the point: `2,806`.
pub(crate) fn whole(value: f64) -> String {
    HumanFloatCount(value.round()).to_string()
}

/// A part of a whole, from 0 to 1, in percent: `84.5%`.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1}%", 100.0 * part)
}

/// A time in the unit that leaves one to three digits before the point: `12.3 µs`.
pub(crate) fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ..1e3 => (nanoseconds, "ns"),
        ..1e6 => (nanoseconds / 1e3, "µs"),
        ..1e9 => (nanoseconds / 1e6, "ms"),
        _ => (nanoseconds / 1e9, "s"),
    };
    format!("{value:.1} {unit}")
}

/// A time that is given in seconds, as [`time`].
pub(crate) fn seconds(seconds: f64) -> String {
    time(1e9 * seconds)
}

/// An amount of memory: `1.21 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A count with what it counts: `1 worker`, `8 workers`.
pub(crate) fn plural(number: impl Into<u64>, what: &str) -> String {
    let number = number.into();
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_commas() {
        assert_eq!([count(0_u64), count(12_345_u64)], ["0", "12,345"]);
        assert_eq!([rate(0.0), rate(0.033_33), rate(0.25), rate(10.0)], ["0", "0.0333", "0.25", "10"]);
        assert_eq!([rate(10.885), rate(99.5), rate(12_345.6)], ["10.9", "99.5", "12,346"]);
        assert_eq!([tenths(0.04), tenths(99.94), tenths(99.96), tenths(2806.4)], ["0.0", "99.9", "100", "2,806"]);
        assert_eq!([whole(0.4), whole(2806.4)], ["0", "2,806"]);
        assert_eq!([percent(0.0), percent(0.8449)], ["0.0%", "84.5%"]);
        assert_eq!([time(7.0), time(12_340.0), time(5e6), seconds(75.0)], ["7.0 ns", "12.3 µs", "5.0 ms", "75.0 s"]);
        assert_eq!([plural(1_u64, "worker"), plural(1000_u64, "worker")], ["1 worker", "1,000 workers"]);
    }
}
