//! The state of a publisher, and of the connection to it.

use serde::Serialize;

use crate::service::doubt::{Doubt, Doubts, Exactness};

/// The state of a publisher. The further down in this list, the more it needs somebody's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything that it said is in the index.
    Live,
    /// It is being asked for batches that were missed.
    Replaying,
    /// It was not heard yet.
    Connecting,
    /// It is heard, and holds at least what answers say.
    AtLeast,
    /// It is heard, but answers about it may be wrong until it clears its cache or restarts.
    Unknown,
    /// The connection is lost. Its blocks are kept for the grace period.
    Unreachable,
    /// It has been unreachable for longer than the grace period, and its blocks were dropped.
    Gone,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Live, Self::Replaying, Self::Connecting, Self::AtLeast, Self::Unknown, Self::Unreachable, Self::Gone];

    /// Returns its name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replaying => "replaying",
            Self::Connecting => "connecting",
            Self::AtLeast => "at_least",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
        }
    }

    /// Returns the state of a publisher with this connection and these doubts about its workers.
    pub(super) fn of(connection: Connection, doubts: Doubts) -> Self {
        // The doubt that comes from the connection must not count twice: the connection's state says it better.
        let others = doubts.without(connection.doubt().into_iter().collect());
        match (connection, others.exactness()) {
            (Connection::Gone, _) => Self::Gone,
            (Connection::Unreachable, _) => Self::Unreachable,
            (_, Exactness::Unknown) => Self::Unknown,
            (_, Exactness::AtLeast) => Self::AtLeast,
            (Connection::Connecting, Exactness::Exact) => Self::Connecting,
            (Connection::Replaying, Exactness::Exact) => Self::Replaying,
            (Connection::Live, Exactness::Exact) => Self::Live,
        }
    }
}

/// The connection to a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Connection {
    /// It was not heard yet.
    Connecting,
    /// It is heard, and nothing is known to be missing.
    Live,
    /// It is heard, and is being asked for batches that were missed.
    Replaying,
    /// It is lost.
    Unreachable,
    /// It has been lost for longer than the grace period.
    Gone,
}

impl Connection {
    const ALL: [Self; 5] = [Self::Connecting, Self::Live, Self::Replaying, Self::Unreachable, Self::Gone];

    /// Returns the state with this number.
    pub(super) fn of(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }

    /// Returns the doubt that lasts as long as this state of the connection does.
    pub(super) fn doubt(self) -> Option<Doubt> {
        match self {
            Self::Connecting => Some(Doubt::NotHeard),
            Self::Replaying => Some(Doubt::CatchingUp),
            Self::Unreachable => Some(Doubt::Unreachable),
            Self::Live | Self::Gone => None,
        }
    }
}
