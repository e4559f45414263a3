//! The data of figures, which are collected, or loaded from an earlier run.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::density::Density;
use super::flow::Flow;
use super::search::Search;
use super::structure::Structure;
use super::throughput::Throughput;
use super::timeline::Timeline;
use super::{FiguresError, Options, Topic, density, flow, search, structure, throughput, timeline};
use crate::report::{Theme, png, write};

/// The data of one figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "figure", content = "data", rename_all = "kebab-case")]
pub enum Data {
    /// For [`Topic::Density`].
    EventDensity(Density),
    /// For [`Topic::Flow`].
    EventFlow(Flow),
    /// For [`Topic::Structure`].
    PrefixStructure(Structure),
    /// For [`Topic::Timeline`].
    Concurrency(Timeline),
    /// For [`Topic::Search`].
    JumpSearch(Search),
    /// For [`Topic::Throughput`].
    Throughput(Throughput),
}

/// The format of a file with data.
#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    #[serde(flatten)]
    data: Data,
}

/// The part that every version of the format has.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

impl Topic {
    /// Runs and measures what the figure shows. Calls `progress` with the share that is done, from 0 to 1.
    ///
    /// Takes a few seconds; [`Topic::Throughput`] takes half a minute if it has to sweep.
    ///
    /// # Errors
    /// [`FiguresError`] if a file cannot be read, or if the run fails or yields nothing to show.
    pub fn collect(self, options: &Options, mut progress: impl FnMut(f64)) -> Result<Data, FiguresError> {
        let progress = &mut progress;
        match self {
            Self::Density => density::collect(options, progress).map(Data::EventDensity),
            Self::Flow => flow::collect(options, progress).map(Data::EventFlow),
            Self::Structure => structure::collect(options).map(Data::PrefixStructure),
            Self::Timeline => timeline::collect(options).map(Data::Concurrency),
            Self::Search => search::collect(options).map(Data::JumpSearch),
            Self::Throughput => throughput::collect(options, progress).map(Data::Throughput),
        }
    }

    /// Loads data that [`Data::json`] has written to a file.
    ///
    /// # Errors
    /// [`FiguresError::Saved`] if the file cannot be read, or has other content, another version, or another figure.
    pub fn load(self, path: &Path) -> Result<Data, FiguresError> {
        let fail = |why: String| FiguresError::Saved { path: path.to_owned(), why };
        let text = fs::read(path).map_err(|error| fail(format!("cannot be read: {error}")))?;
        let header: Header =
            serde_json::from_slice(&text).map_err(|error| fail(format!("is not the data of a figure: {error}")))?;
        if header.version != Data::VERSION {
            let (found, wanted) = (header.version, Data::VERSION);
            return Err(fail(format!(
                "has version {found} of the format, and this program reads {wanted}: collect the data again"
            )));
        }
        let saved: Saved =
            serde_json::from_slice(&text).map_err(|error| fail(format!("is not the data of a figure: {error}")))?;
        if saved.data.topic() != self {
            return Err(fail(format!("has the data of {}, not of {self}", saved.data.topic())));
        }
        Ok(saved.data)
    }

    /// Returns the name of its file in a directory of data.
    pub fn data_file(self, directory: &Path) -> PathBuf {
        directory.join(self.stem() + ".json")
    }
}

impl Data {
    /// The version of the format that [`json`](Self::json) writes.
    pub const VERSION: u32 = 1;

    /// The figure that the data are for.
    pub fn topic(&self) -> Topic {
        match self {
            Self::EventDensity(_) => Topic::Density,
            Self::EventFlow(_) => Topic::Flow,
            Self::PrefixStructure(_) => Topic::Structure,
            Self::Concurrency(_) => Topic::Timeline,
            Self::JumpSearch(_) => Topic::Search,
            Self::Throughput(_) => Topic::Throughput,
        }
    }

    /// Returns the data as one JSON object, with the version of the format and the name of the figure.
    ///
    /// # Panics
    /// Never: numbers, names and lists can always be serialized.
    pub fn json(&self) -> String {
        let saved = Saved { version: Self::VERSION, data: self.clone() };
        serde_json::to_string(&saved).expect("numbers, names and lists") + "\n"
    }

    /// Draws the figure as SVG.
    ///
    /// # Errors
    /// [`FiguresError::Drawing`] if there is nothing to show.
    pub fn svg(&self, theme: Theme) -> Result<String, FiguresError> {
        Ok(match self {
            Self::EventDensity(data) => density::draw(data).svg(theme)?,
            Self::EventFlow(data) => flow::draw(data).svg(theme)?,
            Self::PrefixStructure(data) => structure::draw(data).svg(theme)?,
            Self::Concurrency(data) => timeline::draw(data).svg(theme)?,
            Self::JumpSearch(data) => search::draw(data).svg(theme)?,
            Self::Throughput(data) => throughput::draw(data).svg(theme)?,
        })
    }

    /// Returns the caption in Markdown: what the figure shows, with its numbers.
    pub fn caption(&self) -> String {
        let text = match self {
            Self::EventDensity(data) => density::caption(data),
            Self::EventFlow(data) => flow::caption(data),
            Self::PrefixStructure(data) => structure::caption(data),
            Self::Concurrency(data) => timeline::caption(data),
            Self::JumpSearch(data) => search::caption(data),
            Self::Throughput(data) => throughput::caption(data),
        };
        format!("**Figure {}.** {text}\n", self.topic().number())
    }

    /// Writes the figure in these themes as `.svg` and `.png`, its caption as `.md`, and its data into the folder
    /// `data`, all in `directory`. Returns the names of the files. Each file is renamed into place when complete. If
    /// the figure cannot be drawn, none is written.
    ///
    /// # Errors
    /// [`FiguresError::Drawing`] and [`FiguresError::File`].
    pub fn write(&self, directory: &Path, themes: &[Theme]) -> Result<Vec<PathBuf>, FiguresError> {
        let stem = self.topic().stem();
        let mut files = Vec::new();
        for &theme in themes {
            let svg = self.svg(theme)?;
            let png = png(&svg)?;
            files.push((directory.join(format!("{stem}-{theme}.svg")), svg.into_bytes()));
            files.push((directory.join(format!("{stem}-{theme}.png")), png));
        }
        files.push((directory.join(format!("{stem}.md")), self.caption().into_bytes()));
        let data = directory.join("data");
        fs::create_dir_all(&data).map_err(|source| FiguresError::File { path: data.clone(), source })?;
        files.push((self.topic().data_file(&data), self.json().into_bytes()));
        for (path, bytes) in &files {
            write(path, bytes).map_err(|source| FiguresError::File { path: path.clone(), source })?;
        }
        Ok(files.into_iter().map(|(path, _)| path).collect())
    }
}
