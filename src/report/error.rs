//! Why a figure was not drawn or written.

use std::path::PathBuf;
use std::{error, fmt, io};

/// Why a figure was not drawn, or not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum FigureError {
    /// A chart without a single point, or a figure without a chart.
    Empty {
        /// The title of the chart, or of the figure.
        title: String,
    },
    /// A value that its axis has no place for: infinite, not a number, or not positive on a logarithmic axis.
    Value {
        /// The title of the chart.
        title: String,
        /// What the axis shows.
        axis: String,
        /// The value.
        value: f64,
    },
    /// No [`Theme`](super::Theme) has this name.
    UnknownTheme {
        /// What was given.
        name: String,
    },
    /// The file's name ends neither in `.svg` nor in `.png`.
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The drawing library, or the renderer, failed.
    Drawing {
        /// What it says.
        what: String,
    },
    /// The file cannot be written.
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl fmt::Display for FigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty { title } => write!(f, "{title:?} has nothing to show"),
            Self::Value { title, axis, value } => {
                write!(
                    f,
                    "{title:?}: {value} has no place on the axis {axis:?}; leave such points out, or use a linear axis for zeros"
                )
            }
            Self::UnknownTheme { name } => write!(f, "no theme is called {name:?}; use light or dark"),
            Self::UnknownFormat { path } => write!(f, "{}: a figure's name ends in .svg or .png", path.display()),
            Self::Drawing { what } => write!(f, "the figure cannot be drawn: {what}"),
            Self::File { path, source } => write!(f, "{}: cannot be written: {source}", path.display()),
        }
    }
}

impl error::Error for FigureError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
