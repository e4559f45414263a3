//! Saying why a publisher is not heard, and what is likely to be set wrong.

use crate::service::publisher::Publisher;
use crate::service::zmtp::Error;

/// What has been said about a publisher since it was last heard, so that nothing is said twice.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    logged: Option<String>,
}

/// What is likely to be wrong where the service waits for a connection.
pub(super) const OF_BINDING: &str = "if the publisher's endpoint has a wildcard, as in tcp://*:5557, it waits for \
    connections itself, and has to be registered without \"bind\" and with its own address; if several share this \
    address, the topic has to be the publisher's";

/// Returns what is likely to be wrong where nobody listens at the publisher's address.
pub(super) fn of_connecting(error: &Error) -> Option<&'static str> {
    error.is_refusal().then_some(
        "vLLM's publisher listens only if its endpoint has a wildcard, as in tcp://*:5557; with the address of a \
         machine it connects, and has to be registered with \"bind\": true",
    )
}

impl Trouble {
    /// Notes why a publisher is not heard, with a hint, and logs it if it is news.
    pub(super) fn note(&mut self, publisher: &Publisher, why: &str, hint: Option<&str>) {
        let why = hint.map_or_else(|| why.to_owned(), |hint| format!("{why}; {hint}"));
        publisher.set_last_error(Some(&why));
        if self.logged.as_ref() != Some(&why) {
            let (worker, endpoint) = (publisher.worker(), publisher.endpoint());
            tracing::warn!(%worker, endpoint, "trouble with a publisher: {why}");
            self.logged = Some(why);
        }
    }

    /// Notes that the publisher was heard.
    pub(super) fn is_over(&mut self) {
        self.logged = None;
    }
}
