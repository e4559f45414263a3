//! How many threads look up, hand events over and apply them, and on which cores.

use std::thread;

use serde::{Deserialize, Serialize};

use super::SweepError;
use crate::baseline::Writers;

/// The threads of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threads {
    /// Threads that look up, each one request after another.
    pub query: usize,
    /// Threads that hand events over; each worker's events come from one of them.
    pub event: usize,
    /// Threads that apply events, for backends that can have several: the shards of this index, the pools of designs.
    pub writers: usize,
    /// Whether every thread is pinned to a core.
    pub pin: bool,
}

impl Threads {
    /// Returns what suits `cores` cores: half of them look up, a quarter hand events over, and a quarter apply them. On
    /// fewer than three cores there is one thread of each kind. On two, applying has a core of its own, and looking up
    /// shares the other with handing over, which is little work if the backend has a queue.
    #[must_use]
    pub fn for_cores(cores: usize) -> Self {
        let part = (cores / 4).max(1);
        Self { query: cores.saturating_sub(2 * part).max(1), event: part, writers: part, pin: true }
    }

    pub(super) fn check(self) -> Result<(), SweepError> {
        let counts = [("query-threads", self.query), ("event-threads", self.event), ("writers", self.writers)];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some(&(option, _)) => Err(SweepError::Zero { option }),
            None => Ok(()),
        }
    }

    /// Assigns each thread to one of `cores`, or to none if threads are not to be pinned.
    pub(super) fn place(self, cores: &[usize]) -> Placement {
        if !self.pin || cores.is_empty() {
            let nowhere = |count| vec![None; count];
            let (query, event, writers) = (nowhere(self.query), nowhere(self.event), self.writers(Vec::new()));
            return Placement { query, event, writers, shared: self.query + self.event + self.writers > cores.len() };
        }
        let core = |number: usize| cores[number % cores.len()];
        let enough = self.query + self.event + self.writers <= cores.len();
        let event = |number: usize| if enough { core(self.query + number) } else { core(number % self.query) };
        let writer = |number| if enough { core(self.query + self.event + number) } else { core(self.query + number) };
        Placement {
            query: (0..self.query).map(|number| Some(core(number))).collect(),
            event: (0..self.event).map(|number| Some(event(number))).collect(),
            writers: self.writers((0..self.writers).map(writer).collect()),
            shared: !enough,
        }
    }

    fn writers(self, pin: Vec<usize>) -> Writers {
        Writers { threads: self.writers, pin }
    }
}

impl Default for Threads {
    /// Returns what suits the cores of this machine.
    fn default() -> Self {
        Self::for_cores(cores().len())
    }
}

/// The core of each thread; `None` for a thread that is not pinned.
#[derive(Debug)]
pub(super) struct Placement {
    pub(super) query: Vec<Option<usize>>,
    pub(super) event: Vec<Option<usize>>,
    pub(super) writers: Writers,
    /// Whether threads that look up share their cores with others.
    pub(super) shared: bool,
}

/// Returns the cores that this process may use, as the operating system numbers them.
pub(super) fn cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let cores: Vec<usize> = ids.into_iter().map(|core| core.id).collect();
    if cores.is_empty() { (0..thread::available_parallelism().map_or(1, usize::from)).collect() } else { cores }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(threads: Threads, cores: usize) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
        let placement = threads.place(&(0..cores).collect::<Vec<_>>());
        let pinned = |cores: Vec<Option<usize>>| cores.into_iter().flatten().collect();
        (pinned(placement.query), pinned(placement.event), placement.writers.pin)
    }

    #[test]
    fn the_default_leaves_applying_a_core_of_its_own() {
        let default = |cores| place(Threads::for_cores(cores), cores);
        assert_eq!(default(1), (vec![0], vec![0], vec![0]));
        assert_eq!(default(2), (vec![0], vec![0], vec![1]), "feeding shares a core with asking");
        assert_eq!(default(3), (vec![0], vec![1], vec![2]));
        assert_eq!(default(8), (vec![0, 1, 2, 3], vec![4, 5], vec![6, 7]));
    }

    #[test]
    fn more_threads_than_cores_wrap_around() {
        let threads = Threads { query: 3, event: 2, writers: 2, pin: true };
        assert_eq!(place(threads, 4), (vec![0, 1, 2], vec![0, 1], vec![3, 0]));
        assert!(threads.place(&[0, 1, 2, 3]).shared && !threads.place(&[0, 1, 2, 3, 4, 5, 6]).shared);
        let loose = Threads { pin: false, ..threads }.place(&[0, 1]);
        assert_eq!((loose.query.len(), loose.event.len(), loose.writers.threads), (3, 2, 2));
        assert!(loose.query.iter().chain(&loose.event).all(Option::is_none) && loose.writers.pin.is_empty());
    }
}
