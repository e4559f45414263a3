//! The report of a simulation as a table.

use std::fmt::Write;

use kvleap::sim::{PolicyReport, Report, Setting, Times};

use crate::numbers::{count, percent, plural, tenths, whole};
use crate::table::{Column, table};

/// Writes the setting, and a row for each policy and each combination of what was varied.
pub(super) fn text(report: &Report, wide: bool) -> String {
    format!("{}\n{}", head(&report.setting), table(columns(report), &report.policies, wide))
}

fn head(setting: &Setting) -> String {
    let mut head = format!(
        "{} requests of {}\n{}\n{}, {}, each with {} blocks of {} tokens; seed {}\n",
        count(setting.requests),
        setting.workload,
        setting.arrivals,
        plural(setting.workers, "worker"),
        setting.profile,
        count(setting.blocks_per_worker),
        setting.block_size,
        setting.seed,
    );
    if setting.models > 1 || setting.adapters > 1 {
        let (models, adapters) = (plural(setting.models, "model"), plural(setting.adapters, "adapter"));
        // Writing to a string does not fail.
        let _ = writeln!(head, "{models}, each with {adapters}");
    }
    for line in setting.router.iter().chain(&setting.world) {
        head += line;
        head.push('\n');
    }
    head
}

fn columns(report: &Report) -> Vec<Column<'_, PolicyReport>> {
    type PolicyColumn<'a> = Column<'a, PolicyReport>;
    let mean = |times: fn(&PolicyReport) -> &Times| {
        move |policy: &PolicyReport| {
            let times = times(policy);
            if times.count == 0 { "-".to_owned() } else { tenths(times.mean) }
        }
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
        PolicyColumn::new("block hits", |policy| percent(policy.block_hit_rate)),
        PolicyColumn::wide("request hits", |policy| percent(policy.request_hit_rate)),
        PolicyColumn::wide("expected", |policy| {
            percent(policy.blocks.predicted as f64 / policy.blocks.asked.max(1) as f64)
        }),
        PolicyColumn::new("TTFT ms: mean", mean(|policy| &policy.ttft_ms)),
        PolicyColumn::new("p50", |policy| tenths(policy.ttft_ms.p50)),
        PolicyColumn::wide("p95", |policy| tenths(policy.ttft_ms.p95)),
        PolicyColumn::new("p99", |policy| tenths(policy.ttft_ms.p99)),
        PolicyColumn::new("latency ms: mean", mean(|policy| &policy.latency_ms)),
        PolicyColumn::wide("p99", |policy| tenths(policy.latency_ms.p99)),
        PolicyColumn::wide("queue ms: mean", mean(|policy| &policy.queue_ms)),
        PolicyColumn::wide("imbalance", |policy| format!("{:.2}", policy.load_imbalance)),
        PolicyColumn::new("saved GPU s", |policy| whole(policy.prefill_saved_gpu_s)),
    ]);
    if report.policies.iter().any(|policy| policy.rejected > 0) {
        columns.push(PolicyColumn::new("rejected", |policy| count(policy.rejected)));
    }
    columns
}
