//! The publishers of a model.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::doubt::{Doubt, Doubts};
use super::ingest::SEATS;
use super::rank::{Copies, Rank};
use crate::event::Worker;

/// Who speaks for the workers of a model. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Ranks {
    /// Sorted by worker and seat.
    all: ArcSwap<Vec<Arc<Rank>>>,
    /// Held by whoever changes them.
    changing: Mutex<()>,
    /// A bit for every number of tokens that publishers' hashes have looked ahead so far.
    ways: AtomicU64,
}

/// The most tokens that a hash may look ahead; more are refused.
pub const MAX_LOOKAHEAD: u32 = u64::BITS - 1;

impl Ranks {
    /// All of them, by worker.
    pub fn all(&self) -> Arc<Vec<Arc<Rank>>> {
        self.all.load_full()
    }

    /// The publishers that were registered as this worker.
    pub fn of(&self, worker: Worker) -> Vec<Arc<Rank>> {
        let ranks = self.all.load();
        let from = ranks.partition_point(|rank| rank.worker() < worker);
        ranks[from..].iter().take_while(|rank| rank.worker() == worker).map(Arc::clone).collect()
    }

    /// The first publisher that was registered as this worker.
    pub fn get(&self, worker: Worker) -> Option<Arc<Rank>> {
        self.of(worker).into_iter().next()
    }

    /// The publisher that speaks for this worker: registered as it, or as another rank of the instance whose batches named
    /// this one.
    pub fn speaker(&self, worker: Worker) -> Option<Arc<Rank>> {
        let ranks = self.all.load();
        let named = || instance(&ranks, worker.id).find(|rank| rank.workers().contains(&worker));
        instance(&ranks, worker.id).find(|rank| rank.worker() == worker).or_else(named).map(Arc::clone)
    }

    /// Whether a publisher speaks for this worker that is registered as another one than `registered`.
    pub(super) fn speaks_another(&self, worker: Worker, registered: Worker) -> bool {
        let ranks = self.all.load();
        let mut others = instance(&ranks, worker.id).filter(|rank| rank.worker() != registered);
        others.any(|rank| rank.worker() == worker || rank.workers().contains(&worker))
    }

    /// Whether other publishers speak for this one's worker, too.
    pub(super) fn has_company(&self, rank: &Rank) -> bool {
        self.of(rank.worker()).iter().any(|other| other.seat() != rank.seat())
    }

    /// The workers of which what is said may not be exact, and why, by worker. `unplaced` are those of which the index
    /// left blocks out.
    pub fn doubts(&self, unplaced: impl IntoIterator<Item = Worker>) -> Vec<(Worker, Doubts)> {
        let ranks = self.all.load();
        let doubtful = ranks.iter().filter(|rank| rank.is_doubtful()).flat_map(|rank| rank.doubts_by_worker());
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
    pub fn put(&self, rank: &Arc<Rank>) {
        rank.lookahead().into_iter().for_each(|tokens| self.note_way(tokens));
        self.change(|ranks| put(ranks, rank));
    }

    /// Adds a publisher at this endpoint. It goes on where another at the same endpoint was; the one that speaks over HTTP,
    /// which has none, is added once. Beside those at other endpoints it takes a seat of its own, the first that is free.
    ///
    /// `None` if all seats are taken.
    pub(super) fn enter(&self, worker: Worker, endpoint: Option<&str>, copies: Copies) -> Option<Arc<Rank>> {
        self.change(|ranks| {
            let others: Vec<_> = ranks.iter().filter(|rank| rank.worker() == worker).cloned().collect();
            let same = others.iter().find(|other| other.endpoint() == endpoint);
            if let Some(same) = same.filter(|_| endpoint.is_none()) {
                return Some(Arc::clone(same));
            }
            let is_free = |seat: &u8| others.iter().all(|other| other.seat() != *seat);
            let seat = same.map(|same| same.seat()).or_else(|| (0..SEATS).find(is_free))?;
            let mut rank = match endpoint {
                Some(endpoint) => Rank::zmq(worker, endpoint).copies(copies),
                None => Rank::http(worker),
            };
            if let Some(other) = others.first() {
                rank = rank.seated(seat, other.shared_content());
            }
            if let Some(same) = same {
                rank.go_on_from(same);
            }
            let rank = Arc::new(rank);
            put(ranks, &rank);
            Some(rank)
        })
    }

    /// Removes a publisher.
    pub fn remove(&self, rank: &Rank) {
        self.change(|ranks| {
            ranks.retain(|other| (other.worker(), other.seat()) != (rank.worker(), rank.seat()));
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Rank>>) -> T) -> T {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ranks = Vec::clone(&self.all.load());
        let changed = change(&mut ranks);
        self.all.store(Arc::new(ranks));
        changed
    }
}

fn put(ranks: &mut Vec<Arc<Rank>>, rank: &Arc<Rank>) {
    let place = |other: &Arc<Rank>| (other.worker(), other.seat());
    match ranks.binary_search_by_key(&place(rank), place) {
        Ok(at) => ranks[at] = Arc::clone(rank),
        Err(at) => ranks.insert(at, Arc::clone(rank)),
    }
}

/// The publishers of an instance.
fn instance(ranks: &[Arc<Rank>], id: u64) -> impl Iterator<Item = &Arc<Rank>> {
    let from = ranks.partition_point(|rank| rank.worker().id < id);
    ranks[from..].iter().take_while(move |rank| rank.worker().id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Config, Server};
    use serde_json::json;

    #[test]
    fn publishers_are_found_by_all_that_they_speak_for() {
        let ranks = Ranks::default();
        for worker in [Worker::new(7, 4), Worker::new(7, 0), Worker::new(3, 9)] {
            ranks.put(&Arc::new(Rank::zmq(worker, "tcp://x:1")));
        }
        ranks.get(Worker::new(7, 4)).expect("it was put").note_rank(5);
        let speaker = |id, rank| ranks.speaker(Worker::new(id, rank)).map(|rank| rank.worker());
        assert_eq!(speaker(7, 5), Some(Worker::new(7, 4)));
        assert_eq!(speaker(7, 0), Some(Worker::new(7, 0)));
        assert_eq!((speaker(7, 1), speaker(3, 0), speaker(8, 0)), (None, None, None));
        assert!(Arc::ptr_eq(&ranks.get(Worker::new(3, 9)).expect("it was put"), &ranks.all()[0]));
        ranks.remove(&ranks.get(Worker::new(7, 4)).expect("it was put"));
        assert_eq!((speaker(7, 5), ranks.all().len()), (None, 2));
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
        let rank = model.ranks().get(Worker::new(7, 1)).expect("it said something");
        rank.doubt(Doubt::JoinedLate);
        assert_eq!(post("/query_by_hash", query)["degraded"], json!({"7": [1]}));
        assert_eq!(post("/v1/match", query)["exactness"], "at_least");
        rank.doubt(Doubt::Gap);
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
