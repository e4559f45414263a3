//! A report to look at: one HTML page that needs nothing else, or one figure.

mod charts;
mod figure;
mod html;
mod measures;
mod words;

pub use figure::figure;
pub use html::html;
