//! Why a figure was not drawn or written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a figure was not drawn, or not written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FigureError {
    /// A chart has no point, or a figure has no chart.
    #[error("{title:?} has nothing to show")]
    Empty {
        /// The title of the chart, or of the figure.
        title: String,
    },
    /// A value that cannot be shown on its axis: infinite, not a number, or not positive on a logarithmic axis.
    #[error(
        "{title:?}: {value} cannot be shown on the axis {axis:?}; leave such points out, or use a linear axis for zeros"
    )]
    Value {
        /// The title of the chart.
        title: String,
        /// The title of the axis.
        axis: String,
        /// The value.
        value: f64,
    },
    /// No [`Theme`](super::Theme) has this name.
    #[error("no theme is called {name:?}; use light or dark")]
    UnknownTheme {
        /// The name that was given.
        name: String,
    },
    /// The file's name ends neither in `.svg` nor in `.png`.
    #[error("{}: a figure's name ends in .svg or .png", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The drawing library, or the renderer, failed.
    #[error("the figure cannot be drawn: {what}")]
    Drawing {
        /// Its message.
        what: String,
    },
    /// The file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}
