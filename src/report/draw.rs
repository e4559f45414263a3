//! How figures are laid out: title, notes, legend, and a grid of charts.

use plotters::prelude::Cartesian2d;
use plotters::prelude::SVGBackend;
use plotters::prelude::{ChartBuilder, ChartContext};
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Span;
use super::chart::{Chart, Marks, Point, Series};
use super::pen::{Pen, failed, fine, pixels, stroke, text_style, width};
use super::series::{Look, Place, draw_marks, draw_sample};
use super::theme::{COLUMN, GAP, GRID, HEADING, LABEL_OPACITY, LEADING, ROW, TEXT, Theme, WIDTH};
use super::title::Title;
use super::{Figure, FigureError};

type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Span, Span>>;

/// Width of a sample in the legend, the space after it, and the space between entries.
const SAMPLE: f64 = 30.0;
const SAMPLE_GAP: f64 = 7.0;
const ENTRY_GAP: f64 = 22.0;
/// Height of a row in the legend.
const ENTRY_ROW: f64 = 23.0;
/// Space for the title of a chart; for the tick labels and the title of the x axis; for the last tick label.
const TITLE_ROW: f64 = 26.0;
const FOOT: f64 = 48.0;
const RIGHT: f64 = 26.0;
/// Distance from a point to its label.
const LABEL_GAP: f64 = 6.0;
/// Space that a tick label needs along its axis.
const LABEL_ACROSS: f64 = 72.0;
const LABEL_DOWN: f64 = 42.0;

/// An entry of the legend.
struct Entry<'a> {
    series: &'a Series,
    look: Look,
    at: Point,
}

impl Figure {
    /// Draws the figure as SVG. Takes a few milliseconds for every ten thousand points.
    ///
    /// # Errors
    /// [`FigureError::Empty`] if there is nothing to draw, [`FigureError::Value`] if an axis cannot show a value, and
    /// [`FigureError::Drawing`] if the drawing library fails.
    pub fn svg(&self, theme: Theme) -> Result<String, FigureError> {
        self.check()?;
        let columns = self.columns.min(self.charts.len());
        let (wide, row_height) = self.size.unwrap_or((WIDTH + (columns as u32 - 1) * COLUMN, ROW));
        let inner = f64::from(wide - 2 * GAP);
        let gap = f64::from(GAP);
        let head = Title::new(&self.title, &self.note, inner);
        let (legend, charts_top) = self.legend(head.bottom(), gap + inner);
        let rows = self.charts.len().div_ceil(columns);
        let high = charts_top.ceil() as u32 + rows as u32 * row_height + GAP;

        Pen::svg((wide, high), theme.palette(), |pen| {
            head.draw(pen)?;
            let label = text_style(TEXT, false, pen.palette.text, HPos::Left, VPos::Center);
            for Entry { series, look, at } in &legend {
                draw_sample(pen, series, *look, (*at, (at.0 + SAMPLE, at.1)))?;
                pen.text(&series.name, &label, (at.0 + SAMPLE + SAMPLE_GAP, at.1))?;
            }
            let size = ((inner - (columns - 1) as f64 * gap) / columns as f64, f64::from(row_height) - gap);
            for (place, chart) in self.charts.iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                let at = (gap + column as f64 * (size.0 + gap), charts_top + row as f64 * f64::from(row_height));
                self.draw_chart(pen, chart, at, size)?;
            }
            Ok(())
        })
    }

    /// Lays out the legend from `top` on, in rows up to `right`. Returns its entries and where it ends. A single series
    /// has no legend.
    fn legend(&self, top: f64, right: f64) -> (Vec<Entry<'_>>, f64) {
        let names = self.names();
        if names.len() < 2 {
            return (Vec::new(), top);
        }
        let left = f64::from(GAP);
        let mut at = (left, top + ENTRY_ROW / 2.0);
        let mut entries = Vec::new();
        for name in names {
            let all = || self.charts.iter().flat_map(|chart| &chart.series).filter(|series| series.name == name);
            // Rings only highlight points of another series with the name.
            let shown = all().find(|series| !matches!(series.marks, Marks::Rings(_)));
            let Some(series) = shown.or_else(|| all().next()) else { continue };
            let long = SAMPLE + SAMPLE_GAP + width(name, TEXT, false);
            if at.0 + long > right && at.0 > left {
                at = (left, at.1 + ENTRY_ROW);
            }
            entries.push(Entry { series, look: self.look(series), at });
            at.0 += long + ENTRY_GAP;
        }
        (entries, at.1 + ENTRY_ROW / 2.0 + 8.0)
    }

    fn look(&self, series: &Series) -> Look {
        let by_place = || self.names().iter().position(|&name| name == series.name).unwrap_or(0);
        Look::new(series.look.unwrap_or_else(by_place), series)
    }

    fn draw_chart(&self, pen: &Pen<'_>, chart: &Chart, at: Point, size: Point) -> Result<(), FigureError> {
        let head = if chart.title.is_empty() { 8.0 } else { TITLE_ROW };
        let heading = text_style(HEADING, true, pen.palette.text, HPos::Left, VPos::Top);
        pen.text(&chart.title, &heading, at)?;

        let ys = chart.y.span(chart.ys(), ((size.1 - head - FOOT) / LABEL_DOWN) as usize);
        let longest = ys.ticks.iter().map(|(_, label)| width(label, TEXT, false)).fold(0.0, f64::max);
        // Title, tick labels, ticks.
        let left = TEXT * 1.6 + longest + 16.0;
        let names = chart.x.span(chart.xs(), ((size.0 - left - RIGHT) / LABEL_ACROSS) as usize);
        let area = pen.area.clone().shrink((fine(at.0), fine(at.1 + head)), (fine(size.0), fine(size.1 - head)));
        let mut plot = ChartBuilder::on(&area)
            .margin_right(fine(RIGHT))
            .margin_top(fine(8.0))
            .x_label_area_size(fine(FOOT))
            .y_label_area_size(fine(left))
            .build_cartesian_2d(names, ys)
            .map_err(failed)?;
        draw_axes(pen, chart, &mut plot)?;

        let map = |point: Point| pixels(plot.backend_coord(&point));
        let (xs, ys) = (plot.as_coord_spec().x_spec(), plot.as_coord_spec().y_spec());
        let place = Place { map: &map, base: 0.0_f64.clamp(ys.from, ys.to) };
        let mut ordered: Vec<&Series> = chart.series.iter().collect();
        ordered.sort_by_key(|series| (series.strong, matches!(series.marks, Marks::Rings(_))));
        if let Some(label) = &chart.identity {
            let (from, to) = (xs.from.max(ys.from), xs.to.min(ys.to));
            if from < to {
                let line: Vec<Point> = xs.spread(from, to, 65).map(|x| map((x, x))).collect();
                pen.dashes(&line, pen.palette.axis, GRID * 1.5)?;
                let style = text_style(TEXT, false, pen.palette.muted, HPos::Right, VPos::Bottom);
                let (x, y) = line[24];
                pen.text(label, &style, (x - 12.0, y - 8.0))?;
            }
        }
        ordered.into_iter().try_for_each(|series| draw_marks(pen, series, self.look(series), &place))?;
        draw_rules(pen, chart, (xs, ys), &map)?;
        let right = map((xs.to, ys.from)).0;
        chart.labels.iter().try_for_each(|(at, text)| {
            let (x, y) = map(*at);
            let long = width(text, TEXT, false);
            let left = if x + LABEL_GAP + long <= right { x + LABEL_GAP } else { x - LABEL_GAP - long };
            // A background, so that lines do not strike the label through.
            let (from, to) = ((left - 2.0, y - TEXT * 0.7), (left + long + 2.0, y + TEXT * 0.7));
            pen.rectangle(from, to, pen.palette.background, LABEL_OPACITY)?;
            pen.text(text, &text_style(TEXT, false, pen.palette.text, HPos::Left, VPos::Center), (left, y))
        })
    }
}

fn draw_axes(pen: &Pen<'_>, chart: &Chart, plot: &mut Plot<'_, '_>) -> Result<(), FigureError> {
    let palette = pen.palette;
    let labels = text_style(TEXT, false, palette.muted, HPos::Center, VPos::Center);
    let titles = text_style(TEXT, false, palette.text, HPos::Center, VPos::Center);
    plot.configure_mesh()
        .bold_line_style(stroke(palette.grid, GRID * 1.4))
        .light_line_style(stroke(palette.grid, GRID * 0.6))
        .axis_style(stroke(palette.axis, GRID))
        .set_all_tick_mark_size(fine(4.0))
        .label_style(labels)
        .axis_desc_style(titles)
        .x_desc(chart.x.title())
        .y_desc(chart.y.title())
        .draw()
        .map_err(failed)
}

/// Draws the dashed vertical lines, then their labels in steps, so that none hides another.
fn draw_rules(
    pen: &Pen<'_>,
    chart: &Chart,
    (xs, ys): (&Span, &Span),
    map: &dyn Fn(Point) -> Point,
) -> Result<(), FigureError> {
    let colour = pen.palette.muted;
    for (at, _) in &chart.rules {
        pen.dashes(&[map((*at, ys.from)), map((*at, ys.to))], colour, GRID * 1.5)?;
    }
    let (right, top) = (map((xs.to, ys.from)).0, map((xs.from, ys.to)).1);
    for ((at, label), step) in chart.rules.iter().zip(0..) {
        let (x, long) = (map((*at, ys.from)).0, width(label, TEXT, false) + 8.0);
        let middle = top + 3.0 + f64::from(step * LEADING) + TEXT * 0.75;
        let left = if x + long + 4.0 <= right { x + 4.0 } else { x - 4.0 - long };
        // The line continues behind the label, but does not strike it through.
        let (from, to) = ((left, middle - TEXT * 0.7), (left + long, middle + TEXT * 0.7));
        pen.rectangle(from, to, pen.palette.background, LABEL_OPACITY)?;
        pen.text(label, &text_style(TEXT, false, colour, HPos::Left, VPos::Center), (left + 4.0, middle))?;
    }
    Ok(())
}
