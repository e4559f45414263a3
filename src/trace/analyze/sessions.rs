//! Conversations, where the trace names them.

use std::collections::HashMap;

use serde::Serialize;

use super::tally::{Summary, Tally};
use crate::trace::Row;

/// The requests that name a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sessions {
    /// Distinct names.
    pub sessions: u64,
    /// Requests that have one.
    pub requests: u64,
    /// Requests of a session.
    pub requests_per_session: Summary,
    /// Milliseconds from a session's first request to its last.
    pub duration_ms: Summary,
    /// Milliseconds from a session's request to its next.
    pub gap_ms: Summary,
}

#[derive(Debug)]
struct Session {
    requests: u64,
    first: u64,
    last: u64,
}

/// Collects them. Memory grows with the sessions.
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

    /// `None` where no request named a session.
    pub(super) fn finish(self) -> Option<Sessions> {
        let (mut requests, mut durations) = (Tally::default(), Tally::default());
        for session in self.sessions.values() {
            requests.add(session.requests as f64);
            durations.add((session.last - session.first) as f64);
        }
        (!self.sessions.is_empty()).then(|| Sessions {
            sessions: self.sessions.len() as u64,
            requests: self.sessions.values().map(|session| session.requests).sum(),
            requests_per_session: requests.summary(),
            duration_ms: durations.summary(),
            gap_ms: self.gaps.summary(),
        })
    }
}
