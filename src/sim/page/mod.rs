//! A report as a self-contained HTML page, or as one figure.

mod charts;
mod figure;
mod html;
mod measures;
mod words;

pub use figure::figure;
pub use html::html;
