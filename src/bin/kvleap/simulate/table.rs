//! The report of a simulation as a table.

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;
use kvleap::sim::{PolicyReport, Report, Setting, Times};

pub(super) fn text(report: &Report) -> String {
    format!("{}\n{}\n", head(&report.setting), table(report))
}

fn head(setting: &Setting) -> String {
    let mut head = format!(
        "{} requests of {}: {}\n{} workers, {}, each with {} blocks of {} tokens; seed {}\n",
        HumanCount(setting.requests),
        setting.workload,
        setting.arrivals,
        HumanCount(setting.workers.into()),
        setting.profile,
        HumanCount(setting.blocks_per_worker.into()),
        setting.block_size,
        setting.seed,
    );
    if setting.models > 1 || setting.adapters > 1 {
        head += &format!("{} models, {} adapters of each\n", setting.models, setting.adapters);
    }
    for line in setting.router.iter().chain(&setting.world) {
        head += line;
        head.push('\n');
    }
    head
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    let varied = report.axes.iter().map(|axis| match axis.unit.as_str() {
        "" => axis.name.clone(),
        unit if unit == axis.name => axis.name.clone(),
        unit => format!("{}, {unit}", axis.name),
    });
    let measured = [
        "policy",
        "block hits",
        "request hits",
        "expected",
        "TTFT ms: mean",
        "p50",
        "p95",
        "p99",
        "latency ms: mean",
        "p99",
        "queue ms",
        "imbalance",
        "saved GPU s",
    ];
    let rejects = report.policies.iter().any(|policy| policy.rejected > 0);
    let heads: Vec<String> =
        varied.chain(measured.into_iter().chain(rejects.then_some("rejected")).map(str::to_owned)).collect();
    table.load_style(presets::ASCII_MARKDOWN).set_header(heads);
    for (column, number) in table.column_iter_mut().zip(0..) {
        if number != report.axes.len() {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for policy in &report.policies {
        let rejected = rejects.then(|| HumanCount(policy.rejected).to_string());
        table.add_row(row(policy).into_iter().chain(rejected));
    }
    table
}

fn row(policy: &PolicyReport) -> Vec<String> {
    let percent = |part: f64| format!("{:.1}%", 100.0 * part);
    let ms =
        |value: f64| if value < 99.95 { format!("{value:.1}") } else { HumanCount(value.round() as u64).to_string() };
    let mean = |times: &Times| if times.count == 0 { "-".to_owned() } else { ms(times.mean) };
    let asked = policy.blocks.asked.max(1) as f64;
    let mut row: Vec<String> = policy.at.iter().map(f64::to_string).collect();
    row.extend([
        policy.name.clone(),
        percent(policy.block_hit_rate),
        percent(policy.request_hit_rate),
        percent(policy.blocks.predicted as f64 / asked),
        mean(&policy.ttft_ms),
        ms(policy.ttft_ms.p50),
        ms(policy.ttft_ms.p95),
        ms(policy.ttft_ms.p99),
        mean(&policy.latency_ms),
        ms(policy.latency_ms.p99),
        mean(&policy.queue_ms),
        format!("{:.2}", policy.load_imbalance),
        format!("{:.0}", policy.prefill_saved_gpu_s),
    ]);
    row
}
