//! Encrypted connections.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};

use super::text;

/// Returns an acceptor of TLS 1.2 and 1.3 with a certificate chain and its key, both in PEM files.
///
/// # Errors
/// A file cannot be read or has no certificate or key in it, or the key is not that of the certificate.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let read = |path: &Path| text::read(path).map_err(|error| TlsError::Unreadable(path.to_owned(), error));
    let bad = |path: &Path| {
        let path = path.to_owned();
        |error| TlsError::Pem(path, error)
    };
    let chain = CertificateDer::pem_slice_iter(read(certificate)?.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(bad(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes()).map_err(bad(key))?;
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
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {error}", path = .0.display(), error = .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// The file has no certificate or key in PEM.
    #[error("{path}: not a certificate or key in PEM: {error}", path = .0.display(), error = .1)]
    Pem(PathBuf, #[source] pem::Error),
    /// There is no certificate in the file.
    #[error("{path}: has no certificate in it", path = .0.display())]
    NoCertificate(PathBuf),
    /// The certificate or the key cannot be used, or they do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Refused(#[source] rustls::Error),
}
