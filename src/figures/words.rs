//! How captions and labels write numbers.

/// Writes a number with commas: 12,345.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap_or("")).collect();
    groups.join(",")
}

/// Writes a rate, rounded to a whole number if it is large.
pub(super) fn rate(number: f64) -> String {
    if number >= 100.0 { count(number.round() as u64) } else { format!("{number:.1}") }
}

/// Writes nanoseconds with about three significant digits in a suitable unit.
pub(super) fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    match units.into_iter().find(|(factor, _)| nanoseconds >= *factor) {
        Some((factor, unit)) => {
            let value = nanoseconds / factor;
            let digits = if value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
            format!("{value:.digits$} {unit}")
        }
        None => format!("{nanoseconds:.0} ns"),
    }
}

/// Writes bytes with a binary prefix.
pub(super) fn bytes(number: u64) -> String {
    if number >= 1 << 20 {
        format!("{:.1} MiB", number as f64 / f64::from(1 << 20))
    } else {
        format!("{} KiB", number >> 10)
    }
}

/// Writes a count of things: 1 worker, 2 workers.
pub(super) fn many(number: u64, of: &str) -> String {
    format!("{} {of}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.5, 99.0, 1234.4].map(rate), ["0.5", "99.0", "1,234"]);
        let times = [0.0, 999.0, 1_000.0, 12_345.0, 123_456.0, 5e6, 2.5e9].map(time);
        assert_eq!(times, ["0 ns", "999 ns", "1.00 µs", "12.3 µs", "123 µs", "5.00 ms", "2.50 s"]);
        assert_eq!([2048, 3 << 20].map(bytes), ["2 KiB", "3.0 MiB"]);
        assert_eq!([many(1, "run"), many(2000, "run")], ["1 run", "2,000 runs"]);
    }
}
