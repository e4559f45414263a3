//! Files for results, checked before minutes are spent on them.

use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::report::{self, Theme};

/// Checks that a file of this name can be written, by writing one beside it: permissions are more than their bits.
pub(crate) fn check(path: &Path) -> Result<(), Box<dyn Error>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || tempfile::tempfile_in(folder).is_err() {
        return Err(format!("{}: no file of this name can be written; give another", path.display()).into());
    }
    Ok(())
}

/// Checks the same of a figure, whose name must also end in `.svg` or `.png`.
pub(crate) fn check_figure(path: &Path) -> Result<(), Box<dyn Error>> {
    match path.extension().and_then(OsStr::to_str) {
        Some("svg" | "png") => check(path),
        _ => Err(format!("{}: a figure's name ends in .svg or .png", path.display()).into()),
    }
}

/// Writes a file, which gets its name when it is complete.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    let written = report::write(path, text.as_bytes());
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()).into())
}

/// Parses the colours of figures.
pub(crate) fn theme() -> impl TypedValueParser<Value = Theme> {
    PossibleValuesParser::new(Theme::ALL.map(Theme::name)).try_map(|name| name.parse::<Theme>())
}
