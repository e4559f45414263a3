//! What the ends of a connection are.

/// What this end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Role {
    /// It receives what a publisher sends.
    Subscriber,
    /// It asks, and receives answers.
    Dealer,
}

impl Role {
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Subscriber => b"SUB",
            Self::Dealer => b"DEALER",
        }
    }

    /// Returns what the other end may be.
    pub(super) fn partners(self) -> &'static [&'static [u8]] {
        match self {
            Self::Subscriber => &[b"PUB", b"XPUB"],
            Self::Dealer => &[b"ROUTER", b"REP", b"DEALER"],
        }
    }
}
