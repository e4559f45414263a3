//! What is wrong with a peer.

/// What is wrong with a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Its URL is malformed.
    #[error("peer {0:?}: not like http://host:port or https://host:port")]
    Url(String),
    /// There are as many as can be registered.
    #[error("there are already {0} peers, the most that can be registered")]
    TooMany(usize),
    /// It could not be copied, or not completely.
    #[error("peer {url}: it could not be copied: {why}")]
    Copy {
        /// Its URL.
        url: String,
        /// Why not.
        why: String,
    },
}
