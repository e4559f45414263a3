//! Why the service cannot be configured like this.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::access::{TokenError, TokenFileError};
use super::tls::TlsError;
use crate::hash::InvalidHashKey;
use crate::index;
use crate::service::engines::EngineError;
use crate::service::peers::PeerError;

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
        value: usize,
        /// The least allowed value.
        least: usize,
    },
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
    /// An engine cannot be subscribed to.
    #[error(transparent)]
    Engine(#[from] EngineError),
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
