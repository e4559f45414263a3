//! Driving an index with a trace: a fleet of [simulated engines](crate::mock) serves the requests, one after another;
//! every request is looked up before the worker that serves it says what it stored and evicted.

mod error;
mod fleet;
mod options;
mod record;
mod report;
mod requests;
mod verify;
mod workload;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub use error::ReplayError;
pub use options::{Assign, Options};
pub use record::Record;
pub use report::{Lookup, Report, Staleness};
pub use requests::{Request, Requests};
pub use verify::{Mismatch, Verifier};
pub use workload::Workload;

use crate::{EventData, Index, Matches, Worker};
use fleet::Fleet;

/// Plays the requests that `options` describe and reports what was measured.
///
/// `progress` is told the requests done and the requests in all, after each. The calling thread does everything but
/// applying the events, which is the index's own threads' work; a lookup starts only when every event before it is
/// visible.
///
/// # Errors
/// Options that cannot be, a trace that cannot be read and a record that cannot be created are found before anything
/// runs. After that only a full disk or an index whose writer died ends the replay. No record is left behind.
pub fn run(options: &Options, mut progress: impl FnMut(u64, u64)) -> Result<Report, ReplayError> {
    options.check()?;
    let index = build(options)?;
    let requests = Requests::open(options)?;
    let total = requests.len();
    let mut record = options.record.as_deref().map(Record::create).transpose()?;
    let mut verifier = options.verify.then(Verifier::new);
    let mut fleet = Fleet::new(options);

    let mut tally = Tally::new();
    let mut matches = Matches::new();
    let mut answer = Vec::new();
    let started = Instant::now();
    for (request, number) in requests.zip(1..) {
        index.flush().map_err(|_| ReplayError::Stopped)?;
        let start = Instant::now();
        index.find(&request.prompt, &mut matches);
        tally.lookup(start.elapsed());

        answer.clear();
        answer.extend(matches.iter());
        if let Some(record) = &mut record {
            record.query(&request.prompt, &answer)?;
        }
        if let Some(verifier) = &mut verifier {
            verifier.check(number, &request.prompt, &answer);
        }
        let worker = fleet.choose(&answer);
        tally.request(&request, &answer, worker);
        for event in fleet.serve(worker, &request) {
            tally.event(&event.data);
            if let Some(record) = &mut record {
                record.event(&event)?;
            }
            if let Some(verifier) = &mut verifier {
                verifier.apply(&event);
            }
            index.send(event).map_err(|_| ReplayError::Stopped)?;
        }
        progress(number, total);
    }
    index.flush().map_err(|_| ReplayError::Stopped)?;
    let report = Report::new(options, &tally, verifier.as_ref(), &index.status(), started.elapsed());
    if let Some(record) = record {
        record.finish()?;
    }
    Ok(report)
}

/// The index under test.
fn build(options: &Options) -> Result<Index, ReplayError> {
    let builder = Index::builder().shards(options.shards).pin(options.pin.clone());
    let builder = builder.seed(options.seed).max_workers(options.workers);
    builder.build().map_err(ReplayError::Index)
}

/// What the loop counts.
#[derive(Debug)]
struct Tally {
    requests: u64,
    query_blocks: u64,
    matched_blocks: u64,
    best_matched_blocks: u64,
    events: u64,
    stored_blocks: u64,
    removed_blocks: u64,
    /// Nanoseconds.
    lookup: Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            requests: 0,
            query_blocks: 0,
            matched_blocks: 0,
            best_matched_blocks: 0,
            events: 0,
            stored_blocks: 0,
            removed_blocks: 0,
            lookup: histogram(),
        }
    }

    fn lookup(&mut self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Not `saturating_record`, which clamps to the range so far.
        self.lookup.record(nanoseconds).expect("a histogram that resizes takes any value");
    }

    fn request(&mut self, request: &Request, answer: &[(Worker, u32)], assigned: Worker) {
        let depth_of = |worker| answer.iter().find(|&&(w, _)| w == worker).map_or(0, |&(_, depth)| u64::from(depth));
        self.requests += 1;
        self.query_blocks += request.prompt.len() as u64;
        self.matched_blocks += depth_of(assigned);
        self.best_matched_blocks += answer.iter().map(|&(_, depth)| u64::from(depth)).max().unwrap_or(0);
    }

    fn event(&mut self, data: &EventData) {
        self.events += 1;
        match data {
            EventData::Stored { blocks, .. } => self.stored_blocks += blocks.len() as u64,
            EventData::Removed { blocks } => self.removed_blocks += blocks.len() as u64,
            EventData::Cleared | EventData::WorkerRemoved | EventData::WorkerAdded | EventData::CopiesCounted => {}
        }
    }
}

/// Of nanoseconds, to three significant digits; grows with what it is given.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three significant digits are within its limits")
}
