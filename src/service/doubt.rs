//! Why answers about a worker may not be exact.
//!
//! The service knows of an engine what the engine announces. A [`Doubt`] is about something that the service may not
//! have heard or could not index. There are two kinds. With the first, answers can only be too small
//! ([`Exactness::AtLeast`]). With the second, a removal may have been missed, so that an answer may name blocks that
//! are gone ([`Exactness::Unknown`]). OPERATIONS.md has a table of what raises each doubt and what ends it.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// How exact an answer about a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// The engine holds what the answer says.
    #[default]
    Exact,
    /// The engine holds what the answer says, and perhaps more.
    AtLeast,
    /// The engine may hold more, or less.
    Unknown,
}

impl Exactness {
    /// Returns its name in answers: `exact`, `at_least`, `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::AtLeast => "at_least",
            Self::Unknown => "unknown",
        }
    }
}

macro_rules! doubts {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:ident;)*) => {
        /// Why answers about a worker may not be exact.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Doubt { $($(#[$doc])* $variant,)* }

        impl Doubt {
            /// All of them, those of [`Exactness::AtLeast`] first.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns its name in answers and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns how exact answers are with this doubt.
            pub fn kind(self) -> Exactness {
                match self { $(Self::$variant => Exactness::$kind,)* }
            }
        }
    };
}

doubts! {
    /// The engine was not heard yet.
    NotHeard = "not_heard", AtLeast;
    /// The engine was running before it was first heard, or may have been: what it stored earlier is not known.
    JoinedLate = "joined_late", AtLeast;
    /// The index rejected blocks: their parent was never announced, they are too deep, or a hash names two of them.
    Unplaced = "unplaced", AtLeast;
    /// Blocks of another size than the model's were skipped.
    BlockSize = "other_block_size", AtLeast;
    /// Blocks on a medium with an unknown name were skipped.
    Medium = "unknown_medium", AtLeast;
    /// Blocks were announced on a tier by their hashes alone, and their tokens are not known.
    Location = "unknown_blocks", AtLeast;
    /// Blocks of an adapter without a name were skipped.
    Adapter = "unnamed_adapter", AtLeast;
    /// Blocks were skipped because their extra keys can be read in more than one way.
    Keys = "ambiguous_keys", AtLeast;
    /// A chain was skipped because a hash in it names two blocks.
    Repeated = "repeated_hash", AtLeast;
    /// Events of a rank that is too high were skipped.
    Rank = "rank_too_high", AtLeast;
    /// Events of a rank were skipped because the model has as many workers as it may have.
    Workers = "too_many_workers", AtLeast;
    /// Blocks were refused or forgotten because of the memory budget.
    Budget = "over_budget", AtLeast;
    /// Batches are missing and cannot be recovered.
    Gap = "gap", Unknown;
    /// A message could not be decoded.
    Undecodable = "undecodable", Unknown;
    /// An event is of an unknown kind.
    UnknownEvent = "unknown_event", Unknown;
    /// A field of an event is not of its type.
    Malformed = "malformed", Unknown;
    /// Tokens and hashes of an event do not fit each other.
    Misfit = "does_not_fit", Unknown;
    /// Event ids jumped ahead or went back.
    EventIds = "event_ids", Unknown;
    /// The connection was lost, and the engine could not be asked whether it restarted in the meantime.
    Unheard = "reconnected_unasked", Unknown;
    /// The service failed while it applied what the engine said.
    Failure = "service_failed", Unknown;
    /// The engine's way of hashing changed without a restart.
    Hashing = "hashing_changed", Unknown;
    /// The state is from a snapshot, and the engine cannot be asked for what it has said since.
    Restored = "restored", Unknown;
    /// The state is from another indexer's dump, which does not say at which batch the engine has to go on.
    Copied = "copied", Unknown;
    /// The engine is being asked for batches that were missed.
    CatchingUp = "catching_up", Unknown;
    /// The connection is lost.
    Unreachable = "unreachable", Unknown;
}

/// A set of doubts. In JSON, it is the list of their names.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts(u32);

impl Doubts {
    /// No doubts: answers are exact.
    pub const NONE: Self = Self(0);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it contains this doubt.
    pub fn has(self, doubt: Doubt) -> bool {
        self.0 & Self::from(doubt).0 != 0
    }

    /// Returns the doubts of both sets.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns the doubts that are not in `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Returns the doubts in the order of [`Doubt::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Doubt> {
        Doubt::ALL.into_iter().filter(move |&doubt| self.has(doubt))
    }

    /// Returns how exact answers are with these doubts: the gravest decides.
    pub fn exactness(self) -> Exactness {
        self.iter().map(Doubt::kind).max().unwrap_or_default()
    }
}

impl From<Doubt> for Doubts {
    fn from(doubt: Doubt) -> Self {
        Self(1 << doubt as u32)
    }
}

impl FromIterator<Doubt> for Doubts {
    fn from_iter<I: IntoIterator<Item = Doubt>>(doubts: I) -> Self {
        doubts.into_iter().fold(Self::NONE, |all, doubt| all.and(doubt.into()))
    }
}

impl fmt::Debug for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for Doubts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = self.iter().map(Doubt::name).collect();
        names.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Doubts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl<'de> Visitor<'de> for Names {
            type Value = Doubts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names of doubts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Doubts, A::Error> {
                let mut doubts = Doubts::NONE;
                while let Some(name) = names.next_element::<String>()? {
                    // Written by a later release that has more doubts: assume a grave one.
                    let doubt = Doubt::ALL.into_iter().find(|doubt| doubt.name() == name);
                    doubts = doubts.and(doubt.unwrap_or(Doubt::Restored).into());
                }
                Ok(doubts)
            }
        }

        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_doubt_decides() {
        assert_eq!(Doubts::NONE.exactness(), Exactness::Exact);
        assert_eq!(Doubts::from(Doubt::JoinedLate).exactness(), Exactness::AtLeast);
        let both: Doubts = [Doubt::JoinedLate, Doubt::Gap].into_iter().collect();
        assert_eq!(both.exactness(), Exactness::Unknown);
        assert_eq!(both.without(Doubt::Gap.into()), Doubt::JoinedLate.into());
        assert_eq!(both.iter().collect::<Vec<_>>(), [Doubt::JoinedLate, Doubt::Gap]);
    }

    #[test]
    fn doubts_are_saved_by_name() {
        let all: Doubts = Doubt::ALL.into_iter().collect();
        for doubts in [Doubts::NONE, Doubt::Gap.into(), all] {
            let bytes = postcard::to_stdvec(&doubts).expect("short");
            assert_eq!(postcard::from_bytes::<Doubts>(&bytes), Ok(doubts));
        }
        let newer: Doubts = serde_json::from_str(r#"["gap", "a doubt of a later release"]"#).expect("a list");
        assert_eq!(newer, [Doubt::Gap, Doubt::Restored].into_iter().collect());
    }
}
