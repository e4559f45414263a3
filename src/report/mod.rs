//! Figures: charts and diagrams as SVG and PNG, in a light and a dark theme.
//!
//! A [`Figure`] of charts and a [`Diagram`] are plain data. Equal figures give equal bytes on any machine: text is
//! measured with a built-in font (Noto Sans, Apache-2.0), which a PNG also draws with. An SVG keeps text as text, and
//! names that font and common substitutes.
//!
//! ```
//! use kvleap::report::{Axis, Chart, Figure, Series, Theme, Unit};
//!
//! let rate = |label: &str| Axis::log(label, Unit::Of("block operations/s".into()));
//! let figure = Figure::new("Achieved against offered load").note("2 cores").chart(
//!     Chart::new("Throughput", rate("offered"), rate("achieved"))
//!         .identity("keeps up")
//!         .series(Series::marked("this one", vec![(1e5, 1e5), (1e6, 1e6), (1e7, 4e6)]).strong())
//!         .series(Series::marked("that one", vec![(1e5, 9e4), (1e6, 1e5)])),
//! );
//! assert!(figure.svg(Theme::Light)?.starts_with("<svg"));
//! # Ok::<(), kvleap::report::FigureError>(())
//! ```

#![allow(clippy::cast_sign_loss)] // lengths on a canvas and counts of labels are not negative

mod axis;
mod chart;
mod diagram;
mod draw;
mod error;
mod file;
mod image;
mod pen;
mod series;
mod shades;
mod theme;
mod title;

pub use axis::{Axis, Scale, Unit};
pub use chart::{Chart, Figure, Point, Series};
pub use diagram::Diagram;
pub use error::FigureError;
pub use file::write;
pub use image::png;
pub use shades::Shades;
pub use theme::{Colour, Theme, dark_css};
