//! The rows of the table.

use crate::sim::{PolicyReport, Times};

/// A number in the report of a policy. It is not a number where nothing was counted that it could be of, such as the
/// mean of no times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// Its path in the JSON report.
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    pub(super) get: fn(&PolicyReport) -> f64,
    pub(super) write: fn(f64) -> String,
    pub(super) better: Better,
}

impl Measure {
    /// Writes the number of a policy.
    pub(super) fn text(&self, policy: &PolicyReport) -> String {
        let value = (self.get)(policy);
        if value.is_nan() { "-".to_owned() } else { (self.write)(value) }
    }
}

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
    Neither,
}

impl Better {
    /// Returns the best of several values, unless all are equal.
    pub(super) fn best(self, values: &[f64]) -> Option<f64> {
        let (least, most) =
            values.iter().fold((f64::MAX, f64::MIN), |(least, most), &it| (least.min(it), most.max(it)));
        match self {
            Self::More if most > least => Some(most),
            Self::Less if most > least => Some(least),
            _ => None,
        }
    }
}

const fn measure(
    key: &'static str,
    label: &'static str,
    get: fn(&PolicyReport) -> f64,
    write: fn(f64) -> String,
    better: Better,
) -> Measure {
    Measure { key, label, get, write, better }
}

use Better::{Less, More, Neither};

pub(super) const BLOCK_HITS: Measure = measure("block_hit_rate", "share of blocks reused", hit_rate, share, More);
pub(super) const TTFT: Measure = measure("ttft_ms.mean", "mean", |it| of(&it.ttft_ms, |it| it.mean), ms, Less);
pub(super) const TTFT_P99: Measure = measure("ttft_ms.p99", "p99", |it| of(&it.ttft_ms, |it| it.p99), ms, Less);
pub(super) const LATENCY: Measure = measure("latency_ms.mean", "mean", |it| of(&it.latency_ms, |it| it.mean), ms, Less);
pub(super) const LATENCY_P99: Measure =
    measure("latency_ms.p99", "p99", |it| of(&it.latency_ms, |it| it.p99), ms, Less);
pub(super) const IMBALANCE: Measure =
    measure("load_imbalance", "busiest worker / mean, by busy time", |it| it.load_imbalance, ratio, Less);
pub(super) const REJECTED: Measure = measure("rejected", "rejected", |it| it.rejected as f64, count, Less);

fn of(times: &Times, figure: fn(&Times) -> f64) -> f64 {
    if times.count == 0 { f64::NAN } else { figure(times) }
}

fn hit_rate(policy: &PolicyReport) -> f64 {
    if policy.blocks.asked == 0 { f64::NAN } else { policy.block_hit_rate }
}

fn request_hit_rate(policy: &PolicyReport) -> f64 {
    if policy.finished == 0 { f64::NAN } else { policy.request_hit_rate }
}

/// The table, in groups.
pub(super) const GROUPS: &[(&str, &[Measure])] = &[
    (
        "Cache",
        &[
            BLOCK_HITS,
            measure("request_hit_rate", "requests that reused a block", request_hit_rate, share, More),
            measure(
                "blocks.predicted",
                "blocks expected by the router",
                |it| it.blocks.predicted as f64,
                count,
                Neither,
            ),
            measure("blocks.reused", "blocks reused", |it| it.blocks.reused as f64, count, More),
            measure(
                "prediction.over_blocks",
                "blocks expected but not found",
                |it| it.prediction.over_blocks as f64,
                count,
                Neither,
            ),
            measure(
                "prediction.under_blocks",
                "blocks found but not expected",
                |it| it.prediction.under_blocks as f64,
                count,
                Neither,
            ),
            measure("evicted_blocks", "blocks evicted", |it| it.evicted_blocks as f64, count, Less),
            measure("prefill_saved_gpu_s", "prefill saved", |it| it.prefill_saved_gpu_s, gpu_s, More),
        ],
    ),
    (
        "Time to first token",
        &[
            TTFT,
            measure("ttft_ms.p50", "p50", |it| of(&it.ttft_ms, |it| it.p50), ms, Less),
            measure("ttft_ms.p95", "p95", |it| of(&it.ttft_ms, |it| it.p95), ms, Less),
            TTFT_P99,
            measure(
                "ttft_hit_ms.mean",
                "mean, some blocks reused",
                |it| of(&it.ttft_hit_ms, |it| it.mean),
                ms,
                Neither,
            ),
            measure("ttft_miss_ms.mean", "mean, no block reused", |it| of(&it.ttft_miss_ms, |it| it.mean), ms, Neither),
            measure("queue_ms.mean", "queue time, mean", |it| of(&it.queue_ms, |it| it.mean), ms, Less),
            measure("queue_ms.p99", "queue time, p99", |it| of(&it.queue_ms, |it| it.p99), ms, Less),
        ],
    ),
    (
        "Latency, to the last token",
        &[
            LATENCY,
            measure("latency_ms.p50", "p50", |it| of(&it.latency_ms, |it| it.p50), ms, Less),
            measure("latency_ms.p95", "p95", |it| of(&it.latency_ms, |it| it.p95), ms, Less),
            LATENCY_P99,
            measure(
                "latency_hit_ms.mean",
                "mean, some blocks reused",
                |it| of(&it.latency_hit_ms, |it| it.mean),
                ms,
                Neither,
            ),
            measure(
                "latency_miss_ms.mean",
                "mean, no block reused",
                |it| of(&it.latency_miss_ms, |it| it.mean),
                ms,
                Neither,
            ),
        ],
    ),
    (
        "Load",
        &[
            IMBALANCE,
            measure(
                "requests_imbalance",
                "busiest worker / mean, by requests",
                |it| it.requests_imbalance,
                ratio,
                Less,
            ),
            measure("busy_gpu_s", "busy time", |it| it.busy_gpu_s, gpu_s, Less),
            measure("span_s", "time from first arrival to last answer", |it| it.span_s, seconds, Less),
        ],
    ),
    (
        "Requests",
        &[
            measure("requests", "arrived", |it| it.requests as f64, count, Neither),
            measure("finished", "finished", |it| it.finished as f64, count, More),
            REJECTED,
            measure("retried", "retries on another worker", |it| it.retried as f64, count, Less),
            measure("preempted", "preemptions", |it| it.preempted as f64, count, Less),
        ],
    ),
];

pub(super) fn share(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

/// Writes three significant digits, or all digits before the point.
fn digits(value: f64) -> String {
    match value.abs() {
        least if least >= 99.95 => count(value.round()),
        less if less >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub(super) fn ms(value: f64) -> String {
    if value >= 9_999.5 { format!("{} s", digits(value / 1e3)) } else { format!("{} ms", digits(value)) }
}

fn seconds(value: f64) -> String {
    format!("{} s", digits(value))
}

fn gpu_s(value: f64) -> String {
    format!("{} GPU s", digits(value))
}

pub(super) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Writes a whole number with commas: 12,345.
pub(super) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
