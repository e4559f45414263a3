//! `GET /metrics`: what models, publishers and requests count, in the text format of Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, Opts, Registry};

use super::refusal::Refusal;
use super::shares::Shares;
use crate::index::{Rejection, ShardStatus};
use crate::service::indexer::Indexer;
use crate::service::models::Model;
use crate::service::publisher::{self, Count, Skip};

pub(super) async fn metrics(
    State(indexer): State<Arc<Indexer>>,
    State(shares): State<Arc<Shares>>,
) -> Result<Response, Refusal> {
    let text = shares.collect(move || text(&indexer)).await?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// Collects all metrics. Waits for the writers of all models.
fn text(indexer: &Indexer) -> String {
    let models = indexer.models().all();
    let families =
        [indexer.metrics().gather(), of_survival(indexer), of_models(&models), of_publishers(&models)].concat();
    let mut text = String::new();
    // Writing to memory does not fail, and the names are constant.
    prometheus::TextEncoder::new().encode_utf8(&families, &mut text).expect("families are valid");
    text
}

const MODEL: [&str; 3] = ["model", "group", "tenant"];

/// Families of metrics that are created for one reader.
struct Families {
    registry: Registry,
    labels: Vec<&'static str>,
}

impl Families {
    fn new(more: &[&'static str]) -> Self {
        Self { registry: Registry::new(), labels: [&MODEL, more].concat() }
    }

    fn gauge(&self, name: &str, help: &str) -> GaugeVec {
        let gauge = GaugeVec::new(Opts::new(name, help), &self.labels).expect("name and labels are constant and valid");
        self.registry.register(Box::new(gauge.clone())).expect("no other has this name");
        gauge
    }
}

fn labels<'a>(model: &'a Model, more: &[&'a str]) -> Vec<&'a str> {
    let key = model.key();
    [&[key.model.as_str(), &key.group, &key.tenant], more].concat()
}

/// Collects the metrics of snapshots and of the memory budget, if there are any.
fn of_survival(indexer: &Indexer) -> Vec<MetricFamily> {
    let registry = Registry::new();
    let set = |name: &str, help: &str, value: f64| {
        let gauge = Gauge::new(name, help).expect("the name is constant and valid");
        registry.register(Box::new(gauge.clone())).expect("no other has this name");
        gauge.set(value);
    };
    if let Some(snapshots) = indexer.snapshots() {
        let last = snapshots.last();
        if let Some(age) = last.saved.as_ref().and_then(|(_, at)| at.elapsed().ok()) {
            set(
                "kvleap_snapshot_age_seconds",
                "Time since the last complete snapshot of this process",
                age.as_secs_f64(),
            );
        }
        set("kvleap_snapshot_failures_total", "Snapshots that could not be written", last.failures as f64);
    }
    if let Some(budget) = indexer.budget() {
        set("kvleap_memory_budget_bytes", "Memory that all indexes may take", budget.limit() as f64);
        let over = f64::from(u8::from(budget.over().is_some()));
        set("kvleap_memory_over_budget", "1 while the memory budget is exceeded", over);
    }
    registry.gather()
}

/// A metric of a shard, summed over the shards of a model: name, help, value.
type Figure = (&'static str, &'static str, fn(&ShardStatus) -> f64);

const FIGURES: [Figure; 11] = [
    ("kvleap_blocks_held", "Blocks held, summed over the workers", |shard| shard.held_blocks as f64),
    ("kvleap_blocks_distinct", "Distinct prefixes, however many workers hold them", |shard| {
        shard.distinct_blocks as f64
    }),
    ("kvleap_runs", "Chains of blocks kept as one array", |shard| shard.runs as f64),
    ("kvleap_index_bytes", "Memory of the index", |shard| shard.bytes as f64),
    ("kvleap_mailbox_depth", "Events waiting for a writer", |shard| shard.mailbox_depth as f64),
    ("kvleap_index_events_total", "Events applied or rejected by the index", |shard| shard.applied_events as f64),
    ("kvleap_index_blocks_total", "Blocks named by these events", |shard| shard.applied_blocks as f64),
    ("kvleap_publications_total", "Snapshots published for readers", |shard| shard.generation as f64),
    ("kvleap_apply_seconds_total", "Time that writers spent applying events", |shard| shard.apply_time.as_secs_f64()),
    ("kvleap_publish_seconds_total", "Time that writers spent publishing snapshots", |shard| {
        shard.publish_time.as_secs_f64()
    }),
    ("kvleap_writers_alive", "Writers that are running", |shard| f64::from(u8::from(shard.alive))),
];

fn of_models(models: &[Arc<Model>]) -> Vec<MetricFamily> {
    let all = Families::new(&[]);
    let figures = FIGURES.map(|(name, help, figure)| (all.gauge(name, help), figure));
    let workers = all.gauge("kvleap_workers", "Workers in the index; each slower tier of a worker counts as one");
    let quantiles = Families::new(&["quantile"]);
    let staleness = quantiles.gauge("kvleap_staleness_seconds", "Time from an event's acceptance to its visibility");
    let reasons = Families::new(&["reason"]);
    let rejected = reasons.gauge("kvleap_index_rejected_total", "Events that the index rejected");
    for model in models {
        let status = model.index().status();
        let of = labels(model, &[]);
        for (gauge, figure) in &figures {
            gauge.with_label_values(&of).set(status.shards.iter().map(figure).sum());
        }
        workers.with_label_values(&of).set(status.workers.len() as f64);
        for (name, quantile) in [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)] {
            let slowest = status.shards.iter().map(|shard| shard.lag.value_at_quantile(quantile)).max();
            let slowest = Duration::from_nanos(slowest.unwrap_or(0));
            staleness.with_label_values(&labels(model, &[name])).set(slowest.as_secs_f64());
        }
        for reason in Rejection::ALL {
            let strangers = status.shards.iter().map(|shard| shard.rejected_strangers[reason as usize]);
            let known = status.workers.iter().map(|worker| worker.rejected(reason));
            let times: u64 = strangers.chain(known).sum();
            rejected.with_label_values(&labels(model, &[reason.name()])).set(times as f64);
        }
    }
    [all, quantiles, reasons].iter().flat_map(|families| families.registry.gather()).collect()
}

fn of_publishers(models: &[Arc<Model>]) -> Vec<MetricFamily> {
    let by_state = Families::new(&["state"]);
    let in_state = by_state.gauge("kvleap_publishers", "Publishers in this state");
    let by_publisher = Families::new(&["instance", "rank"]);
    let lag = by_publisher.gauge("kvleap_publisher_lag_seconds", "Age of the last batch when it was applied");
    let by_kind = Families::new(&["instance", "rank", "kind"]);
    let counts = by_kind.gauge("kvleap_publisher_total", "Counters of a publisher, by kind");
    let by_reason = Families::new(&["instance", "rank", "reason"]);
    let skipped = by_reason.gauge("kvleap_publisher_skipped_total", "Skipped events of a publisher, by reason");
    let by_doubt = Families::new(&["instance", "rank", "exactness", "reason"]);
    let doubted = by_doubt.gauge("kvleap_rank_inexact", "1 for every reason why answers about a rank may not be exact");
    for model in models {
        let publishers = model.publishers().all();
        let doubts = model.doubts();
        let states: Vec<_> =
            publishers.iter().map(|publisher| publisher.state_with(publisher.doubts_among(&doubts))).collect();
        for &(worker, reasons) in &doubts {
            let (instance, dp_rank) = (worker.id.to_string(), worker.dp_rank.to_string());
            for doubt in reasons.iter() {
                let of = labels(model, &[&instance, &dp_rank, doubt.kind().name(), doubt.name()]);
                doubted.with_label_values(&of).set(1.0);
            }
        }
        for state in publisher::State::ALL {
            let many = states.iter().filter(|&&other| other == state).count();
            in_state.with_label_values(&labels(model, &[state.name()])).set(many as f64);
        }
        for publisher in publishers.iter() {
            let (instance, dp_rank) = (publisher.worker().id.to_string(), publisher.worker().dp_rank.to_string());
            let of = |more: &[&'static str]| -> Vec<_> { [&[instance.as_str(), &dp_rank], more].concat() };
            lag.with_label_values(&labels(model, &of(&[]))).set(publisher.lag().as_secs_f64());
            for what in Count::ALL {
                counts.with_label_values(&labels(model, &of(&[what.name()]))).set(publisher.count(what) as f64);
            }
            for why in Skip::ALL.into_iter().filter(|&why| publisher.skipped(why) > 0) {
                skipped.with_label_values(&labels(model, &of(&[why.name()]))).set(publisher.skipped(why) as f64);
            }
        }
    }
    [by_state, by_publisher, by_kind, by_reason, by_doubt]
        .iter()
        .flat_map(|families| families.registry.gather())
        .collect()
}
