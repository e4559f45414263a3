//! STUB (a mutex around a slow model) with the final signatures; the real engine replaces this file.
#![allow(missing_docs)]
use crate::{Event, EventData, Worker};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Builder;
#[derive(Debug)]
pub struct ConfigError(pub &'static str);
impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.0) }
}
impl std::error::Error for ConfigError {}

impl Builder {
    pub fn shards(self, _: usize) -> Self { self }
    /// Cores to pin the writers to: shard i to `cores[i % len]`.
    pub fn pin(self, _cores: Vec<usize>) -> Self { self }
    pub fn mailbox(self, _: usize) -> Self { self }
    pub fn publish_interval(self, _: Duration) -> Self { self }
    pub fn publish_batch(self, _: u64) -> Self { self }
    pub fn jump_stride(self, _: u32) -> Self { self }
    pub fn seed(self, _: u64) -> Self { self }
    pub fn max_positions(self, _: u32) -> Self { self }
    pub fn max_workers(self, _: u32) -> Self { self }
    pub fn build(self) -> Result<Index, ConfigError> { Ok(Index(Mutex::default())) }
}

/// Cloneable handle in the real engine (cheap clone, Send + Sync).
#[derive(Debug)]
pub struct Index(Mutex<HashMap<Worker, HashMap<u64, Vec<u64>>>>);
#[derive(Debug, Clone, Copy)]
pub struct Closed;
#[derive(Debug)]
pub struct SendError(pub Event);
#[derive(Debug)]
pub enum TrySendError { Full(Event), Closed(Event) }

/// Why an event changed nothing. One counter per kind in the worker's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection { UnknownParent, Empty, SelfParent, TooDeep, TooManyWorkers, WorkerRemoved }

impl Index {
    pub fn builder() -> Builder { Builder }
    /// Blocks while the mailbox is full.
    pub fn send(&self, e: Event) -> Result<(), SendError> {
        let mut m = self.0.lock().unwrap();
        let w = m.entry(e.worker).or_default();
        match e.data {
            EventData::Stored { parent, blocks } => {
                let mut path = match parent { None => vec![], Some(p) => match w.get(&p) { Some(x) => x.clone(), None => return Ok(()) } };
                for b in blocks { path.push(b.local); w.insert(b.sequence, path.clone()); }
            }
            EventData::Removed { blocks } => for b in blocks { w.remove(&b); },
            _ => w.clear(),
        }
        Ok(())
    }
    pub fn try_send(&self, e: Event) -> Result<(), TrySendError> { self.send(e).map_err(|e| TrySendError::Closed(e.0)) }
    /// Returns when every event accepted before the call is visible.
    pub fn flush(&self) -> Result<(), Closed> { Ok(()) }
    /// `hashes`: the prompt's local hashes.
    pub fn find(&self, hashes: &[u64], out: &mut Matches) {
        out.0.clear();
        for (worker, held) in self.0.lock().unwrap().iter() {
            let depth = (1..=hashes.len()).take_while(|&d| held.values().any(|p| p == &hashes[..d])).count();
            if depth > 0 { out.0.push((*worker, depth as u32)); }
        }
        out.0.sort_by_key(|&(w, d)| (std::cmp::Reverse(d), w));
    }
    pub fn status(&self) -> Status { Status { shards: vec![], workers: vec![] } }
}

/// A reusable answer, deepest first.
#[derive(Debug, Default)]
pub struct Matches(Vec<(Worker, u32)>);
impl Matches {
    pub fn new() -> Self { Self::default() }
    /// Every worker with depth >= 1, deepest first.
    pub fn iter(&self) -> impl Iterator<Item = (Worker, u32)> + '_ { self.0.iter().copied() }
    /// The depth of the deepest layer and its workers.
    pub fn best(&self) -> Option<(u32, Vec<Worker>)> { unimplemented!() }
}

#[derive(Debug, Clone)]
pub struct Status { pub shards: Vec<ShardStatus>, pub workers: Vec<WorkerStatus> }
#[derive(Debug, Clone)]
pub struct ShardStatus {
    pub shard: usize, pub alive: bool, pub mailbox_depth: usize, pub applied_events: u64, pub published_events: u64, pub applied_blocks: u64,
    pub generation: u64, pub runs: u64, pub distinct_blocks: u64, pub held_blocks: u64, pub bytes: u64,
    /// Time the writer spent applying (waiting for events and publishing not included), and publishing.
    pub apply_time: Duration, pub publish_time: Duration,
    /// From acceptance to visibility, nanoseconds.
    pub lag: hdrhistogram::Histogram<u64>,
}
#[derive(Debug, Clone)]
pub struct WorkerStatus { pub worker: Worker, pub held_blocks: u64, pub last_event_id: Option<u64>, pub gaps: u64, pub rejected: Vec<(Rejection, u64)> }
