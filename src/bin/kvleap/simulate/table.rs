//! The report of a simulation as a table.

use std::fmt::Write;

use kvleap::sim::{PolicyReport, Report, Setting, Times, page};

use crate::numbers::{count, percent, plural, tenths, whole};
use crate::table::{Column, table, wrapped};

/// Writes the setting, a row for each policy and each combination of what was varied, and what they come to.
pub(super) fn text(report: &Report, wide: bool) -> String {
    let summary: Vec<String> =
        page::summary(report).iter().map(|paragraph| format!("\n{}\n", wrapped(paragraph))).collect();
    format!("{}\n{}{}", head(report), table(columns(report), &report.policies, wide), summary.concat())
}

/// A part of the setting, in lines; empty if there is nothing to say.
const PARTS: [fn(&Setting) -> String; 7] = [
    |setting| format!("{} requests of {}", count(setting.requests), setting.workload),
    |setting| setting.arrivals.clone(),
    |setting| {
        format!(
            "{}, {}, each with {} blocks of {} tokens",
            plural(setting.workers, "worker"),
            setting.profile,
            count(setting.blocks_per_worker),
            setting.block_size,
        )
    },
    |setting| {
        let (models, adapters) = (plural(setting.models, "model"), plural(setting.adapters, "adapter"));
        let several = setting.models > 1 || setting.adapters > 1;
        if several { format!("{models}, each with {adapters}") } else { String::new() }
    },
    |setting| setting.router.join("\n"),
    |setting| setting.world.join("\n"),
    |setting| format!("seed {}", setting.seed),
];

/// Writes the setting. What an experiment varies has several values.
fn head(report: &Report) -> String {
    let mut head = String::new();
    for part in PARTS {
        let values = report.settings(part);
        for (number, value) in values.iter().enumerate() {
            let nothing = if values.len() > 1 { "no failure and no delay" } else { "" };
            let value = if value.is_empty() { nothing } else { value };
            for line in value.lines() {
                // Writing to a string does not fail.
                let _ = writeln!(head, "{}{line}", if number == 0 { "" } else { "  or " });
            }
        }
    }
    head
}

fn columns(report: &Report) -> Vec<Column<'_, PolicyReport>> {
    type PolicyColumn<'a> = Column<'a, PolicyReport>;
    let time = |times: fn(&PolicyReport) -> &Times, figure: fn(&Times) -> f64| {
        move |policy: &PolicyReport| {
            let times = times(policy);
            if times.count == 0 { "-".to_owned() } else { tenths(figure(times)) }
        }
    };
    let hits = |rate: fn(&PolicyReport) -> f64| {
        move |policy: &PolicyReport| if policy.finished == 0 { "-".to_owned() } else { percent(rate(policy)) }
    };
    let varied = report.axes.iter().enumerate().map(|(number, axis)| {
        let head = match axis.unit.as_str() {
            "" => axis.name.clone(),
            unit if unit == axis.name => axis.name.clone(),
            unit => format!("{}, {unit}", axis.name),
        };
        PolicyColumn::new(head, move |policy| policy.at[number].to_string())
    });
    let mut columns: Vec<_> = varied.collect();
    columns.extend([
        PolicyColumn::names("policy", |policy| policy.name.clone()),
        PolicyColumn::new("block hits", hits(|policy| policy.block_hit_rate)),
        PolicyColumn::wide("request hits", hits(|policy| policy.request_hit_rate)),
        PolicyColumn::wide("expected", hits(|policy| policy.blocks.predicted as f64 / policy.blocks.asked as f64)),
        PolicyColumn::new("TTFT ms: mean", time(|policy| &policy.ttft_ms, |it| it.mean)),
        PolicyColumn::new("p50", time(|policy| &policy.ttft_ms, |it| it.p50)),
        PolicyColumn::wide("p95", time(|policy| &policy.ttft_ms, |it| it.p95)),
        PolicyColumn::new("p99", time(|policy| &policy.ttft_ms, |it| it.p99)),
        PolicyColumn::new("latency ms: mean", time(|policy| &policy.latency_ms, |it| it.mean)),
        PolicyColumn::wide("p99", time(|policy| &policy.latency_ms, |it| it.p99)),
        PolicyColumn::wide("queue ms: mean", time(|policy| &policy.queue_ms, |it| it.mean)),
        PolicyColumn::wide("imbalance", |policy| format!("{:.2}", policy.load_imbalance)),
        PolicyColumn::new("saved GPU s", |policy| whole(policy.prefill_saved_gpu_s)),
    ]);
    if report.policies.iter().any(|policy| policy.rejected > 0) {
        columns.push(PolicyColumn::new("rejected", |policy| count(policy.rejected)));
    }
    columns
}
