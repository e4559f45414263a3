//! What the service measures, in the text format of Prometheus.
//!
//! Names that clients choose become labels. A setting bounds the number of models, and [`LISTED`] that of publishers
//! and ranks: further ones are in the sums only.

mod exposition;
mod models;
mod process;
mod publishers;
mod whole;

use prometheus::TextEncoder;

use crate::service::indexer::Indexer;
use exposition::Exposition;

/// Rules for Prometheus that raise an alert for everything that an operator should know.
pub const ALERTS: &str = include_str!("alerts.yml");

/// How many publishers, and how many ranks, have metrics of their own. This bounds the size of an answer, because
/// whoever may send events can name as many workers as they like.
const LISTED: usize = 1000;

/// Collects all metrics. Waits for the writers of all models.
pub(super) fn text(indexer: &Indexer) -> String {
    let mut text = Exposition::default();
    let models = indexer.models().all();
    whole::put(&mut text, indexer);
    models::put(&mut text, &models);
    publishers::put(&mut text, &models);
    process::put(&mut text);
    let mut text = text.into_text();
    // Writing to memory does not fail, and the names are constant.
    TextEncoder::new().encode_utf8(&indexer.metrics().gather(), &mut text).expect("families are valid");
    text
}
