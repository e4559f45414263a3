//! Metrics of the service as a whole: its version, its limits, its snapshots, its memory budget and its log.

use super::exposition::{Exposition, Kind, Labels};
use crate::service::indexer::Indexer;
use crate::service::log::LOG_COUNTS;

/// Adds the metrics of the service as a whole.
pub(super) fn put(text: &mut Exposition, indexer: &Indexer) {
    let config = indexer.config();
    let version = Labels::default().with("version", env!("CARGO_PKG_VERSION"));
    text.family(Kind::Gauge, "kvleap_build_info", "1, with the version as a label").sample(&version, 1);
    let mut gauge = |name: &str, help: &str, value: f64| text.family(Kind::Gauge, name, help).value(value);
    gauge("kvleap_models", "Models, counting groups and tenants", indexer.models().all().len() as f64);
    gauge("kvleap_models_limit", "Models at a time, at most", config.max_models as f64);
    gauge("kvleap_message_bytes", "Bytes of engines' messages in memory", indexer.message_bytes() as f64);
    gauge("kvleap_message_bytes_limit", "Bytes of engines' messages in memory, at most", config.message_memory as f64);
    if let Some((open, limit)) = indexer.metrics().connections() {
        gauge("kvleap_connections", "HTTP connections that are open", open as f64);
        gauge("kvleap_connections_limit", "HTTP connections at a time, at most", limit as f64);
    }
    if let Some(snapshots) = indexer.snapshots() {
        let (failures, saved) = {
            let last = snapshots.last();
            (last.failures, last.saved.as_ref().map(|&(_, at)| at))
        };
        let age = saved.unwrap_or(indexer.started()).elapsed().unwrap_or_default();
        let help = "Time since the last complete snapshot of this process, or since its start if there is none";
        gauge("kvleap_snapshot_age_seconds", help, age.as_secs_f64());
        let help = "Time between two snapshots, as it is set";
        gauge("kvleap_snapshot_interval_seconds", help, config.snapshot_seconds as f64);
        let help = "Snapshots that could not be written";
        text.family(Kind::Counter, "kvleap_snapshot_failures_total", help).value(failures);
    }
    let mut gauge = |name: &str, help: &str, value: u64| text.family(Kind::Gauge, name, help).value(value);
    if let Some(budget) = indexer.budget() {
        gauge(
            "kvleap_memory_budget_bytes",
            "Memory that indexes, mailboxes and records of publishers may take",
            budget.limit(),
        );
        let over = u64::from(budget.over().is_some());
        gauge("kvleap_memory_over_budget", "1 while the memory budget is exceeded", over);
    }
    let mut counter = |name: &str, help: &str, value: u64| text.family(Kind::Counter, name, help).value(value);
    counter("kvleap_log_lines_total", "Lines that were logged", LOG_COUNTS.written());
    counter("kvleap_log_lines_lost_total", "Log lines that could not be written", LOG_COUNTS.lost());
    let help = "Log lines that were left out because there were many like them";
    counter("kvleap_log_lines_left_out_total", help, LOG_COUNTS.left_out());
}
