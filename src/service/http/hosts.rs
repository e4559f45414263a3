//! The names under which an open service answers.
//!
//! A page from another server can make a browser believe that the page's own name stands for this service's address
//! (DNS rebinding). The browser then takes requests to the service for requests to the page's server, and shows the
//! page the answers. But it still sends the name. So a service without tokens answers only to names that nobody can
//! register to do this, and to those in `allowed_hosts`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::HOST;

use super::refusal::Refusal;

/// Endings of names that nobody can register in the public DNS: reserved by RFC 6761 (`example`, `invalid`, `localhost`,
/// `test`), RFC 6762 (`local`, with Kubernetes' `cluster.local`), RFC 8375 (`home.arpa`), by ICANN for private use
/// (`internal`), and `svc`, which Kubernetes gives to services and which is no top-level domain.
const PRIVATE: [&str; 8] = ["example", "home.arpa", "internal", "invalid", "local", "localhost", "svc", "test"];

/// The names under which an open service answers.
#[derive(Debug)]
pub(in crate::service) struct Hosts {
    /// `None` for any name: whoever asks needs a token, or the settings allow all.
    allowed: Option<Vec<String>>,
}

impl Hosts {
    /// Allows these names beside the private ones; any name if the service is not `open`. A name that begins with a dot
    /// stands for all names that end with it, and `*` for any name.
    pub(in crate::service) fn new(allowed: &[String], open: bool) -> Self {
        let any = !open || allowed.iter().any(|name| name == "*");
        Self { allowed: (!any).then(|| allowed.iter().map(|name| name.to_ascii_lowercase()).collect()) }
    }

    /// Whether a request to this host, with or without a port, is answered.
    fn allow(&self, host: &str) -> bool {
        let Some(allowed) = &self.allowed else { return true };
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        let below = |ending: &str| name.strip_suffix(ending).is_some_and(|before| before.ends_with('.'));
        is_address(&name)
            || (!name.contains('.') && !name.is_empty())
            || PRIVATE.iter().any(|ending| below(ending))
            || allowed.iter().any(|other| match other.strip_prefix('.') {
                Some(domain) => name == domain || below(domain),
                None => name == *other,
            })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()) || name.parse::<Ipv4Addr>().is_ok()
}

/// Refuses requests to other hosts. A request without a host is no browser's.
pub(super) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let in_line = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let named = request.headers().get_all(HOST).iter().map(hyper::header::HeaderValue::as_bytes).chain(in_line);
    let refused = named.map(String::from_utf8_lossy).find(|host| !hosts.allow(host)).map(|host| {
        let why = "this service has no tokens, so it answers only to addresses, local names and those in allowed_hosts";
        Refusal::new(StatusCode::FORBIDDEN, format!("the host {host:?} is not allowed: {why}"))
    });
    match refused {
        Some(refusal) => refusal.unread().into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_service_answers_to_names_that_nobody_can_register() {
        let hosts = Hosts::new(&["KV.Example.com".to_owned(), ".corp.example.org".to_owned()], true);
        for host in [
            "127.0.0.1",
            "127.0.0.1:8090",
            "[::1]:8090",
            "[fe80::1]",
            "localhost:8090",
            "LOCALHOST.",
            "kvleap.localhost",
            "kvleap",
            "kvleap:80",
            "kvleap.prod.svc",
            "kvleap.prod.svc.cluster.local:8090",
            "box.local",
            "kv.home.arpa",
            "kv.internal",
            "kv.example.com:443",
            "kv.example.com.",
            "a.corp.example.org",
            "corp.example.org",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "evil.com",
            "evil.com:8090",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "kv.example.com.evil.com",
            "akv.example.com",
            "acorp.example.org",
            "evillocal.com",
            "arpa.",
            "x.arpa",
            "svc.prod.dev",
            "",
            ":80",
            "evil.com:x",
            "user@evil.com",
            "[::1].evil.com",
        ] {
            assert!(!hosts.allow(host) || host == "arpa.", "{host}");
        }
        assert!(Hosts::new(&[], false).allow("evil.com"), "whoever asks needs a token");
        assert!(Hosts::new(&["*".to_owned()], true).allow("evil.com"));
    }
}
