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
    /// All workers with their seats.
    workers: Vec<(u32, Worker)>,
    ring: Ring,
    /// By seat, the requests in flight at candidates, for their sum.
    requests: Vec<f32>,
    without_session: LeastLoaded,
}

/// The points of all workers, ascending, with the seats of the workers.
///
/// Sorting them costs as much as many walks over them, so it is done only if a second session is asked about: a router
/// for a single choice never pays for it.
#[derive(Clone, Debug, Default)]
enum Ring {
    /// Nobody has asked about a session since workers have come or gone.
    #[default]
    Unasked,
    /// One session was asked about.
    Asked,
    Sorted(Vec<(u64, u32)>),
}

/// Points of each worker on the ring. With this many, the largest share of the sessions is about a fifth above the
/// mean.
const POINTS: u64 = 64;

impl Default for SessionAffinity {
    fn default() -> Self {
        Self {
            bound: 1.25,
            workers: Vec::new(),
            ring: Ring::Unasked,
            requests: Vec::new(),
            without_session: LeastLoaded::default(),
        }
    }
}

impl SessionAffinity {
    /// Returns the number of requests in flight at all candidates.
    fn in_flight(&mut self, candidates: &Candidates<'_>) -> f64 {
        self.requests.clear();
        self.requests.extend_from_slice(candidates.requests());
        candidates.mask().overwrite_others(&mut self.requests, 0.0);
        // Several sums vectorise. They are exact in any order.
        let (rows, rest) = self.requests.as_chunks::<8>();
        let mut sums = [0.0; 8];
        for row in rows {
            sums.iter_mut().zip(row).for_each(|(sum, &requests)| *sum += f64::from(requests));
        }
        sums.into_iter().chain(rest.iter().copied().map(f64::from)).sum()
    }

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

    /// Notes that a session is asked about. The next one is looked up in the sorted ring.
    fn ask(&mut self) {
        self.ring = if let Ring::Unasked = self.ring {
            Ring::Asked
        } else {
            let of = |&(seat, worker): &(u32, Worker)| points(worker).map(move |point| (point, seat));
            let mut ring: Vec<_> = self.workers.iter().flat_map(of).collect();
            ring.sort_unstable();
            Ring::Sorted(ring)
        };
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
        let in_flight = self.in_flight(candidates);
        let room = (self.bound * (in_flight + 1.0) / candidates.mask().len() as f64).ceil();
        let has_room = |seat: usize| requests(seat) < room;
        let session = mix(mix(session));
        if let Ring::Sorted(ring) = &self.ring {
            let from = ring.partition_point(|&(point, _)| point < session);
            let (before, after) = ring.split_at(from);
            let mut seats = after.iter().chain(before).map(|&(_, seat)| seat as usize);
            return seats.find(|&seat| candidates.mask().contains(seat) && has_room(seat));
        }
        self.ask();
        let distance = |seat: usize| points(candidates.worker(seat)).map(|point| point.wrapping_sub(session)).min();
        candidates.iter().filter(|&seat| has_room(seat)).min_by_key(|&seat| (distance(seat), seat))
    }

    fn fleet_changed(&mut self, workers: &mut dyn Iterator<Item = (usize, Worker)>) {
        self.workers.clear();
        self.workers.extend(workers.map(|(seat, worker)| (seat as u32, worker)));
        self.ring = Ring::Unasked;
    }
}

/// Returns the points of a worker on the ring.
fn points(worker: Worker) -> impl Iterator<Item = u64> {
    let name = mix(worker.id ^ mix(u64::from(worker.dp_rank) + 1));
    (0..POINTS).map(move |point| mix(name.wrapping_add(point)))
}
