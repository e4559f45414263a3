//! Prints the figures as tables: those of each system, and ours against each peer's.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::cores::SPOILS;
use crate::figures::{Figures, Staleness};
use crate::rounds::Row;
use crate::systems::Name as System;

/// Prints the tables of one workload in one mode.
pub fn print(rows: &[Row]) {
    let Some(first) = rows.first() else { return };
    let figures = &first.figures;
    println!(
        "\n## {}, {}: {} requests, {} event blocks, {} held in the end ({} distinct)\n",
        first.workload.text(),
        first.mode.text(),
        figures.requests,
        figures.event_blocks,
        figures.held_blocks,
        figures.distinct_blocks
    );
    if let Some(spoilt) = disturbed(rows) {
        println!("{spoilt}\n");
    }
    println!("{}\n", costs(rows));
    if figures.beside.is_some() {
        println!("{}\n", beside(rows));
    }
    if let Some(table) = ratios(rows) {
        println!("{table}\n");
    }
}

/// Says whose figures other processes spoilt.
fn disturbed(rows: &[Row]) -> Option<String> {
    let spoilt: Vec<_> = rows
        .iter()
        .filter_map(|row| row.others.filter(|&others| others > SPOILS).map(|others| (row.system.text(), others)))
        .map(|(system, others)| format!("{system} ({:.0}%)", 100.0 * others))
        .collect();
    (!spoilt.is_empty())
        .then(|| format!("Other processes used the same cores, so these figures say little: {}.", spoilt.join(", ")))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Builds the table of lookups in ns, writing in ns per block, and memory.
fn costs(rows: &[Row]) -> Table {
    let mut table = table(&[
        "ns, bytes",
        "all p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "mean",
        "best p50",
        "p99",
        "mean",
        "again",
        "apply",
        "apply p50",
        "build",
        "B/held",
        "B/distinct",
        "peak MB",
        "wrong",
    ]);
    for row in rows {
        let f = &row.figures;
        let (all, best) = (&f.lookup_ns, &f.best_ns);
        let mut cells = vec![row.system.text().to_string()];
        let times =
            [all.p50, all.p90, all.p99, all.p999, all.max, all.mean, best.p50, best.p99, best.mean, f.back_to_back_ns];
        cells.extend(times.map(|time| format!("{time:.0}")));
        let rates = [
            f.apply_ns_per_block,
            f.apply_p50_ns_per_block,
            f.build_ns_per_block,
            f.bytes_per_held_block,
            f.bytes_per_distinct_block,
        ];
        cells.extend(rates.map(|rate| format!("{rate:.1}")));
        cells.push(format!("{:.0}", f.peak_rss_bytes / 1e6));
        cells.push(row.wrong_scores.map_or("-".into(), |wrong| wrong.to_string()));
        table.add_row(cells);
    }
    table
}

/// Builds the table of what happens while another core applies events, with the age of answers in microseconds.
fn beside(rows: &[Row]) -> Table {
    let mut table = table(&[
        "meanwhile",
        "held back",
        "stale at full p50 us",
        "p99",
        "stale at half p50 us",
        "p99",
        "max",
        "lookup at half p50 ns",
        "p99",
    ]);
    for row in rows {
        let Some(f) = &row.figures.beside else { continue };
        let age = |staleness: &Option<Staleness>, of: fn(&Staleness) -> f64| {
            staleness.as_ref().map_or("-".into(), |staleness| format!("{:.1}", of(staleness)))
        };
        table.add_row([
            row.system.text().to_string(),
            format!("{:.0}%", f.held_back * 100.0),
            age(&f.staleness_full_us, |age| age.p50),
            age(&f.staleness_full_us, |age| age.p99),
            age(&f.staleness_us, |age| age.p50),
            age(&f.staleness_us, |age| age.p99),
            age(&f.staleness_us, |age| age.max),
            format!("{:.0}", f.lookup_ns.p50),
            format!("{:.0}", f.lookup_ns.p99),
        ]);
    }
    table
}

/// Builds the table of our figures divided by each peer's. The harness's floor is first subtracted from the times of
/// both. Below 1 we are ahead. The row of `kvleap-again` shows the noise: without any, its ratios would be 1.
fn ratios(rows: &[Row]) -> Option<Table> {
    let of = |name| rows.iter().find(|row| row.system == name).map(|row| &row.figures);
    let ours = of(System::Kvleap)?;
    let floor = of(System::Null);
    let first = format!("kvleap against{}", if floor.is_some() { "" } else { " (no floor)" });
    let mut table = table(&[
        &first,
        "all p50",
        "p99",
        "mean",
        "best p50",
        "p99",
        "mean",
        "apply",
        "apply p50",
        "build",
        "B/held",
        "stale p99",
    ]);
    for row in rows.iter().filter(|row| row.system.is_peer() || row.system == System::KvleapAgain) {
        let theirs = &row.figures;
        let above = |value: fn(&Figures) -> f64| {
            let floor = floor.map_or(0.0, value);
            format!("{:.2}", (value(ours) - floor) / (value(theirs) - floor))
        };
        let stale = |figures: &Figures| figures.beside.as_ref()?.staleness_us.map(|age| age.p99);
        table.add_row([
            row.system.text().to_string(),
            above(|f| f.lookup_ns.p50),
            above(|f| f.lookup_ns.p99),
            above(|f| f.lookup_ns.mean),
            above(|f| f.best_ns.p50),
            above(|f| f.best_ns.p99),
            above(|f| f.best_ns.mean),
            above(|f| f.apply_ns_per_block),
            above(|f| f.apply_p50_ns_per_block),
            above(|f| f.build_ns_per_block),
            format!("{:.2}", ours.bytes_per_held_block / theirs.bytes_per_held_block),
            stale(ours).zip(stale(theirs)).map_or("-".into(), |(ours, theirs)| format!("{:.2}", ours / theirs)),
        ]);
    }
    Some(table)
}
