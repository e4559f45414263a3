//! Sessions, if the trace names them.

use std::collections::HashMap;

use serde::Serialize;

use super::tally::{Summary, Tally};
use crate::trace::Row;

/// Statistics of the requests that name a session.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sessions {
    /// Number of distinct sessions.
    pub sessions: u64,
    /// Requests that name a session.
    pub requests: u64,
    /// Requests in each session.
    pub requests_per_session: Summary,
    /// Milliseconds from the first request of a session to its last.
    pub duration_ms: Summary,
    /// Milliseconds from a request of a session to the next; `None` if no session has two.
    pub gap_ms: Option<Summary>,
}

#[derive(Debug)]
struct Session {
    requests: u64,
    first: u64,
    last: u64,
}

/// Collects sessions. Memory grows with their number.
#[derive(Debug, Default)]
pub(super) struct SessionCounter {
    sessions: HashMap<String, Session>,
    gaps: Tally,
}

impl SessionCounter {
    pub(super) fn row(&mut self, row: &Row) {
        let Some(name) = &row.session_id else { return };
        let Some(session) = self.sessions.get_mut(name) else {
            let session = Session { requests: 1, first: row.timestamp, last: row.timestamp };
            self.sessions.insert(name.clone(), session);
            return;
        };
        self.gaps.add((row.timestamp - session.last) as f64);
        session.requests += 1;
        session.last = row.timestamp;
    }

    /// Returns `None` if no request named a session.
    pub(super) fn finish(self) -> Option<Sessions> {
        let (mut requests, mut durations) = (Tally::default(), Tally::default());
        for session in self.sessions.values() {
            requests.add(session.requests as f64);
            durations.add((session.last - session.first) as f64);
        }
        Some(Sessions {
            sessions: self.sessions.len() as u64,
            requests: self.sessions.values().map(|session| session.requests).sum(),
            requests_per_session: requests.summary()?,
            duration_ms: durations.summary()?,
            gap_ms: self.gaps.summary(),
        })
    }
}
