//! What is counted of a publisher, and why its events are skipped.

use crate::service::doubt::Doubt;

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$what:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$what])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Returns its name in answers and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

names! {
    /// What is counted of a publisher.
    Count {
        /// Batches applied.
        Batches = "batches",
        /// Events applied that store blocks.
        Stored = "stored",
        /// Events applied that remove blocks.
        Removed = "removed",
        /// Events applied that clear the cache.
        Cleared = "cleared",
        /// Blocks that these events name.
        Blocks = "blocks",
        /// Batches that were already applied.
        Duplicates = "duplicates",
        /// Gaps in the sequence numbers.
        Gaps = "gaps",
        /// Batches that could not be recovered.
        Lost = "batches_lost",
        /// Batches recovered by a replay.
        Replayed = "batches_replayed",
        /// Live batches left to a later replay, because too many were already held during the current one.
        HeldBack = "batches_held_back",
        /// Replays that were not answered.
        Unanswered = "replays_unanswered",
        /// Batches that could not be decoded and were skipped whole.
        Undecodable = "batches_undecodable",
        /// Times that the publisher restarted.
        Restarts = "restarts",
        /// Times that the connection was lost, so that there was none.
        Disconnects = "disconnects",
        /// Times that another connection took the place of one that seemed dead, so that there always was one. It may
        /// have been alive: an engine that drops all batches for a while looks the same.
        Replaced = "connections_replaced",
        /// Times that following it failed because of a defect of the service.
        Failures = "failures",
        /// Batches that named another rank than the publisher was registered as. They are applied to the registered one.
        Contradictions = "rank_contradictions",
        /// Times that its blocks were dropped because it had been gone for too long.
        Expired = "expired",
        /// Blocks forgotten for lack of memory.
        Forgotten = "blocks_forgotten",
    }
}

names! {
    /// Why an event was skipped. Nothing is guessed: an event that does not fit is skipped whole.
    Skip {
        /// A field is not of its type.
        Malformed = "malformed",
        /// The event is of an unknown kind.
        UnknownTag = "unknown_tag",
        /// There are more or fewer tokens than the blocks need.
        Tokens = "tokens_do_not_fit",
        /// Its blocks are of another size than the model's.
        BlockSize = "other_block_size",
        /// Its cache group does not use full attention.
        Group = "other_group",
        /// Its blocks are in storage that no instance owns.
        Shared = "other_medium",
        /// The name of its medium is unknown.
        Medium = "unknown_medium",
        /// A hash names two blocks of the chain, or a block and its parent.
        Repeated = "repeated_hash",
        /// It names blocks by their hashes alone, and the hashes are unknown.
        UnknownHash = "unknown_hash",
        /// It has an adapter without a name.
        Adapter = "unnamed_adapter",
        /// Its extra keys can be read in more than one way.
        Keys = "ambiguous_keys",
        /// Its hashes cover other tokens than those of the publisher's earlier blocks.
        Hashing = "other_hashing",
        /// Its data-parallel rank is above [`MAX_RANK`](crate::service::MAX_RANK).
        Rank = "rank_too_high",
        /// The model has as many workers as it may have, see `max_workers`.
        Workers = "too_many_workers",
        /// The memory budget is exhausted.
        Budget = "over_budget",
    }
}

impl Skip {
    /// Returns the doubt that skipping an event for this reason raises; `None` for what is not indexed on purpose.
    pub(in crate::service) fn doubt(self) -> Option<Doubt> {
        Some(match self {
            Self::Group | Self::Shared => return None,
            Self::Malformed => Doubt::Malformed,
            Self::UnknownTag => Doubt::UnknownEvent,
            Self::Tokens => Doubt::Misfit,
            Self::BlockSize => Doubt::BlockSize,
            Self::Medium => Doubt::Medium,
            Self::Repeated => Doubt::Repeated,
            Self::UnknownHash => Doubt::Location,
            Self::Adapter => Doubt::Adapter,
            Self::Keys => Doubt::Keys,
            Self::Hashing => Doubt::Hashing,
            Self::Rank => Doubt::Rank,
            Self::Workers => Doubt::Workers,
            Self::Budget => Doubt::Budget,
        })
    }
}
