//! The HTML page.

use std::fmt::Write;

use super::charts::{self, Captioned};
use super::measures::{self, GROUPS, Measure};
use super::words;
use crate::report::{Figure, FigureError, Theme, dark_css};
use crate::sim::{PolicyReport, Report, Setting};

/// The most cells that are shown in full. If there are more, only the first and the last are.
const MOST_CELLS: usize = 12;

/// Writes the report as one HTML page: what was run, and the results of all policies in words, tables and charts.
///
/// The page needs no network and no script, follows the reader's preference for light or dark, and is readable on a
/// phone. It is also well-formed XML: every number in the tables is the text of a cell, with full precision in the
/// attribute `data-value`, in a row with the path of the measure in `data-measure`; a cell without a number has a dash. Each cell of an experiment that is
/// shown in full takes about 90 kB.
///
/// # Errors
/// [`FigureError`] if a value cannot be drawn, or the drawing library fails.
pub fn html(report: &Report) -> Result<String, FigureError> {
    let mut page = String::new();
    let title = format!("kvleap simulate: {}", report.experiment);
    let style =
        format!("{}@media (prefers-color-scheme: dark) {{\n{}}}\n", include_str!("style.css"), dark_css("figure svg"));
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n");
    page.push_str("<head>\n<meta charset=\"utf-8\"/>\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    page.push_str("<meta name=\"color-scheme\" content=\"light dark\"/>\n");
    push(
        &mut page,
        format_args!("<title>{}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n", escape(&title)),
    );
    push(&mut page, format_args!("<h1>{}</h1>\n", escape(&title)));

    let cells = super::cells(report);
    page.push_str("<section id=\"summary\">\n");
    for paragraph in words::summary(report) {
        push(&mut page, format_args!("<p class=\"lead\">{}</p>\n", escape(&paragraph)));
    }
    page.push_str("</section>\n");
    setting(&mut page, report);

    if !report.axes.is_empty() {
        page.push_str("<section id=\"experiment\">\n<h2>The experiment</h2>\n");
        for (heading, figures) in charts::curves(report) {
            if !heading.is_empty() {
                push(&mut page, format_args!("<h3>{}</h3>\n", escape(&heading)));
            }
            figures_of(&mut page, &figures)?;
        }
        page.push_str("</section>\n");
    }
    for (number, cell) in cells.iter().enumerate() {
        if cells.len() <= MOST_CELLS || number == 0 || number == cells.len() - 1 {
            cell_of(&mut page, report, cell, number)?;
        }
    }
    if cells.len() > MOST_CELLS {
        let left_out = cells.len() - 2;
        push(
            &mut page,
            format_args!("<p>The {left_out} cells between the first and the last are in the JSON report only.</p>\n"),
        );
    }
    page.push_str("</main>\n</body>\n</html>\n");
    Ok(page)
}

/// A part of the setting: its name, and how it is written; empty if there is nothing to say.
type Part = (&'static str, fn(&Setting) -> String);

const PARTS: [Part; 9] = [
    ("Workload", |it| it.workload.clone()),
    ("Arrivals", |it| it.arrivals.clone()),
    ("Requests", |it| measures::count(it.requests as f64)),
    ("Workers", |it| format!("{} of {}", measures::count(it.workers.into()), it.profile)),
    ("Cache", |it| {
        let blocks = measures::count(it.blocks_per_worker.into());
        format!("{blocks} blocks of {} tokens for each worker", it.block_size)
    }),
    ("Models", |it| {
        let several = it.models > 1 || it.adapters > 1;
        if several { format!("{} with {} adapters each", it.models, it.adapters) } else { String::new() }
    }),
    ("Router", |it| it.router.join("; ")),
    ("Failures", |it| if it.world.is_empty() { "none".to_owned() } else { it.world.join("; ") }),
    ("Seed", |it| it.seed.to_string()),
];

/// Writes what was run. What an experiment varies has several values.
fn setting(page: &mut String, report: &Report) {
    let parts = PARTS.iter().map(|&(name, part)| (name, report.settings(part).join(", or ")));
    let mut rows: Vec<(&str, String)> = parts.filter(|(_, text)| !text.is_empty()).collect();
    for axis in &report.axes {
        let values: Vec<String> = axis.values.iter().map(|&value| words::at(axis, value)).collect();
        rows.push(("Varied", format!("{}: {}. {}", axis.name, values.join(", "), axis.about)));
    }
    page.push_str("<section id=\"setting\">\n<h2>What was run</h2>\n<dl>\n");
    for (name, value) in rows {
        push(page, format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value)));
    }
    page.push_str(
        "</dl>\n<p class=\"note\">All times are on a virtual clock. Every policy gets the same requests.</p>\n</section>\n",
    );
}

/// Writes the results of all policies in one cell.
fn cell_of(page: &mut String, report: &Report, cell: &[PolicyReport], number: usize) -> Result<(), FigureError> {
    let heading = words::place(report, cell);
    if heading.is_empty() {
        push(page, format_args!("<section id=\"cell-{number}\">\n<h2>By policy</h2>\n"));
    } else {
        let open = if number == 0 { " open=\"open\"" } else { "" };
        push(
            page,
            format_args!(
                "<details id=\"cell-{number}\"{open}>\n<summary>By policy, with {}</summary>\n",
                escape(&heading)
            ),
        );
    }
    table(page, cell);
    figures_of(page, &charts::of_cell(cell))?;
    page.push_str(if heading.is_empty() { "</section>\n" } else { "</details>\n" });
    Ok(())
}

/// Writes the table, with a row for each measure and a column for each policy.
fn table(page: &mut String, cell: &[PolicyReport]) {
    page.push_str("<div class=\"scroll\">\n<table>\n<thead><tr><th scope=\"col\">measure</th>");
    for policy in cell {
        push(page, format_args!("<th scope=\"col\">{}</th>", escape(&policy.name)));
    }
    page.push_str("</tr></thead>\n");
    for (group, measures) in GROUPS {
        let across = cell.len() + 1;
        push(
            page,
            format_args!(
                "<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{across}\">{group}</th></tr>\n"
            ),
        );
        for measure in *measures {
            let Measure { key, label, get, write, better } = measure;
            let values: Vec<f64> = cell.iter().map(get).collect();
            // Compared as written, so that values that look equal are all marked, or none is.
            let best = better.best(&values).map(write).filter(|best| values.iter().any(|&value| write(value) != *best));
            push(page, format_args!("<tr data-measure=\"{key}\"><th scope=\"row\">{label}</th>"));
            for (policy, value) in cell.iter().zip(values) {
                let text = measure.text(policy);
                let class = if best.as_ref() == Some(&text) { " class=\"best\"" } else { "" };
                let exact = if value.is_nan() { String::new() } else { format!(" data-value=\"{value}\"") };
                push(page, format_args!("<td{class}{exact}>{text}</td>"));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</div>\n<p class=\"note\">The best value of a row is in bold, where one can be better.");
    page.push_str("<span class=\"narrow\"> Scroll right for more columns.</span></p>\n");
}

fn figures_of(page: &mut String, figures: &[Captioned]) -> Result<(), FigureError> {
    page.push_str("<div class=\"figures\">\n");
    for Captioned { chart, caption } in figures {
        // Three fit side by side on a laptop, and one is readable on a phone.
        let svg = Figure::new("").size(420, 300).chart(chart.clone()).svg(Theme::Light)?;
        push(page, format_args!("<figure>\n{svg}<figcaption>{}</figcaption>\n</figure>\n", escape(caption)));
    }
    page.push_str("</div>\n");
    Ok(())
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a string takes all");
}

/// Escapes text, whatever is in it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
