//! Other instances of the service, whose content can be copied at the start.

use super::config::ConfigError;

/// Whether a URL can be a peer's.
pub(super) fn check(url: &str) -> Result<(), ConfigError> {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match host {
        Some(host) if !host.trim_matches('/').is_empty() && url.parse::<hyper::Uri>().is_ok() => Ok(()),
        _ => Err(ConfigError::Peer { url: url.to_owned() }),
    }
}
