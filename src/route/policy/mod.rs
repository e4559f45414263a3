//! Policies, which choose the worker for a request from the candidates.

mod affinity;
mod cost;
mod prefix;
mod scores;
mod simple;

use std::fmt;

pub use affinity::SessionAffinity;
pub use cost::{Cost, CostBased, Weights};
pub use prefix::LongestPrefix;
pub use simple::{LeastLoaded, PowerOfTwo, RandomChoice, RoundRobin};

use super::fleet::{Fleet, Load};
use super::{Mask, Random, Request};
use crate::event::Worker;

/// Chooses a worker. Implement it for a policy of your own; the [`Router`](super::Router) does the rest.
///
/// ```
/// use kvleap::route::{Candidates, Policy, Random, Request};
///
/// /// Chooses the worker with the fewest blocks in its sequences.
/// #[derive(Debug)]
/// struct Roomiest;
///
/// impl Policy for Roomiest {
///     fn name(&self) -> &'static str {
///         "roomiest"
///     }
///     fn why(&self) -> &'static str {
///         "the fewest blocks in use"
///     }
///     fn choose(&mut self, _: &Request<'_>, candidates: &Candidates<'_>, _: &mut Random) -> Option<usize> {
///         candidates.iter().min_by_key(|&seat| candidates.load(seat).decode_blocks)
///     }
/// }
/// ```
pub trait Policy: fmt::Debug + Send {
    /// Its name in reports and options, such as `least-loaded`.
    fn name(&self) -> &'static str;

    /// What sets the chosen worker apart, as a phrase that completes "chosen for".
    fn why(&self) -> &'static str;

    /// Returns the seat of the worker that is to serve the request: one of `candidates`, of which there is at least
    /// one. `None` means none of them; the request is then refused, as it is for a seat that is not a candidate.
    fn choose(&mut self, request: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize>;

    /// Returns what choosing this candidate would cost, in blocks, if the policy computes costs. Called only to explain
    /// a decision.
    fn cost(&self, _request: &Request<'_>, _candidates: &Candidates<'_>, _seat: usize) -> Option<Cost> {
        None
    }

    /// Called before a choice if workers have come or gone since the last one. `workers` are the current ones with their
    /// seats, in no particular order.
    fn fleet_changed(&mut self, _workers: &mut dyn Iterator<Item = (usize, Worker)>) {}
}

/// The workers that a policy chooses from. A worker is identified by its seat, a dense number from 0. Properties are
/// slices over all seats, including vacant ones and those of workers that are not candidates.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) mask: &'a Mask,
    pub(super) held: &'a [u32],
    pub(super) credits: &'a [f32],
}

impl<'a> Candidates<'a> {
    /// The seats of the candidates, as a set.
    pub fn mask(&self) -> &'a Mask {
        self.mask
    }

    /// Returns the seats of the candidates, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.mask.iter()
    }

    /// Number of seats, which is the length of the slices.
    pub fn seats(&self) -> usize {
        self.fleet.seats()
    }

    /// Returns the worker in a seat.
    ///
    /// # Panics
    /// If there is no such seat.
    pub fn worker(&self, seat: usize) -> Worker {
        self.fleet.workers()[seat]
    }

    /// Returns what is in flight at the worker in a seat.
    ///
    /// # Panics
    /// If there is no such seat.
    pub fn load(&self, seat: usize) -> Load {
        self.fleet.loads()[seat]
    }

    /// By seat, leading blocks of the prompt that the worker is expected to hold, in any tier with a credit.
    pub fn held(&self) -> &'a [u32] {
        self.held
    }

    /// By seat, what these blocks are worth, in blocks: those of each tier times its credit.
    pub fn credits(&self) -> &'a [f32] {
        self.credits
    }

    /// By seat, requests in flight.
    pub fn requests(&self) -> &'a [f32] {
        self.fleet.requests()
    }

    /// By seat, prefill tokens in flight, in blocks.
    pub fn queue_blocks(&self) -> &'a [f32] {
        self.fleet.queue_blocks()
    }

    /// By seat, decode blocks in flight.
    pub fn decode_blocks(&self) -> &'a [f32] {
        self.fleet.decode_blocks()
    }
}

/// Names of the built-in policies, as [`by_name`] takes them.
pub const NAMES: [&str; 7] =
    ["random", "round-robin", "least-loaded", "power-of-two", "session-affinity", "longest-prefix", "cost"];

/// Returns the built-in policy of this name, with its default settings.
///
/// ```
/// use kvleap::route::policy;
/// assert_eq!(policy::by_name("cost")?.name(), "cost");
/// assert!(policy::by_name("best").unwrap_err().to_string().contains("round-robin"));
/// # Ok::<(), policy::UnknownPolicy>(())
/// ```
///
/// # Errors
/// [`UnknownPolicy`] if no policy has this name. Its message lists the known ones.
pub fn by_name(name: &str) -> Result<Box<dyn Policy>, UnknownPolicy> {
    Ok(match name {
        "random" => Box::new(RandomChoice),
        "round-robin" => Box::new(RoundRobin::default()),
        "least-loaded" => Box::new(LeastLoaded::default()),
        "power-of-two" => Box::new(PowerOfTwo),
        "session-affinity" => Box::new(SessionAffinity::default()),
        "longest-prefix" => Box::new(LongestPrefix::default()),
        "cost" => Box::new(CostBased::default()),
        _ => return Err(UnknownPolicy { name: name.into() }),
    })
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy {
    /// The name asked for.
    pub name: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no policy {:?}; choose from {}", self.name, NAMES.join(", "))
    }
}

impl std::error::Error for UnknownPolicy {}
