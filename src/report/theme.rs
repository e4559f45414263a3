//! Design tokens: every colour, size and distance of the figures.
//!
//! Sizes and distances are in CSS pixels. The series colours are from the qualitative schemes of Okabe and Ito (2008)
//! and of Paul Tol (technical note SRON/EPS/TN/09-002). All pairs can be told apart in normal vision and with full
//! protanopia, deuteranopia and tritanopia, which a test checks with the matrices of Machado, Oliveira and Fernandes
//! (2009). A series also has a marker of its own, so no figure depends on colour alone. The shades of heat maps are
//! from Tol's scheme `YlOrBr`, which darkens steadily.

use std::fmt;
use std::str::FromStr;

use super::FigureError;

/// A colour as red, green and blue.
pub type Colour = (u8, u8, u8);

/// The font of all text, and its substitutes in viewers. The first is built in, for PNGs and for measuring.
pub(super) const FONTS: &str = "Noto Sans, Helvetica, Arial, sans-serif";

/// Width of a figure of one column, and what each further column adds.
pub(super) const WIDTH: u32 = 760;
pub(super) const COLUMN: u32 = 560;
/// Height of a row of charts.
pub(super) const ROW: u32 = 440;
/// Space around and between everything.
pub(super) const GAP: u32 = 16;
/// Text sizes.
pub(super) const TITLE: f64 = 20.0;
pub(super) const HEADING: f64 = 15.0;
pub(super) const TEXT: f64 = 13.0;
/// Height of a line of text.
pub(super) const LEADING: u32 = 19;
/// Widths of strokes.
pub(super) const GRID: f64 = 1.0;
pub(super) const STROKE: f64 = 1.8;
pub(super) const STRONG: f64 = 3.2;
/// Half the width of a marker, of a marker of a strong series, and of a ring.
pub(super) const MARKER: f64 = 3.8;
pub(super) const STRONG_MARKER: f64 = 5.0;
pub(super) const RING: f64 = 9.0;
/// Dashes of lines that are not data: length of a dash and of the space after it.
pub(super) const DASH: (f64, f64) = (6.0, 5.0);
/// Number of shades in a heat map.
pub(super) const SHADES: usize = 7;
/// Opacity of the background of a box.
pub(super) const BOX_OPACITY: f64 = 0.10;
/// Opacity of a bar.
pub(super) const BAR_OPACITY: f64 = 0.85;
/// Opacity of the background of a label inside a chart.
pub(super) const LABEL_OPACITY: f64 = 0.85;
/// Pixels of a PNG for each pixel of the SVG.
pub(super) const PNG_SCALE: f32 = 2.0;

/// Light or dark. Written and parsed as `light` or `dark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// On a white background.
    Light,
    /// On a nearly black background.
    Dark,
}

/// The colours of a theme.
#[derive(Debug)]
pub(super) struct Palette {
    pub(super) background: Colour,
    pub(super) text: Colour,
    /// Notes, tick labels, lines that are not data.
    pub(super) muted: Colour,
    pub(super) axis: Colour,
    pub(super) grid: Colour,
    /// In the order in which they are assigned.
    pub(super) series: [Colour; 10],
    /// Shades of a heat map. The first is for the least counts and nearest to the background.
    pub(super) shades: [Colour; SHADES],
}

const LIGHT: Palette = Palette {
    background: (0xFF, 0xFF, 0xFF),
    text: (0x1A, 0x1D, 0x21),
    muted: (0x5A, 0x61, 0x69),
    axis: (0x8A, 0x91, 0x99),
    grid: (0xE6, 0xE8, 0xEB),
    series: [
        (0xD5, 0x5E, 0x00),
        (0x00, 0x77, 0xBB),
        (0x11, 0x77, 0x33),
        (0xCC, 0x79, 0xA7),
        (0x33, 0x22, 0x88),
        (0x99, 0x99, 0x33),
        (0x88, 0x22, 0x55),
        (0x5E, 0x4B, 0x8B),
        (0x33, 0x33, 0x33),
        (0xBB, 0x55, 0x66),
    ],
    shades: [
        (0xFE, 0xE3, 0x91),
        (0xFE, 0xC4, 0x4F),
        (0xFB, 0x9A, 0x29),
        (0xEC, 0x70, 0x14),
        (0xCC, 0x4C, 0x02),
        (0x99, 0x34, 0x04),
        (0x66, 0x25, 0x06),
    ],
};

const DARK: Palette = Palette {
    background: (0x15, 0x18, 0x1E),
    text: (0xEC, 0xEE, 0xF1),
    muted: (0xA3, 0xAB, 0xB5),
    axis: (0x6B, 0x73, 0x7D),
    grid: (0x2A, 0x2F, 0x37),
    series: [
        (0xEE, 0x77, 0x33),
        (0x56, 0xB4, 0xE9),
        (0xEE, 0xCC, 0x66),
        (0xEE, 0x33, 0x77),
        (0x00, 0x72, 0xB2),
        (0xDD, 0xDD, 0xDD),
        (0xCC, 0x33, 0x11),
        (0x99, 0x99, 0x99),
        (0xE6, 0x9F, 0x00),
        (0x99, 0xDD, 0xFF),
    ],
    shades: [
        (0x66, 0x25, 0x06),
        (0x99, 0x34, 0x04),
        (0xCC, 0x4C, 0x02),
        (0xEC, 0x70, 0x14),
        (0xFB, 0x9A, 0x29),
        (0xFE, 0xC4, 0x4F),
        (0xFE, 0xE3, 0x91),
    ],
};

impl Theme {
    /// All themes.
    pub const ALL: [Self; 2] = [Self::Light, Self::Dark];

    /// The name that it is written as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) const fn palette(self) -> &'static Palette {
        match self {
            Self::Light => &LIGHT,
            Self::Dark => &DARK,
        }
    }
}

/// Returns CSS rules that show [light](Theme::Light) figures within the selector `scope` in the colours of the
/// [dark](Theme::Dark) theme. They let a page contain a figure once and follow the reader's preference.
pub fn dark_css(scope: &str) -> String {
    let all = |palette: &'static Palette| {
        let Palette { background, text, muted, axis, grid, series, shades } = palette;
        [background, text, muted, axis, grid].into_iter().chain(series).chain(shades)
    };
    let hex = |&(red, green, blue): &Colour| format!("#{red:02X}{green:02X}{blue:02X}");
    let pairs = all(&LIGHT).zip(all(&DARK)).map(|(light, dark)| (hex(light), hex(dark)));
    let rules = pairs.flat_map(|(light, dark)| {
        ["fill", "stroke"].map(|paint| format!("{scope} [{paint}=\"{light}\"] {{ {paint}: {dark}; }}\n"))
    });
    rules.collect()
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Theme {
    type Err = FigureError;

    fn from_str(name: &str) -> Result<Self, FigureError> {
        let named = Self::ALL.into_iter().find(|theme| theme.name() == name);
        named.ok_or_else(|| FigureError::UnknownTheme { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Linear = [f64; 3];

    /// Linear RGB to linear RGB, at full strength: normal, protanopia, deuteranopia, tritanopia.
    const VISION: [[Linear; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [[0.152_286, 1.052_583, -0.204_868], [0.114_503, 0.786_281, 0.099_216], [-0.003_882, -0.048_116, 1.051_998]],
        [[0.367_322, 0.860_646, -0.227_968], [0.280_085, 0.672_501, 0.047_413], [-0.011_820, 0.042_940, 0.968_881]],
        [[1.255_528, -0.076_749, -0.178_779], [-0.078_411, 0.930_809, 0.147_602], [0.004_733, 0.691_367, 0.303_900]],
    ];

    fn linear((red, green, blue): Colour) -> Linear {
        [red, green, blue].map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.040_45 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn dot(a: Linear, b: Linear) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn luminance(colour: Colour) -> f64 {
        dot(linear(colour), [0.2126, 0.7152, 0.0722])
    }

    /// As WCAG 2 defines it, from 1 to 21.
    fn contrast(a: Colour, b: Colour) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// CIE 1976 L*a*b*, white D65.
    fn lab(colour: Linear) -> Linear {
        let root = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        let x = root(dot(colour, [0.4124, 0.3576, 0.1805]) / 0.9505);
        let y = root(dot(colour, [0.2126, 0.7152, 0.0722]));
        let z = root(dot(colour, [0.0193, 0.1192, 0.9505]) / 1.089);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn seen(colour: Colour, vision: &[Linear; 3]) -> Linear {
        lab(vision.map(|row| dot(row, linear(colour)).clamp(0.0, 1.0)))
    }

    /// How far apart two colours are for whoever sees the least difference; 2 is just noticeable side by side.
    fn apart(a: Colour, b: Colour) -> f64 {
        let distance = |vision| {
            let (a, b) = (seen(a, vision), seen(b, vision));
            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        VISION.iter().map(distance).fold(f64::MAX, f64::min)
    }

    #[test]
    fn text_and_series_stand_out_from_the_background() {
        for theme in Theme::ALL {
            let palette = theme.palette();
            for text in [palette.text, palette.muted] {
                assert!(contrast(text, palette.background) >= 4.5, "{theme}: {text:?}");
            }
            for series in palette.series {
                let contrast = contrast(series, palette.background);
                assert!(contrast >= 2.9, "{theme}: {series:?} {contrast}");
            }
        }
    }

    #[test]
    fn series_stay_apart_for_colour_blind_eyes() {
        for theme in Theme::ALL {
            let series = theme.palette().series;
            for (i, &a) in series.iter().enumerate() {
                for &b in &series[i + 1..] {
                    assert!(apart(a, b) >= 12.0, "{theme}: {a:?} and {b:?} are {} apart", apart(a, b));
                }
            }
        }
    }

    #[test]
    fn shades_leave_the_background_step_by_step_for_all_eyes() {
        for theme in Theme::ALL {
            let palette = theme.palette();
            let away = |shade: Colour| (luminance(shade) - luminance(palette.background)).abs();
            assert!(palette.shades.is_sorted_by(|&a, &b| away(a) < away(b)), "{theme}");
            for pair in std::iter::once(&[palette.background, palette.shades[0]][..]).chain(palette.shades.windows(2)) {
                assert!(apart(pair[0], pair[1]) >= 9.0, "{theme}: {pair:?} are {} apart", apart(pair[0], pair[1]));
            }
        }
    }

    #[test]
    fn names_are_parsed_back() {
        for theme in Theme::ALL {
            assert_eq!(theme.name().parse::<Theme>().unwrap(), theme);
        }
        assert!("sepia".parse::<Theme>().is_err());
    }
}
