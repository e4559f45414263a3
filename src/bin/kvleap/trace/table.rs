//! An analysis for people.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanCount, HumanFloatCount};
use kvleap::trace::analyze::{Analysis, Summary, Window};

/// Rows of a table at most, where there may be any number.
const ROWS: usize = 24;

pub(super) fn analysis(analysis: &Analysis) -> String {
    let parts = [head(analysis), metrics(analysis), curves(analysis), arrivals(analysis), sessions(analysis)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n") + "\n"
}

fn head(analysis: &Analysis) -> String {
    let mut text = format!(
        "{}: {} requests, {} unique hash ids, {} of them repeated\n{} blocks, {:.4} hit in an infinite cache\n",
        analysis.file,
        HumanCount(analysis.requests),
        HumanCount(analysis.unique_hash_ids),
        HumanCount(analysis.repeated_hash_ids),
        HumanCount(analysis.blocks),
        analysis.block_weighted_hit_rate
    );
    if analysis.rows_with_spare_ids > 0 {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} rows have more ids than blocks: is the block size too large?",
            HumanCount(analysis.rows_with_spare_ids)
        );
    }
    text
}

fn metrics(analysis: &Analysis) -> String {
    let mut table = grid(&["", "Mean", "Std Dev", "Min", "P25", "Median", "P75", "Max"]);
    for (name, summary) in analysis.metrics.iter() {
        let digits = if name.ends_with("Rates") { 4 } else { 2 };
        let Summary { mean, std, min, p25, median, p75, max } = *summary;
        let figures = [mean, std, min, p25, median, p75, max].map(|figure| format!("{figure:.digits$}"));
        table.add_row([name.to_owned()].into_iter().chain(figures));
    }
    format!("{table}\n")
}

/// A line for every power of two.
fn curves(analysis: &Analysis) -> String {
    let Some(last) = analysis.curves.iter().filter_map(|curve| curve.points.last()).map(|point| point.capacity).max()
    else {
        return String::new();
    };
    let plural = |workers| if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
    let workers = analysis.curves.iter().map(|curve| plural(curve.workers));
    let mut table = grid(&["Blocks per worker"]);
    table.set_header(["Blocks per worker".to_owned()].into_iter().chain(workers));
    align(&mut table);
    let powers = (0..64).map(|power| 1_u64 << power);
    for capacity in powers.take_while(|&capacity| capacity < last).chain([last]) {
        let rates = analysis.curves.iter().map(|curve| format!("{:.4}", curve.hit_rate(capacity)));
        table.add_row([HumanCount(capacity).to_string()].into_iter().chain(rates));
    }
    format!("Block hit rate by cache size; requests go to the workers in turn\n{table}\n")
}

fn arrivals(analysis: &Analysis) -> String {
    let arrivals = &analysis.arrivals;
    let mut table = grid(&["From second", "Requests", "Blocks", "Distinct blocks", "New blocks"]);
    let step = analysis.windows.len().div_ceil(ROWS).max(1);
    for window in analysis.windows.iter().step_by(step) {
        let Window { start_ms, requests, blocks, distinct_blocks, new_blocks } = *window;
        let counts = [start_ms / 1000, requests, blocks, distinct_blocks, new_blocks];
        table.add_row(counts.map(|count| HumanCount(count).to_string()));
    }
    let left_out = if step > 1 { format!(", one of {step}; --json has all") } else { String::new() };
    format!(
        "{} requests/s over {} s, {} in the busiest window; gaps {:.0} ms on average, at most {:.0}\n\
         Working set over time{left_out}\n{table}\n",
        HumanFloatCount(arrivals.requests_per_second),
        HumanFloatCount(arrivals.duration_ms as f64 / 1e3),
        HumanFloatCount(arrivals.peak_requests_per_second),
        arrivals.gap_ms.mean,
        arrivals.gap_ms.max
    )
}

fn sessions(analysis: &Analysis) -> String {
    let Some(sessions) = &analysis.sessions else { return String::new() };
    format!(
        "{} sessions with {} requests: {:.1} each on average, at most {:.0}; {:.1} s between them, {:.1} s long\n",
        HumanCount(sessions.sessions),
        HumanCount(sessions.requests),
        sessions.requests_per_session.mean,
        sessions.requests_per_session.max,
        sessions.gap_ms.mean / 1e3,
        sessions.duration_ms.mean / 1e3
    )
}

fn grid(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    align(&mut table);
    table
}

/// Figures to the right.
fn align(table: &mut Table) {
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
}
