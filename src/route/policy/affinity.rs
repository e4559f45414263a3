//! Session affinity: consistent hashing with bounded loads.

use super::simple::LeastLoaded;
use super::{Candidates, Policy, Random, Request};
use crate::event::Worker;
use crate::index::mix;
use crate::route::ConfigError;

/// `session-affinity`: requests of a session go to one worker, as long as that worker is not overloaded.
///
/// This is consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, 2016): workers and sessions are
/// points on a ring, and a session goes to the next candidate on it that has room. A candidate has room for
/// `ceil(bound x (m + 1) / n)` requests, with `m` requests in flight at all `n` candidates; the bound is 1.25 by
/// default. When one of n workers leaves, only its sessions move, about 1/n of all. A request without a session goes to
/// the least loaded worker.
#[derive(Clone, Debug)]
pub struct SessionAffinity {
    bound: f64,
    /// The points of all workers, ascending, with the seats of the workers.
    ring: Vec<(u64, u32)>,
    without_session: LeastLoaded,
}

/// Points of each worker on the ring. With this many, the largest share of the sessions is about a fifth above the
/// mean.
const POINTS: u64 = 64;

impl Default for SessionAffinity {
    fn default() -> Self {
        Self { bound: 1.25, ring: Vec::new(), without_session: LeastLoaded::default() }
    }
}

impl SessionAffinity {
    /// Creates the policy with a bound: the most requests that a worker may have in flight, as a multiple of the mean.
    /// Infinity means no bound.
    ///
    /// # Errors
    /// [`ConfigError`] if the bound is less than 1 or not a number.
    pub fn new(bound: f64) -> Result<Self, ConfigError> {
        if bound >= 1.0 {
            Ok(Self { bound, ..Self::default() })
        } else {
            Err(ConfigError::OutOfRange { name: "bound", value: bound, least: 1.0 })
        }
    }
}

impl Policy for SessionAffinity {
    fn name(&self) -> &'static str {
        "session-affinity"
    }

    fn why(&self) -> &'static str {
        "the session's place on the ring of workers"
    }

    fn choose(&mut self, request: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize> {
        let Some(session) = request.session else { return self.without_session.choose(request, candidates, random) };
        // Counting this request, the mean load is (in flight + 1) / candidates; some candidate is below the bound.
        let requests = |seat: usize| f64::from(candidates.requests()[seat]);
        let in_flight: f64 = candidates.iter().map(requests).sum();
        let room = (self.bound * (in_flight + 1.0) / candidates.mask().len() as f64).ceil();
        let point = mix(mix(session));
        let from = self.ring.partition_point(|&(at, _)| at < point);
        let (before, after) = self.ring.split_at(from);
        let mut seats = after.iter().chain(before).map(|&(_, seat)| seat as usize);
        seats.find(|&seat| candidates.mask().contains(seat) && requests(seat) < room)
    }

    fn fleet_changed(&mut self, workers: &mut dyn Iterator<Item = (usize, Worker)>) {
        self.ring.clear();
        for (seat, worker) in workers {
            let name = mix(worker.id ^ mix(u64::from(worker.dp_rank) + 1));
            self.ring.extend((0..POINTS).map(|point| (mix(name.wrapping_add(point)), seat as u32)));
        }
        self.ring.sort_unstable();
    }
}
