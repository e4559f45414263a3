//! Other instances of the service: their URLs, and copying one of them at the start.

mod copy;
mod error;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use hyper::Uri;

pub(super) use copy::copy;
pub use error::PeerError;

use crate::service::models::check_address;

/// How many peers are kept.
const MAX_PEERS: usize = 256;

/// The URLs of peers, sorted.
#[derive(Debug)]
pub(super) struct Peers(Mutex<BTreeSet<String>>);

impl Peers {
    pub(super) fn new(urls: &[String]) -> Self {
        Self(Mutex::new(urls.iter().map(|url| normalised(url)).collect()))
    }

    pub(super) fn add(&self, url: &str) -> Result<(), PeerError> {
        check(url)?;
        let url = normalised(url);
        self.with(|peers| {
            if peers.len() >= MAX_PEERS && !peers.contains(&url) {
                return Err(PeerError::TooMany { most: MAX_PEERS });
            }
            peers.insert(url);
            Ok(())
        })
    }

    /// Removes a peer. Returns whether it was there.
    pub(super) fn remove(&self, url: &str) -> bool {
        self.with(|peers| peers.remove(&normalised(url)))
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.with(|peers| peers.iter().cloned().collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn normalised(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Checks that these can be the URLs of peers.
pub(super) fn check_all(urls: &[String]) -> Result<(), PeerError> {
    if urls.len() > MAX_PEERS {
        return Err(PeerError::TooMany { most: MAX_PEERS });
    }
    urls.iter().try_for_each(|url| check(url))
}

fn check(url: &str) -> Result<(), PeerError> {
    check_address("url", url)?;
    let uri = url.parse::<Uri>().ok();
    let good = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if uri.is_some_and(|uri| good(&uri)) { Ok(()) } else { Err(PeerError::Url(url.to_owned())) }
}
