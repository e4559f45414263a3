//! What is wrong with a peer.

use crate::service::models::NameError;

/// What is wrong with a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Its URL is malformed.
    #[error("peer {0:?}: not like http://host:port or https://host:port")]
    Url(String),
    /// Its URL is too long.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There are as many peers as are kept.
    #[error("there are already {most} peers, the most that are kept; deregister one first")]
    TooMany {
        /// How many are kept.
        most: usize,
    },
    /// It could not be copied, or not completely.
    #[error("peer {url}: it could not be copied: {why}")]
    Copy {
        /// Its URL.
        url: String,
        /// Why not.
        why: String,
    },
}
