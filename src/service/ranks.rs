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
