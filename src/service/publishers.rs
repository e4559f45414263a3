//! The publishers of a model.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::doubt::{Doubt, Doubts};
use super::ingest::SEATS;
use super::publisher::{Copies, Publisher};
use crate::event::Worker;

/// Who speaks for the workers of a model. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Publishers {
    /// Sorted by worker and seat.
    all: ArcSwap<Vec<Arc<Publisher>>>,
    /// Held by whoever changes them.
    changing: Mutex<()>,
    /// A bit for every number of tokens that publishers' hashes have looked ahead so far.
    ways: AtomicU64,
}

/// The most tokens that a hash may look ahead; more are refused.
pub const MAX_LOOKAHEAD: u32 = u64::BITS - 1;

impl Publishers {
    /// All of them, by worker.
    pub fn all(&self) -> Arc<Vec<Arc<Publisher>>> {
        self.all.load_full()
    }

    /// The publishers that were registered as this worker.
    pub fn of(&self, worker: Worker) -> Vec<Arc<Publisher>> {
        let publishers = self.all.load();
        let from = publishers.partition_point(|publisher| publisher.worker() < worker);
        publishers[from..].iter().take_while(|publisher| publisher.worker() == worker).map(Arc::clone).collect()
    }

    /// The first publisher that was registered as this worker.
    pub fn get(&self, worker: Worker) -> Option<Arc<Publisher>> {
        self.of(worker).into_iter().next()
    }

    /// The publisher that speaks for this worker: registered as it, or as another rank of the instance whose batches named
    /// this one.
    pub fn speaker(&self, worker: Worker) -> Option<Arc<Publisher>> {
        let publishers = self.all.load();
        let named = || instance(&publishers, worker.id).find(|publisher| publisher.workers().contains(&worker));
        instance(&publishers, worker.id).find(|publisher| publisher.worker() == worker).or_else(named).map(Arc::clone)
    }

    /// Whether a publisher speaks for this worker that is registered as another one than `registered`.
    pub(super) fn speaks_another(&self, worker: Worker, registered: Worker) -> bool {
        let publishers = self.all.load();
        let mut others = instance(&publishers, worker.id).filter(|publisher| publisher.worker() != registered);
        others.any(|publisher| publisher.worker() == worker || publisher.workers().contains(&worker))
    }

    /// Whether other publishers speak for this one's worker, too.
    pub(super) fn has_company(&self, publisher: &Publisher) -> bool {
        self.of(publisher.worker()).iter().any(|other| other.seat() != publisher.seat())
    }

    /// The workers of which what is said may not be exact, and why, by worker. `unplaced` are those of which the index
    /// left blocks out.
    pub fn doubts(&self, unplaced: impl IntoIterator<Item = Worker>) -> Vec<(Worker, Doubts)> {
        let publishers = self.all.load();
        let doubtful = publishers
            .iter()
            .filter(|publisher| publisher.is_doubtful())
            .flat_map(|publisher| publisher.doubts_by_worker());
        let unplaced = unplaced.into_iter().map(|worker| (worker, Doubt::Unplaced.into()));
        let mut doubts: Vec<_> = doubtful.filter(|(_, doubts)| !doubts.is_empty()).chain(unplaced).collect();
        if doubts.len() > 1 {
            doubts.sort_unstable_by_key(|&(worker, _)| worker);
            doubts.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 = kept.1.and(next.1);
                }
                same
            });
        }
        doubts
    }

    /// How many tokens publishers' hashes look ahead: every number that was met so far, ascending; 0 if none was.
    pub(super) fn ways(&self) -> impl Iterator<Item = u32> + use<> {
        let ways = self.ways.load(Relaxed).max(1);
        (0..=MAX_LOOKAHEAD).filter(move |&tokens| ways & 1 << tokens != 0)
    }

    /// A publisher's hashes look ahead so far.
    pub(super) fn note_way(&self, tokens: u32) {
        if self.ways.load(Relaxed) & 1 << tokens == 0 {
            self.ways.fetch_or(1 << tokens, Relaxed);
        }
    }

    /// Adds a publisher, instead of the one that was there for its worker and seat.
    pub fn put(&self, publisher: &Arc<Publisher>) {
        publisher.lookahead().into_iter().for_each(|tokens| self.note_way(tokens));
        self.change(|publishers| put(publishers, publisher));
    }

    /// Adds a publisher at this endpoint. It goes on where another at the same endpoint was; the one that speaks over HTTP,
    /// which has none, is added once. Beside those at other endpoints it takes a seat of its own, the first that is free.
    ///
    /// `None` if all seats are taken.
    pub(super) fn enter(&self, worker: Worker, endpoint: Option<&str>, copies: Copies) -> Option<Arc<Publisher>> {
        self.change(|publishers| {
            let others: Vec<_> = publishers.iter().filter(|publisher| publisher.worker() == worker).cloned().collect();
            let same = others.iter().find(|other| other.endpoint() == endpoint);
            if let Some(same) = same.filter(|_| endpoint.is_none()) {
                return Some(Arc::clone(same));
            }
            let is_free = |seat: &u8| others.iter().all(|other| other.seat() != *seat);
            let seat = same.map(|same| same.seat()).or_else(|| (0..SEATS).find(is_free))?;
            let mut publisher = match endpoint {
                Some(endpoint) => Publisher::zmq(worker, endpoint).copies(copies),
                None => Publisher::http(worker),
            };
            if let Some(other) = others.first() {
                publisher = publisher.seated(seat, other.shared_content());
            }
            if let Some(same) = same {
                publisher.go_on_from(same);
            }
            let publisher = Arc::new(publisher);
            put(publishers, &publisher);
            Some(publisher)
        })
    }

    /// Removes a publisher.
    pub fn remove(&self, publisher: &Publisher) {
        self.change(|publishers| {
            publishers.retain(|other| (other.worker(), other.seat()) != (publisher.worker(), publisher.seat()));
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Publisher>>) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut publishers = Vec::clone(&self.all.load());
        let changed = change(&mut publishers);
        self.all.store(Arc::new(publishers));
        changed
    }
}

fn put(publishers: &mut Vec<Arc<Publisher>>, publisher: &Arc<Publisher>) {
    let place = |other: &Arc<Publisher>| (other.worker(), other.seat());
    match publishers.binary_search_by_key(&place(publisher), place) {
        Ok(at) => publishers[at] = Arc::clone(publisher),
        Err(at) => publishers.insert(at, Arc::clone(publisher)),
    }
}

/// The publishers of an instance.
fn instance(publishers: &[Arc<Publisher>], id: u64) -> impl Iterator<Item = &Arc<Publisher>> {
    let from = publishers.partition_point(|publisher| publisher.worker().id < id);
    publishers[from..].iter().take_while(move |publisher| publisher.worker().id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Config, Server};
    use serde_json::json;

    #[test]
    fn publishers_are_found_by_all_that_they_speak_for() {
        let publishers = Publishers::default();
        for worker in [Worker::new(7, 4), Worker::new(7, 0), Worker::new(3, 9)] {
            publishers.put(&Arc::new(Publisher::zmq(worker, "tcp://x:1")));
        }
        publishers.get(Worker::new(7, 4)).expect("it was put").note_rank(5);
        let speaker = |id, dp_rank| publishers.speaker(Worker::new(id, dp_rank)).map(|publisher| publisher.worker());
        assert_eq!(speaker(7, 5), Some(Worker::new(7, 4)));
        assert_eq!(speaker(7, 0), Some(Worker::new(7, 0)));
        assert_eq!((speaker(7, 1), speaker(3, 0), speaker(8, 0)), (None, None, None));
        assert!(Arc::ptr_eq(&publishers.get(Worker::new(3, 9)).expect("it was put"), &publishers.all()[0]));
        publishers.remove(&publishers.get(Worker::new(7, 4)).expect("it was put"));
        assert_eq!((speaker(7, 5), publishers.all().len()), (None, 2));
    }

    #[test]
    fn every_answer_names_whom_something_is_missing_of() {
        let config = Config { listen: "127.0.0.1:0".parse().expect("an address"), threads: 1, ..Config::default() };
        let server = Server::start(config).expect("good settings");
        let post = |path: &str, body: &str| {
            let answer = ureq::post(format!("http://{}{path}", server.address())).send(body).expect("it answers");
            let text = answer.into_body().read_to_string().expect("text");
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
        };
        let blocks = r#"{"stored": {"parent_hash": null, "blocks": [{"block_hash": 1, "tokens_hash": 2}]}}"#;
        let told =
            |rank| format!(r#"{{"worker_id": 7, "event": {{"event_id": 1, "dp_rank": {rank}, "data": {blocks}}}}}"#);
        let (first, second) = (told(0), told(1));
        post("/events", &format!(r#"{{"model_name": "m", "block_size": 4, "events": [{first}, {second}]}}"#));
        let query = r#"{"model_name": "m", "block_hashes": [2]}"#;
        assert!(post("/query_by_hash", query)["degraded"].is_null());

        let model = server.indexer().models().get("m", "default", "").expect("it has events");
        let publisher = model.publishers().get(Worker::new(7, 1)).expect("it said something");
        publisher.doubt(Doubt::JoinedLate);
        assert_eq!(post("/query_by_hash", query)["degraded"], json!({"7": [1]}));
        assert_eq!(post("/v1/match", query)["exactness"], "at_least");
        publisher.doubt(Doubt::Gap);
        let reliance = json!({"exactness": "unknown", "reasons": ["joined_late", "gap"]});
        assert_eq!(post("/query_by_hash", query)["exactness"], json!({"7": {"1": reliance}}));
        let answer = post("/v1/match", query);
        assert_eq!((&answer["exactness"], &answer["degraded"]), (&json!("unknown"), &json!([[7, 1]])));
        let exact = |place: usize| answer["matches"][place]["exactness"].as_str().map(str::to_owned);
        assert_eq!((exact(0).as_deref(), exact(1).as_deref()), (Some("exact"), Some("unknown")));
        assert_eq!(answer["matches"][1]["reasons"], json!(["joined_late", "gap"]));
        let others = r#"{"model_name": "m", "block_hashes": [2], "workers": [[7, 0]]}"#;
        assert_eq!(post("/v1/match", others)["exactness"], "exact", "it is not asked about");
        server.stop();
    }
}
