//! Metrics of publishers, and of the ranks that they speak for.

use std::sync::Arc;

use super::LISTED;
use super::exposition::{Exposition, Kind, Labels};
use super::models;
use crate::event::Worker;
use crate::service::doubt::{Doubts, Exactness};
use crate::service::models::Model;
use crate::service::publisher::{Count, Publisher, Skip, State};

/// What is known about one model.
struct Of {
    labels: Labels,
    publishers: Vec<Arc<Publisher>>,
    doubts: Vec<(Worker, Doubts)>,
}

impl Of {
    fn new(model: &Model) -> Self {
        Self { labels: models::labels(model), publishers: model.publishers().all(), doubts: model.doubts() }
    }

    fn labels(&self, worker: Worker) -> Labels {
        self.labels.with("instance_id", worker.id).with("dp_rank", worker.dp_rank)
    }
}

/// Adds the metrics of the publishers of all models, and of their ranks.
pub(super) fn put(text: &mut Exposition, models: &[Arc<Model>]) {
    let all: Vec<_> = models.iter().map(|model| Of::new(model)).collect();
    put_sums(text, &all);
    let publishers = all.iter().flat_map(|of| of.publishers.iter().map(move |publisher| (of, publisher)));
    let count = publishers.clone().count();
    let listed: Vec<_> =
        publishers.take(LISTED).map(|(of, publisher)| (of.labels(publisher.worker()), publisher)).collect();
    let help = "Publishers that have no metrics of their own, because there are too many";
    text.family(Kind::Gauge, "kvleap_publishers_unlisted", help).value(count - listed.len());

    let help = "Age of the last batch when it was applied, by the publisher's clock";
    let mut family = text.family(Kind::Gauge, "kvleap_publisher_lag_seconds", help);
    for (labels, publisher) in &listed {
        family.sample(labels, publisher.lag().as_secs_f64());
    }
    let mut family = text.family(Kind::Counter, "kvleap_publisher_total", "What is counted of a publisher, by kind");
    for (labels, publisher) in &listed {
        for what in Count::ALL {
            family.sample(&labels.with("kind", what.name()), publisher.count(what));
        }
    }
    let help = "Events of a publisher that were left out, by reason";
    let mut family = text.family(Kind::Counter, "kvleap_publisher_skipped_total", help);
    for (labels, publisher) in &listed {
        for why in Skip::ALL.into_iter().filter(|&why| publisher.skipped(why) > 0) {
            family.sample(&labels.with("reason", why.name()), publisher.skipped(why));
        }
    }
    let help = "1 for every reason why answers about a rank may not be exact";
    let mut family = text.family(Kind::Gauge, "kvleap_rank_inexact", help);
    let doubts = all.iter().flat_map(|of| of.doubts.iter().map(move |doubt| (of, doubt)));
    for (of, &(worker, doubts)) in doubts.take(LISTED) {
        let labels = of.labels(worker);
        for doubt in doubts.iter() {
            let labels = labels.with("exactness", doubt.kind().name()).with("reason", doubt.name());
            family.sample(&labels, 1);
        }
    }
}

/// Adds the metrics that do not name a publisher or a rank.
fn put_sums(text: &mut Exposition, all: &[Of]) {
    let mut family = text.family(Kind::Gauge, "kvleap_publishers", "Publishers in this state");
    for of in all {
        let state = |publisher: &Arc<Publisher>| publisher.state_with(publisher.doubts_among(&of.doubts));
        let states: Vec<_> = of.publishers.iter().map(state).collect();
        for state in State::ALL {
            let many = states.iter().filter(|&&other| other == state).count();
            family.sample(&of.labels.with("state", state.name()), many);
        }
    }
    let help = "Ranks about which answers may not be exact, by how exact they are";
    let mut family = text.family(Kind::Gauge, "kvleap_ranks_inexact", help);
    for of in all {
        for exactness in [Exactness::AtLeast, Exactness::Unknown] {
            let many = of.doubts.iter().filter(|(_, doubts)| doubts.exactness() == exactness).count();
            family.sample(&of.labels.with("exactness", exactness.name()), many);
        }
    }
}
