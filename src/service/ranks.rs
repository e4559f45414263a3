//! The publishers of a model.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::rank::Rank;
use crate::event::Worker;

/// Who speaks for the workers of a model. Reading takes no lock.
#[derive(Debug, Default)]
pub struct Ranks(
    /// Sorted by worker.
    ArcSwap<Vec<Arc<Rank>>>,
);

impl Ranks {
    /// All of them, by worker.
    pub fn all(&self) -> Arc<Vec<Arc<Rank>>> {
        self.0.load_full()
    }

    /// The publisher that was registered as this worker.
    pub fn get(&self, worker: Worker) -> Option<Arc<Rank>> {
        let ranks = self.0.load();
        ranks.binary_search_by_key(&worker, |rank| rank.worker()).ok().map(|place| Arc::clone(&ranks[place]))
    }

    /// The publisher that speaks for this worker: registered as it, or as another rank of the instance whose batches named
    /// this one.
    pub fn speaker(&self, worker: Worker) -> Option<Arc<Rank>> {
        let ranks = self.0.load();
        let from = ranks.partition_point(|rank| rank.worker().id < worker.id);
        let instance = || ranks[from..].iter().take_while(|rank| rank.worker().id == worker.id);
        let named = || instance().find(|rank| rank.workers().contains(&worker));
        instance().find(|rank| rank.worker() == worker).or_else(named).map(Arc::clone)
    }

    /// The workers of which something is missing that cannot be had again: what is said of them may be wrong.
    pub fn degraded(&self) -> Vec<Worker> {
        let ranks = self.0.load();
        ranks.iter().filter(|rank| rank.is_degraded()).flat_map(|rank| rank.workers()).collect()
    }

    /// Whether engines of this model cache bigrams, so that prompts must be hashed likewise.
    pub fn have_bigrams(&self) -> bool {
        self.0.load().iter().any(|rank| rank.has_bigrams())
    }

    /// Adds a publisher, instead of the one that was there for its worker.
    pub fn put(&self, rank: &Arc<Rank>) {
        self.0.rcu(|ranks| {
            let mut ranks = Vec::clone(ranks);
            match ranks.binary_search_by_key(&rank.worker(), |other| other.worker()) {
                Ok(place) => ranks[place] = Arc::clone(rank),
                Err(place) => ranks.insert(place, Arc::clone(rank)),
            }
            ranks
        });
    }

    /// The publisher of this worker, which speaks over HTTP if it is new.
    pub fn get_or_add(&self, worker: Worker) -> Arc<Rank> {
        if let Some(rank) = self.get(worker) {
            return rank;
        }
        let new = Arc::new(Rank::http(worker));
        self.0.rcu(|ranks| {
            let mut ranks = Vec::clone(ranks);
            if let Err(place) = ranks.binary_search_by_key(&worker, |other| other.worker()) {
                ranks.insert(place, Arc::clone(&new));
            }
            ranks
        });
        self.get(worker).unwrap_or(new)
    }

    /// Removes a publisher.
    pub fn remove(&self, worker: Worker) {
        self.0.rcu(|ranks| ranks.iter().filter(|rank| rank.worker() != worker).map(Arc::clone).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Config, Server};

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
        assert!(Arc::ptr_eq(&ranks.get_or_add(Worker::new(3, 9)), &ranks.all()[0]));
        ranks.remove(Worker::new(7, 4));
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
        rank.set_degraded(&mut rank.position(), true);
        assert_eq!(post("/query_by_hash", query)["degraded"], serde_json::json!({"7": [1]}));
        let answer = post("/v1/match", query);
        assert_eq!((&answer["exactness"], &answer["degraded"]), (&"degraded".into(), &serde_json::json!([[7, 1]])));
        let exact = |place: usize| answer["matches"][place]["exactness"].as_str().map(str::to_owned);
        assert_eq!((exact(0).as_deref(), exact(1).as_deref()), (Some("exact"), Some("degraded")));
        let others = r#"{"model_name": "m", "block_hashes": [2], "workers": [[7, 0]]}"#;
        assert_eq!(post("/v1/match", others)["exactness"], "exact", "it is not asked about");
        server.stop();
    }
}
