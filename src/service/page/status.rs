//! `GET /v1/status`: the figures of the page, as JSON.
//!
//! Fields that end in `_s` are in seconds, and those that end in `_ms` in milliseconds since 1970. Counters start with
//! the process. Instances are text, because JavaScript would round 64-bit numbers.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::Histogram;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use serde::Serialize;

use crate::event::Worker;
use crate::index;
use crate::service::budget::{Budget, OverBudget};
use crate::service::doubt::Doubts;
use crate::service::indexer::Indexer;
use crate::service::models::Model;
use crate::service::publisher::{Count, Publisher, Skip, State};
use crate::service::snapshot::Snapshots;

/// Everything that the page shows.
#[derive(Debug, Serialize)]
pub(in crate::service) struct Status {
    release: &'static str,
    started_ms: u64,
    now_ms: u64,
    lookups: LookupFigures,
    memory: MemoryFigures,
    /// `None` if no snapshots are saved.
    snapshot: Option<SnapshotFigures>,
    models: Vec<ModelFigures>,
    #[serde(rename = "ranks")]
    publishers: Vec<PublisherFigures>,
}

#[derive(Debug, Serialize)]
struct LookupFigures {
    count: u64,
    /// Bounds in seconds, each with the number of lookups that took no longer. The last has no bound and counts all.
    buckets: Vec<(Option<f64>, u64)>,
}

#[derive(Debug, Serialize)]
struct MemoryFigures {
    /// The memory of all indexes.
    bytes: u64,
    budget: Option<u64>,
    /// What is being done because the budget is exceeded, if it is.
    over: Option<OverBudget>,
}

#[derive(Debug, Serialize)]
struct SnapshotFigures {
    saved_ms: Option<u64>,
    bytes: Option<u64>,
    /// Why the latest one could not be saved.
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ModelFigures {
    model: String,
    group: String,
    tenant: String,
    block_size: u32,
    held_blocks: u64,
    indexed_blocks: u64,
    runs: u64,
    bytes: u64,
    applied_blocks: u64,
    /// Events in the mailboxes.
    waiting: usize,
    /// Time from an event's acceptance to its visibility, since the start, in the slowest shard.
    staleness_p99_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct PublisherFigures {
    /// The position of its model in [`Status::models`].
    model: usize,
    instance: String,
    dp_rank: u32,
    endpoint: Option<String>,
    state: State,
    /// Why answers about its workers may not be exact.
    reasons: Doubts,
    /// Blocks that its workers hold on the device.
    held: u64,
    /// Blocks named by its events.
    blocks: u64,
    /// How old the last batch was when it was applied, by the publisher's clock. Events over HTTP have no time.
    lag_s: Option<f64>,
    /// How long ago it was last heard.
    seen_s: Option<f64>,
    /// The sequence number of the last batch applied.
    sequence: Option<u64>,
    /// Batches that could not be recovered.
    lost: u64,
    skipped: u64,
}

impl Status {
    /// Collects the figures. Waits for the writers of all models.
    pub(in crate::service) fn of(indexer: &Indexer) -> Self {
        let all = indexer.models().all();
        let mut models = Vec::new();
        let mut publishers = Vec::new();
        for (place, model) in all.iter().enumerate() {
            let status = model.index().status();
            let held: HashMap<_, _> = status.workers.iter().map(|worker| (worker.worker, worker.held_blocks)).collect();
            let doubts = model.doubts();
            publishers.extend(
                model.publishers().all().iter().map(|publisher| PublisherFigures::of(place, publisher, &held, &doubts)),
            );
            models.push(ModelFigures::of(model, &status));
        }
        let bytes = models.iter().map(|model| model.bytes).sum();
        Self {
            release: env!("CARGO_PKG_VERSION"),
            started_ms: milliseconds(indexer.started()),
            now_ms: milliseconds(SystemTime::now()),
            lookups: LookupFigures::of(&indexer.metrics().lookups),
            memory: MemoryFigures {
                bytes,
                budget: indexer.budget().map(Budget::limit),
                over: indexer.budget().and_then(Budget::over),
            },
            snapshot: indexer.snapshots().map(SnapshotFigures::of),
            models,
            publishers,
        }
    }
}

impl LookupFigures {
    fn of(histogram: &Histogram) -> Self {
        let families = histogram.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        let count = histogram.get_sample_count();
        let buckets = metrics.flat_map(|metric| metric.get_histogram().get_bucket());
        let buckets = buckets.map(|bucket| (Some(bucket.upper_bound()), bucket.cumulative_count()));
        // A lookup that is being recorded may be in a bucket but not counted yet, or the other way round.
        let mut buckets: Vec<_> = buckets.collect();
        let most = buckets.last().map_or(count, |&(_, last)| count.max(last));
        buckets.push((None, most));
        Self { count: most, buckets }
    }
}

impl ModelFigures {
    fn of(model: &Model, status: &index::Status) -> Self {
        let key = model.key().clone();
        let sum = |figure: fn(&index::ShardStatus) -> u64| status.shards.iter().map(figure).sum();
        let lags = status.shards.iter().filter(|shard| !shard.lag.is_empty());
        let lag_ns = lags.map(|shard| shard.lag.value_at_quantile(0.99)).max();
        Self {
            model: key.model,
            group: key.group,
            tenant: key.tenant,
            block_size: model.block_size(),
            held_blocks: sum(|shard| shard.held_blocks),
            indexed_blocks: sum(|shard| shard.indexed_blocks),
            runs: sum(|shard| shard.runs),
            bytes: sum(|shard| shard.bytes),
            applied_blocks: sum(|shard| shard.applied_blocks),
            waiting: status.shards.iter().map(|shard| shard.mailbox_depth).sum(),
            staleness_p99_s: lag_ns.map(|ns| ns as f64 * 1e-9),
        }
    }
}

impl PublisherFigures {
    fn of(model: usize, publisher: &Publisher, held: &HashMap<Worker, u64>, doubts: &[(Worker, Doubts)]) -> Self {
        let Worker { id, dp_rank } = publisher.worker();
        let reasons = publisher.doubts_among(doubts);
        Self {
            model,
            instance: id.to_string(),
            dp_rank,
            endpoint: publisher.endpoint().map(str::to_owned),
            state: publisher.state_with(reasons),
            reasons,
            held: publisher.workers().iter().filter_map(|worker| held.get(worker)).sum(),
            blocks: publisher.count(Count::Blocks),
            lag_s: publisher.endpoint().and(publisher.last_seen()).map(|_| publisher.lag().as_secs_f64()),
            seen_s: publisher.last_seen().map(|seen| seen.elapsed().unwrap_or_default().as_secs_f64()),
            sequence: publisher.last_sequence(),
            lost: publisher.count(Count::Lost),
            skipped: Skip::ALL.iter().map(|&why| publisher.skipped(why)).sum(),
        }
    }
}

impl SnapshotFigures {
    fn of(snapshots: &Snapshots) -> Self {
        let last = snapshots.last().clone();
        let (saved, when) = last.saved.unzip();
        Self { saved_ms: when.map(milliseconds), bytes: saved.map(|saved| saved.bytes), error: last.error }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
