//! Drawing primitives, in CSS pixels.
//!
//! plotters uses whole pixels as coordinates, which makes curves jagged. The canvas is therefore [`FINE`] times as
//! large as the figure, and the view box of the SVG scales it down.

use std::sync::LazyLock;

use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::{Circle, DrawingArea, IntoDrawingArea, PathElement, Polygon, Rectangle, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontDesc, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle, register_font};

use super::FigureError;
use super::chart::Point;
use super::theme::{Colour, DASH, FONTS, Palette};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Units of the canvas in a pixel.
const FINE: f64 = 10.0;
/// plotters divides font sizes by this factor when it writes them.
const SIZE_FACTOR: f64 = 1.24;
/// plotters takes the height of a line, 1.362 times the font size, for the font size times [`SIZE_FACTOR`], so that its
/// widths must be corrected by the ratio.
const MEASURE_FACTOR: f64 = 1.362 / SIZE_FACTOR;

static REGISTERED: LazyLock<bool> = LazyLock::new(|| {
    register_font(FONTS, FontStyle::Normal, ttf_noto_sans::REGULAR).is_ok()
        && register_font(FONTS, FontStyle::Bold, ttf_noto_sans::BOLD).is_ok()
});

/// Converts pixels to units of the canvas.
pub(super) fn fine(pixels: f64) -> i32 {
    (pixels * FINE).round() as i32
}

/// Returns the font at a size in pixels.
pub(super) fn font(size: f64, bold: bool) -> FontDesc<'static> {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    FontDesc::new(FontFamily::Name(FONTS), size * SIZE_FACTOR * FINE, style)
}

/// Returns the width of a text in pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    assert!(*REGISTERED, "the built-in font can be read");
    let (width, _) = font(size, bold).box_size(text).expect("the font is registered");
    f64::from(width) / FINE * MEASURE_FACTOR
}

/// Breaks a text into lines that are not wider than `room`, unless a single word is.
pub(super) fn wrap(text: &str, size: f64, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size, false) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

pub(super) fn rgb((red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

pub(super) fn stroke(colour: Colour, width: f64) -> ShapeStyle {
    rgb(colour).stroke_width(fine(width).unsigned_abs())
}

/// A text style. A position is where the text starts, has its middle, or ends.
pub(super) fn text_style(size: f64, bold: bool, colour: Colour, across: HPos, down: VPos) -> TextStyle<'static> {
    font(size, bold).color(&rgb(colour)).pos(Pos::new(across, down))
}

/// A canvas to draw on.
pub(super) struct Pen<'a> {
    pub(super) area: Area<'a>,
    pub(super) palette: &'static Palette,
}

type Drawn = Result<(), FigureError>;

impl Pen<'_> {
    /// Returns an SVG of this size in pixels, drawn by `draw`.
    pub(super) fn svg(
        size: (u32, u32),
        palette: &'static Palette,
        draw: impl FnOnce(&Pen<'_>) -> Drawn,
    ) -> Result<String, FigureError> {
        assert!(*REGISTERED, "the built-in font can be read");
        let canvas = [size.0, size.1].map(|pixels| pixels * FINE as u32);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (canvas[0], canvas[1])).into_drawing_area();
            let pen = Pen { area, palette };
            pen.area.fill(&rgb(palette.background)).map_err(failed)?;
            draw(&pen)?;
            pen.area.present().map_err(failed)?;
        }
        let [width, height] = canvas.map(|units| format!("\"{units}\""));
        let shown = merge(&svg).replacen(&format!("width={width}"), &format!("width=\"{}\"", size.0), 1);
        Ok(shown.replacen(&format!("height={height}"), &format!("height=\"{}\"", size.1), 1))
    }

    pub(super) fn text(&self, text: &str, style: &TextStyle<'_>, (x, y): Point) -> Drawn {
        self.area.draw_text(text, style, (fine(x), fine(y))).map_err(failed)
    }

    pub(super) fn path(&self, points: &[Point], colour: Colour, width: f64) -> Drawn {
        self.area.draw(&PathElement::new(canvas(points), stroke(colour, width))).map_err(failed)
    }

    pub(super) fn dashes(&self, points: &[Point], colour: Colour, width: f64) -> Drawn {
        let (dash, space) = DASH;
        let dashes = DashedPathElement::new(canvas(points), fine(dash), fine(space), stroke(colour, width));
        self.area.draw(&dashes).map_err(failed)
    }

    pub(super) fn circle(&self, (x, y): Point, radius: f64, colour: Colour) -> Drawn {
        self.area.draw(&Circle::new((fine(x), fine(y)), fine(radius), rgb(colour).filled())).map_err(failed)
    }

    pub(super) fn ring(&self, (x, y): Point, radius: f64, colour: Colour, width: f64) -> Drawn {
        self.area.draw(&Circle::new((fine(x), fine(y)), fine(radius), stroke(colour, width))).map_err(failed)
    }

    pub(super) fn polygon(&self, points: &[Point], colour: Colour) -> Drawn {
        self.area.draw(&Polygon::new(canvas(points), rgb(colour).filled())).map_err(failed)
    }

    pub(super) fn rectangle(&self, from: Point, to: Point, colour: Colour, opacity: f64) -> Drawn {
        let corners = canvas(&[from, to]);
        let style = rgb(colour).mix(opacity).filled();
        self.area.draw(&Rectangle::new([corners[0], corners[1]], style)).map_err(failed)
    }
}

/// Merges consecutive rectangles of one look into one path. A heat map then has a fifth of the bytes, and no seams
/// between its cells.
fn merge(svg: &str) -> String {
    let piece = |line| match str::split(line, '"').collect::<Vec<_>>()[..] {
        ["<rect x=", x, " y=", y, " width=", width, " height=", height, ref look @ ..] => {
            Some((format!("M{x} {y}h{width}v{height}h-{width}z"), look.join("\"")))
        }
        _ => None,
    };
    let lines: Vec<(&str, Option<(String, String)>)> = svg.lines().map(|line| (line, piece(line))).collect();
    let look = |line: &(_, Option<(_, String)>)| line.1.as_ref().map(|(_, look)| look.clone());
    let alike = lines.chunk_by(|a, b| a.1.is_some() && look(a) == look(b));
    let merged = alike.map(|lines| match (lines, look(&lines[0])) {
        ([_, _, ..], Some(look)) => {
            let pieces: String =
                lines.iter().filter_map(|(_, piece)| piece.as_ref()).map(|(piece, _)| &**piece).collect();
            format!("<path d=\"{pieces}\"{look}\n")
        }
        _ => lines[0].0.to_owned() + "\n",
    });
    merged.collect()
}

fn canvas(points: &[Point]) -> Vec<(i32, i32)> {
    points.iter().map(|&(x, y)| (fine(x), fine(y))).collect()
}

/// Converts units of the canvas to pixels.
pub(super) fn pixels((x, y): (i32, i32)) -> Point {
    (f64::from(x) / FINE, f64::from(y) / FINE)
}

pub(super) fn failed(error: impl std::fmt::Display) -> FigureError {
    FigureError::Drawing { what: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_where_it_must_be() {
        let text = "some words of a note";
        assert_eq!(wrap(text, 13.0, 1000.0), [text]);
        let lines = wrap(text, 13.0, 80.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 13.0, false) <= 80.0), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrap("unbreakable", 13.0, 5.0), ["unbreakable"]);
    }

    #[test]
    fn text_is_measured_in_the_built_in_font() {
        // Advance widths of Noto Sans at 1000 units an em: H 741 (bold 813), digits 572.
        assert!((width("HHHH", 100.0, false) - 296.4).abs() < 3.0, "{}", width("HHHH", 100.0, false));
        assert!((width("0000", 10.0, false) - 22.9).abs() < 0.5, "{}", width("0000", 10.0, false));
    }
}
