//! What is counted of a publisher, and why events of it are left out.

use crate::service::doubt::Doubt;

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$what:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$what])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Its name in metrics.
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
        /// Batches that were known already.
        Duplicates = "duplicates",
        /// Gaps found in the sequence numbers.
        Gaps = "gaps",
        /// Batches that could not be had again.
        Lost = "batches_lost",
        /// Batches that came by replay.
        Replayed = "batches_replayed",
        /// Live batches left to a later replay, because too many waited for the one at hand.
        HeldBack = "batches_held_back",
        /// Replays that were not answered.
        Unanswered = "replays_unanswered",
        /// Batches that are not what the wire format says, and were skipped whole.
        Undecodable = "batches_undecodable",
        /// Times that the publisher began anew.
        Restarts = "restarts",
        /// Times that the connection was lost.
        Disconnects = "disconnects",
        /// Batches that named another rank than the publisher was registered as, and were taken for the registered one.
        Contradictions = "rank_contradictions",
        /// Times that its blocks were dropped because it had disappeared.
        Expired = "expired",
        /// Blocks forgotten for lack of memory.
        Forgotten = "blocks_forgotten",
    }
}

names! {
    /// Why an event was left out. Nothing is guessed: what does not fit is skipped whole.
    Skip {
        /// Its fields are not of the types that they should be.
        Malformed = "malformed",
        /// An event of a kind that is not known.
        UnknownTag = "unknown_tag",
        /// The tokens do not cover the blocks.
        Tokens = "tokens_do_not_fit",
        /// Blocks of another size than the model's.
        BlockSize = "other_block_size",
        /// A cache group without full attention.
        Group = "other_group",
        /// Storage that no instance owns.
        Shared = "other_medium",
        /// A medium of an unknown name.
        Medium = "unknown_medium",
        /// A block that names itself twice, or its own parent.
        Repeated = "repeated_hash",
        /// Blocks without tokens that are not known under their hashes.
        UnknownHash = "unknown_hash",
        /// An adapter without a name.
        Adapter = "unnamed_adapter",
        /// Extra keys that can be read in more than one way.
        Keys = "ambiguous_keys",
        /// Blocks whose hashes cover other tokens than the publisher's others.
        Hashing = "other_hashing",
        /// A data-parallel rank beyond [`MAX_RANK`](crate::service::MAX_RANK).
        Rank = "rank_too_high",
        /// There is no memory for it.
        Budget = "over_budget",
    }
}

impl Skip {
    /// What leaving an event out for this reason makes doubtful; `None` for what is knowingly not indexed.
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
            Self::Budget => Doubt::Budget,
        })
    }
}
