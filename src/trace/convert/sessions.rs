//! Recorded sessions of coding agents.
//!
//! The format is that of the traces of callanjfox/kv-cache-tester: a file has one or more JSON objects, each a session
//! with `id`, `block_size` and `requests`. A request has `t`, in seconds since the start of the session, `in` and
//! `out`, in tokens, and `hash_ids`. A request with nested requests is a sub-agent: the nested ones become a session of
//! their own, `id/agent_id`. If the first of them is earlier than the sub-agent, their times count from the start of
//! the sub-agent. Unless `hash_id_scope` is `global`, equal ids of two sessions are unrelated.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::arrivals::SessionTimes;
use super::{Arrivals, Rechain};
use crate::trace::check::fit;
use crate::trace::error::{Form, Reason, TraceError};
use crate::trace::fitting::FittingSizes;
use crate::trace::input::Input;
use crate::trace::{Row, ToolError};

const SESSION: Form = Form {
    name: "a recorded session",
    rule: "the file must have an object with the text id, the integer block_size and the list requests, each with the \
           times t in seconds, the integers in and out, none negative, and the list of integers hash_ids",
};

/// A session in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub id: String,
    /// Tokens that an id stands for.
    pub block_size: u32,
    /// `local`, the default, if equal ids are equal blocks within the session only, or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_id_scope: Option<String>,
    /// Its requests, in order.
    pub requests: Vec<Request>,
}

/// A request of a session, or a sub-agent with nested requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Seconds since the start of the session.
    pub t: f64,
    /// `n`, `s` if the answer was streamed, or `subagent`.
    #[serde(rename = "type", default = "normal")]
    pub kind: String,
    /// Tokens of the prompt; a sub-agent has none.
    #[serde(rename = "in", default, skip_serializing_if = "Option::is_none")]
    pub input: Option<u32>,
    /// Tokens of the answer; a sub-agent has none.
    #[serde(rename = "out", default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u32>,
    /// Ids of the prompt's blocks.
    #[serde(default)]
    pub hash_ids: Vec<u64>,
    /// The name of a sub-agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The requests of a sub-agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Self>,
}

fn normal() -> String {
    "n".to_owned()
}

/// Reads the sessions of the file at `path`, plain or compressed; `-` is standard input. Holds the whole file.
///
/// # Errors
/// [`TraceError`] if the file cannot be read, is of another form, or has no session.
pub fn open(path: impl AsRef<Path>) -> Result<Vec<Session>, TraceError> {
    let (name, text) = Input::open(path.as_ref())?.read_to_end()?;
    let mut sessions = Vec::new();
    for session in serde_json::Deserializer::from_slice(&text).into_iter::<Session>() {
        let fail = |error: serde_json::Error| TraceError {
            name: name.clone(),
            line: Some(error.line() as u64),
            column: Some(error.column()),
            reason: Reason::of_json(&error, SESSION),
        };
        let session = session.map_err(fail)?;
        if let Err(why) = session.check() {
            let why = format!("session {}: {why}", session.id);
            return Err(TraceError::of_file(name, Reason::Malformed { why, form: SESSION }));
        }
        sessions.push(session);
    }
    if sessions.is_empty() {
        return Err(TraceError::of_file(name, Reason::Empty));
    }
    Ok(sessions)
}

/// The type of a request that only has nested ones.
const SUBAGENT: &str = "subagent";
/// The longest session, in seconds.
const LONGEST: f64 = 1e12;

impl Session {
    fn check(&self) -> Result<(), String> {
        if self.block_size == 0 {
            return Err("block_size is 0".to_owned());
        }
        let mut fitting = FittingSizes::default();
        let all = self.requests.iter().flat_map(|request| [request].into_iter().chain(&request.requests));
        for request in all {
            if !(0.0..=LONGEST).contains(&request.t) {
                return Err(format!("the time {} is out of range", request.t));
            }
            if request.kind == SUBAGENT {
                continue;
            }
            let (Some(input), Some(_)) = (request.input, request.output) else {
                return Err(format!("the request at {} s lacks in or out", request.t));
            };
            let fits = fit(&mut fitting, input, request.hash_ids.len(), self.block_size);
            fits.map_err(|reason| format!("the request at {} s: {reason}", request.t))?;
        }
        Ok(())
    }
}

/// Turns sessions into rows, sorted by time, with ids of their own.
///
/// # Errors
/// [`ToolError::Option`] if an option is out of range, or if the sessions have different block sizes.
pub fn to_rows(sessions: Vec<Session>, arrivals: &Arrivals) -> Result<Vec<Row>, ToolError> {
    let mut times = SessionTimes::new(arrivals)?;
    let mut chain = Rechain::default();
    let mut rows = Vec::new();
    let sizes = || sessions.iter().map(|session| session.block_size);
    if let (Some(least), Some(most)) = (sizes().min(), sizes().max())
        && least != most
    {
        let why = format!("differs: the sessions have blocks of {least} to {most} tokens; convert them separately");
        return Err(ToolError::Option { option: "--block-size", why });
    }
    for (number, session) in (1..).zip(sessions) {
        let scope = if session.hash_id_scope.as_deref() == Some("global") { 0 } else { number };
        let begin = times.begin();
        let mut add = |request: Request, begin: f64, session_id: &str| {
            let Request { t, input, output, mut hash_ids, .. } = request;
            chain.ids(&mut hash_ids, scope);
            rows.push(Row {
                timestamp: (begin + 1e3 * t).round() as u64,
                input_length: input.unwrap_or(0),
                output_length: output.unwrap_or(0),
                hash_ids,
                session_id: Some(session_id.to_owned()),
            });
        };
        for (place, mut request) in session.requests.into_iter().enumerate() {
            let inner = std::mem::take(&mut request.requests);
            let relative = inner.first().is_some_and(|first| first.t < request.t);
            let start = if relative { begin + 1e3 * request.t } else { begin };
            let agent = request.agent_id.clone().unwrap_or_else(|| format!("agent_{place}"));
            if request.kind != SUBAGENT {
                add(request, begin, &session.id);
            }
            let name = format!("{}/{agent}", session.id);
            for request in inner {
                add(request, start, &name);
            }
        }
    }
    rows.sort_by_key(|row| row.timestamp);
    Ok(rows)
}

/// Turns rows into sessions, in the order of their first requests. A row without a session becomes one of its own,
/// named after its number. Ids are global, so that sessions still share blocks.
pub fn from_rows(rows: impl IntoIterator<Item = Row>, block_size: u32) -> Vec<Session> {
    let mut places = std::collections::HashMap::new();
    let mut sessions: Vec<(u64, Session)> = Vec::new();
    for (number, row) in (1..).zip(rows) {
        let id = row.session_id.unwrap_or_else(|| format!("request_{number}"));
        let place = *places.entry(id.clone()).or_insert_with(|| {
            let session = Session { id, block_size, hash_id_scope: Some("global".to_owned()), requests: Vec::new() };
            sessions.push((row.timestamp, session));
            sessions.len() - 1
        });
        let (begin, session) = &mut sessions[place];
        session.requests.push(Request {
            t: row.timestamp.saturating_sub(*begin) as f64 / 1e3,
            kind: normal(),
            input: Some(row.input_length),
            output: Some(row.output_length),
            hash_ids: row.hash_ids,
            agent_id: None,
            requests: Vec::new(),
        });
    }
    sessions.into_iter().map(|(_, session)| session).collect()
}
