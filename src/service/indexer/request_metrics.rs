//! What requests count, for Prometheus.

use std::sync::{Arc, OnceLock};

use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, Opts, Registry};
use tokio::sync::Semaphore;

/// Counters that requests write to. They are atomics, and reaching them takes no lock. What models and publishers count
/// themselves is collected in `metrics/` when somebody asks.
#[derive(Debug)]
pub(in crate::service) struct RequestMetrics {
    registry: Registry,
    /// Time in the index alone, from hashes to matches.
    pub(in crate::service) lookups: Histogram,
    /// Time from a complete query to the bytes of its answer.
    pub(in crate::service) answers: Histogram,
    /// Answers by the first digit of their status, from 2.
    responses: [IntCounter; 4],
    /// Requests without the token that they need.
    pub(in crate::service) denied: IntCounter,
    /// What connections take permits from, and how many permits it had at first.
    connections: OnceLock<(Arc<Semaphore>, usize)>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let registry = Registry::new();
        // From half a microsecond to half a second, in powers of two.
        let buckets = || (0..21).map(|power| f64::from(1 << power) * 0.5e-6).collect::<Vec<_>>();
        let histogram = |name: &str, help: &str| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets()));
            let histogram = histogram.expect("name and buckets are constant and valid");
            registry.register(Box::new(histogram.clone())).expect("no other has this name");
            histogram
        };
        let counter = |opts: Opts| {
            let counter = IntCounter::with_opts(opts).expect("the name is constant and valid");
            registry.register(Box::new(counter.clone())).expect("no other has this name and label");
            counter
        };
        let lookups = histogram("kvleap_lookup_seconds", "Time of a lookup in the index");
        let answers = histogram("kvleap_answer_seconds", "Time from a complete query to its answer");
        let responses = ["2xx", "3xx", "4xx", "5xx"].map(|class| {
            let opts = Opts::new("kvleap_http_responses_total", "Answers by status class");
            counter(opts.const_label("class", class))
        });
        let denied = counter(Opts::new("kvleap_http_denied_total", "Requests without the token that they need"));
        Self { registry, lookups, answers, responses, denied, connections: OnceLock::new() }
    }
}

impl RequestMetrics {
    pub(in crate::service) fn responded(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2);
        self.responses[class.min(self.responses.len() - 1)].inc();
    }

    /// Tells what connections take their permits from, and how many permits it had at first.
    pub(in crate::service) fn count_connections(&self, permits: &Arc<Semaphore>, limit: usize) {
        // A server says this once, when it starts.
        let _ = self.connections.set((Arc::clone(permits), limit));
    }

    /// Returns how many connections are open, and how many may be; `None` without a server.
    pub(in crate::service) fn connections(&self) -> Option<(usize, usize)> {
        let (permits, limit) = self.connections.get()?;
        Some((limit.saturating_sub(permits.available_permits()), *limit))
    }

    pub(in crate::service) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
