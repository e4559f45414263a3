//! Recognising oneself among the peers: fleets are often given one list of all instances.

use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};

use hyper::Uri;

/// Whether this URL leads to the service that listens on `listen`. Asking it would be in vain, because it refuses
/// everything but probes until it has started.
pub(in crate::service) fn is_own(url: &str, listen: SocketAddr) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let Some(host) = uri.host().filter(|_| port == listen.port()) else { return false };
    // An address of IPv6 has brackets in a URL.
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    addresses.is_ok_and(|mut addresses| addresses.any(|address| is_listening(address, listen)))
}

fn is_listening(address: SocketAddr, listen: SocketAddr) -> bool {
    // Only an address of this machine can be bound.
    let is_here = || UdpSocket::bind((address.ip(), 0)).is_ok();
    address.ip() == listen.ip() || (listen.ip().is_unspecified() && is_here())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_recognises_its_own_url() {
        let at = |listen: &str| listen.parse::<SocketAddr>().expect("an address");
        for (url, listen, own) in [
            ("http://127.0.0.1:8090", "127.0.0.1:8090", true),
            ("http://127.0.0.1:8090/", "0.0.0.0:8090", true),
            ("http://localhost:8090", "0.0.0.0:8090", true),
            ("https://127.0.0.1", "127.0.0.1:443", true),
            ("http://127.0.0.1:8091", "127.0.0.1:8090", false),
            ("http://192.0.2.1:8090", "0.0.0.0:8090", false),
            ("http://127.0.0.2:8090", "127.0.0.1:8090", false),
            ("http://127.0.0.1:8090", "127.0.0.1:0", false),
            ("nonsense", "127.0.0.1:80", false),
        ] {
            assert_eq!(is_own(url, at(listen)), own, "{url} {listen}");
        }
    }
}
