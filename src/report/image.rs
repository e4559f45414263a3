//! Figures as PNG, and as files.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use super::theme::PNG_SCALE;
use super::{Figure, FigureError, Theme, write};

/// The built-in font only, so that a PNG is the same everywhere.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(ttf_noto_sans::REGULAR.to_vec());
    fonts.load_font_data(ttf_noto_sans::BOLD.to_vec());
    Arc::new(fonts)
});

impl Figure {
    /// Returns the figure as a PNG, with two pixels for each of the SVG's. Takes a few dozen milliseconds.
    ///
    /// # Errors
    /// As for [`svg`](Self::svg).
    pub fn png(&self, theme: Theme) -> Result<Vec<u8>, FigureError> {
        png(&self.svg(theme)?)
    }

    /// Writes the figure in the format that the file's name ends in, `.svg` or `.png`. The file is renamed into place
    /// when complete, and replaces one of that name.
    ///
    /// # Errors
    /// [`FigureError::UnknownFormat`] and [`FigureError::File`], and as for [`svg`](Self::svg).
    pub fn save(&self, path: &Path, theme: Theme) -> Result<(), FigureError> {
        let bytes = match path.extension().and_then(OsStr::to_str) {
            Some("svg") => self.svg(theme)?.into_bytes(),
            Some("png") => self.png(theme)?,
            _ => return Err(FigureError::UnknownFormat { path: path.to_owned() }),
        };
        write(path, &bytes).map_err(|source| FigureError::File { path: path.to_owned(), source })
    }
}

/// Renders the SVG of a figure or a diagram as a PNG, with two pixels for each of its own.
///
/// # Errors
/// [`FigureError::Drawing`] if the renderer fails.
pub fn png(svg: &str) -> Result<Vec<u8>, FigureError> {
    let fail = |what: String| FigureError::Drawing { what };
    let options = Options { fontdb: Arc::clone(&FONTS), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| fail(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(PNG_SCALE).ok_or_else(|| fail("it has no size".into()))?;
    let mut image =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| fail("it is too large for an image".into()))?;
    resvg::render(&tree, Transform::from_scale(PNG_SCALE, PNG_SCALE), &mut image.as_mut());
    image.encode_png().map_err(|error| fail(error.to_string()))
}
