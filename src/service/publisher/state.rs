//! How it stands with a publisher, and with the connection to it.

use serde::Serialize;

use crate::service::doubt::{Doubt, Doubts, Exactness};

/// How it stands with a publisher: the further down, the more it needs somebody's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All that it said is known.
    Live,
    /// It is asked for what was missed.
    Replaying,
    /// Not heard yet.
    Connecting,
    /// It is heard, and holds what is said of it, perhaps more.
    AtLeast,
    /// It is heard, and what is said of it may be wrong, until it clears its cache or restarts.
    Unknown,
    /// The connection is lost. What it held is kept for the grace period.
    Unreachable,
    /// Unreachable for longer than the grace period: what it held was dropped.
    Gone,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Live, Self::Replaying, Self::Connecting, Self::AtLeast, Self::Unknown, Self::Unreachable, Self::Gone];

    /// As answers and metrics name it.
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

    /// The state of a publisher with this connection, where these are all the doubts about its workers.
    pub(super) fn of(connection: Connection, doubts: Doubts) -> Self {
        // The connection's own doubts are what its state says.
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
    /// It is heard, and is being asked for what was missed.
    Replaying,
    /// It is lost.
    Unreachable,
    /// It has been lost for longer than the grace period.
    Gone,
}

impl Connection {
    const ALL: [Self; 5] = [Self::Connecting, Self::Live, Self::Replaying, Self::Unreachable, Self::Gone];

    /// The one of this number.
    pub(super) fn of(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }

    /// The doubt that it raises for as long as it lasts.
    pub(super) fn doubt(self) -> Option<Doubt> {
        match self {
            Self::Connecting => Some(Doubt::NotHeard),
            Self::Replaying => Some(Doubt::CatchingUp),
            Self::Unreachable => Some(Doubt::Unreachable),
            Self::Live | Self::Gone => None,
        }
    }
}
