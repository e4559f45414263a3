//! The charts of the page as one figure.

use super::charts::{self, Captioned};
use super::measures;
use crate::report::Figure;
use crate::sim::{Report, Setting};

/// Draws the charts of the page as one figure: for an experiment those of its curves, with a row for each place on the
/// outer axes, and for a plain comparison those of the only cell.
pub fn figure(report: &Report) -> Figure {
    let part = |part: fn(&Setting) -> String| report.settings(part).join(", or ");
    let what = format!(
        "{}; {} requests; {} workers of {}. All times are on a virtual clock.",
        part(|it| it.workload.clone()),
        part(|it| measures::count(it.requests as f64)),
        part(|it| measures::count(it.workers.into())),
        part(|it| it.profile.clone()),
    );
    let figure = Figure::new(format!("kvleap simulate: {}", report.experiment)).note(what);
    let (figure, charts) = if report.axes.is_empty() {
        (figure.columns(2), charts::of_cell(&report.policies))
    } else {
        let (places, charts): (Vec<_>, Vec<_>) = charts::curves(report).into_iter().unzip();
        let rows = places.join("; ");
        let figure = if places.len() > 1 { figure.note(format!("One row for each of: {rows}.")) } else { figure };
        (figure.columns(charts.first().map_or(1, Vec::len)), charts.into_iter().flatten().collect())
    };
    charts.into_iter().fold(figure, |figure, Captioned { chart, .. }| figure.chart(chart))
}
