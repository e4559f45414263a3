//! The loop of a replay: look a request up, let a worker serve it, apply its events.

use std::time::Instant;

use super::fleet::Fleet;
use super::tally::Tally;
use super::{Options, Record, ReplayError, Report, Requests, Verifier};
use crate::index::{Index, Matches};

/// Plays the requests that `options` describe and reports what was measured.
///
/// Calls `progress` after each request, with the number of requests done and the number of all requests. The calling
/// thread does everything but applying the events, which the index's writer threads do. A lookup starts only when every
/// earlier event is visible, so that equal options give equal counts.
///
/// # Errors
/// Invalid options, a trace that cannot be read and a record that cannot be created are reported before anything runs.
/// After that, only a full disk or an index whose writer thread died ends the replay. No record is left behind then.
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
        tally.cut_requests += u64::from(!fleet.fits(&request));
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

/// Builds the index under test.
fn build(options: &Options) -> Result<Index, ReplayError> {
    let builder = Index::builder().shards(options.shards).pin(options.pin.clone());
    let builder = builder.seed(options.seed).max_workers(options.workers);
    builder.build().map_err(ReplayError::Index)
}
