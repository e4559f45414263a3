//! Policies: which of the candidates serves a request.

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

/// Chooses a worker. Implement it for a policy of your own; [`Router`](super::Router) does the rest.
///
/// ```
/// use kvleap::route::{Candidates, Policy, Random, Request};
///
/// /// Whoever has the fewest blocks in its sequences.
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
    /// Its name, as in reports and options: `least-loaded`.
    fn name(&self) -> &'static str;

    /// What the chosen one has over the others, as in "chosen for ...".
    fn why(&self) -> &'static str;

    /// The seat of the worker that serves the request: one of `candidates`, of which there is at least one. `None`
    /// where the policy wants none of them; the request is then refused, as it is for a seat that is no candidate.
    fn choose(&mut self, request: &Request<'_>, candidates: &Candidates<'_>, random: &mut Random) -> Option<usize>;

    /// What the choice of this candidate costs, in blocks, for a policy that thinks in costs. Not asked for to choose,
    /// only to explain.
    fn cost(&self, _request: &Request<'_>, _candidates: &Candidates<'_>, _seat: usize) -> Option<Cost> {
        None
    }

    /// Workers came or went: `workers` are those that there are, with their seats, in no particular order.
    fn fleet_changed(&mut self, _workers: &mut dyn Iterator<Item = (usize, Worker)>) {}
}

/// What a policy chooses from. Workers are named by their seats, dense numbers from 0; scores are slices over all
/// seats, those of workers that are no candidates and vacant ones among them.
#[derive(Clone, Copy, Debug)]
pub struct Candidates<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) mask: &'a Mask,
    pub(super) held: &'a [u32],
    pub(super) credits: &'a [f32],
}

impl<'a> Candidates<'a> {
    /// The candidates' seats.
    pub fn mask(&self) -> &'a Mask {
        self.mask
    }

    /// The candidates' seats, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.mask.iter()
    }

    /// How many seats there are: the length of the slices.
    pub fn seats(&self) -> usize {
        self.fleet.seats()
    }

    /// The worker in a seat.
    ///
    /// # Panics
    /// If there is no such seat; so do all that take one.
    pub fn worker(&self, seat: usize) -> Worker {
        self.fleet.workers()[seat]
    }

    /// What is in flight there.
    pub fn load(&self, seat: usize) -> Load {
        self.fleet.loads()[seat]
    }

    /// Leading blocks of the prompt that are thought to be there, in whatever tier with a credit.
    pub fn held(&self) -> &'a [u32] {
        self.held
    }

    /// What these are worth, in blocks: those of each tier times its credit.
    pub fn credits(&self) -> &'a [f32] {
        self.credits
    }

    /// Requests in flight.
    pub fn requests(&self) -> &'a [f32] {
        self.fleet.requests()
    }

    /// Prefill tokens in flight, in blocks.
    pub fn queue_blocks(&self) -> &'a [f32] {
        self.fleet.queue_blocks()
    }

    /// Decode blocks in flight.
    pub fn decode_blocks(&self) -> &'a [f32] {
        self.fleet.decode_blocks()
    }
}

/// Names of the built-in policies, as [`by_name`] takes them.
pub const NAMES: [&str; 7] =
    ["random", "round-robin", "least-loaded", "power-of-two", "session-affinity", "longest-prefix", "cost"];

/// The built-in policy of this name, with its default settings.
///
/// ```
/// use kvleap::route::policy;
/// assert_eq!(policy::by_name("cost")?.name(), "cost");
/// assert!(policy::by_name("best").unwrap_err().to_string().contains("round-robin"));
/// # Ok::<(), policy::UnknownPolicy>(())
/// ```
///
/// # Errors
/// No policy has this name; the error lists those that there are.
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
