//! Encrypted connections.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};

/// Accepts TLS 1.2 and 1.3 with a certificate chain and its key, both in PEM files.
///
/// # Errors
/// A file that cannot be read or has nothing of the kind in it, or a key that is not the certificate's.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        |error| TlsError::File(path, error)
    };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(bad(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(bad(key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(TlsError::Refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Why connections cannot be encrypted.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read, or what is in it is not PEM of the kind.
    File(PathBuf, pem::Error),
    /// There is no certificate in the file.
    NoCertificate(PathBuf),
    /// The certificate or the key cannot be used, or they do not belong together.
    Refused(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, pem::Error::Io(error)) => write!(f, "{}: cannot be read: {error}", path.display()),
            Self::File(path, error) => write!(f, "{}: no PEM of a certificate or key: {error}", path.display()),
            Self::NoCertificate(path) => write!(f, "{}: has no certificate in it", path.display()),
            Self::Refused(error) => write!(f, "certificate and key cannot be used: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
