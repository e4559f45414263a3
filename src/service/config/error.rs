//! Why the service cannot be configured like this.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::access::{TokenError, TokenFileError};
use super::tls::TlsError;
use crate::hash::InvalidHashKey;
use crate::index;
use crate::service::engines::RegisterError;
use crate::service::peers::PeerError;
use crate::service::snapshot::SnapshotError;

/// Why the service cannot be configured like this.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is not TOML, or has an unknown name or value.
    #[error("{0}")]
    File(String),
    /// A number is too small.
    #[error("{name} is {value}; it must be at least {least}")]
    TooSmall {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed value.
        least: u64,
    },
    /// A number is too large.
    #[error("{name} is {value}; it must be at most {most}")]
    TooLarge {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The largest allowed value.
        most: u64,
    },
    /// An environment variable begins like those of the service, and nobody knows it.
    #[error("unknown variable {0}")]
    UnknownVariable(String),
    /// An index cannot be set up with these settings.
    #[error(transparent)]
    Index(#[from] index::ConfigError),
    /// A token file cannot be used.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// A token from the environment cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file with the key of local hashes cannot be read.
    #[error("{path}: the hash key cannot be read: {error}", path = .0.display(), error = .1)]
    HashKeyFile(PathBuf, #[source] io::Error),
    /// The file with the key of local hashes contains no key.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    HashKey(PathBuf, #[source] InvalidHashKey),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is a certificate without a key, or a key without a certificate.
    #[error("tls_certificate and tls_key belong together; one of them is missing")]
    HalfTls,
    /// The engines cannot all be listened to.
    #[error(transparent)]
    Engines(#[from] RegisterError),
    /// No snapshot can be written where it should be.
    #[error("snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The URL of a peer is malformed.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Others can reach the address, and nobody would need a token.
    #[error(
        "{0} can be reached by others, and nobody would need a token: set admin_token_file (and those for reading and \
         writing), or listen on 127.0.0.1, or set allow_anonymous"
    )]
    OpenToAll(SocketAddr),
}
