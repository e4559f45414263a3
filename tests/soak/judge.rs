//! Judges a round by the literal reference.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kvleap::{Event, Worker};

use crate::common::ledger::Ledger;
use crate::plan::Plan;
use crate::round::{Record, Said, Seen};

/// What is wrong with a shard.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) shard: usize,
    /// How much the shard had been told.
    pub(crate) told: usize,
    /// A query, its answer, and the one expected. Nothing if the shard panicked, or its export or what it says of itself
    /// is wrong.
    pub(crate) query: Vec<u64>,
    pub(crate) answers: Option<(Answer, Answer)>,
}

impl Wrong {
    fn about(shard: usize, told: usize) -> Box<Self> {
        Box::new(Self { shard, told, query: Vec::new(), answers: None })
    }
}

/// The part of an answer that is about one shard: depths, and incomplete workers.
pub(crate) type Answer = (Vec<(Worker, u32)>, Vec<Worker>);

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) rounds: u64,
    pub(crate) events: u64,
    pub(crate) blocks: u64,
    pub(crate) imports: u64,
    pub(crate) exports: u64,
    pub(crate) lookups: u64,
    /// Answers of one shard, each compared at its watermark.
    pub(crate) answers: u64,
    /// Depths in these answers.
    pub(crate) depths: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, events, blocks, imports, exports, lookups, answers, depths } = self;
        write!(
            f,
            "{rounds} rounds, {events} events of {blocks} blocks, {exports} exports, {imports} imports, {lookups} \
             lookups; compared {answers} answers of shards with {depths} depths"
        )
    }
}

/// Compares all that a round has left behind.
pub(crate) fn judge(plan: &Plan, record: &Record, counts: &mut Counts) -> Result<(), Box<Wrong>> {
    counts.rounds += 1;
    counts.lookups += record.lookups;
    let mut workers: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for status in &record.status.workers {
        workers.entry(record.places[&status.worker]).or_default().push(*status);
    }
    for (shard, said) in record.said.iter().enumerate() {
        let ledger = shard_at_every_mark(plan, record, shard, said, counts)?;
        if record.broken {
            return Err(Wrong::about(shard, said.len()));
        }
        for seen in &record.last {
            compare(record, shard, said.len(), seen, &expected(&ledger, &record.queries[seen.query]), counts)?;
        }
        let compared = catch_unwind(AssertUnwindSafe(|| {
            ledger.compare(&record.status.shards[shard], workers.get(&shard).map_or(&[], |workers| workers));
            let export = record.export.iter().filter(|event| record.places[&event.worker] == shard);
            compare_export(plan, &ledger, export, &record.queries);
        }));
        compared.map_err(|_| Wrong::about(shard, said.len()))?;
    }
    Ok(())
}

fn shard_at_every_mark(
    plan: &Plan,
    record: &Record,
    shard: usize,
    said: &[Said],
    counts: &mut Counts,
) -> Result<Ledger, Box<Wrong>> {
    let (max_positions, max_workers) = plan.limits();
    let mut ledger = Ledger::new(max_positions, max_workers);
    let mut seen: Vec<_> = record.seen.iter().collect();
    seen.sort_by_key(|seen| seen.marks[shard]);
    let mut seen = seen.into_iter().peekable();
    for told in 0..=said.len() {
        let mut known: HashMap<usize, Answer> = HashMap::new();
        while let Some(seen) = seen.next_if(|seen| seen.marks[shard] <= ledger.events()) {
            // An answer before an import and one after it have different marks, and none is in between.
            assert_eq!(seen.marks[shard], ledger.events(), "the answer shows part of an import");
            let answer = known.entry(seen.query).or_insert_with(|| expected(&ledger, &record.queries[seen.query]));
            compare(record, shard, told, seen, answer, counts)?;
        }
        match said.get(told) {
            Some(Said::Event(event)) => {
                counts.events += 1;
                counts.blocks += event.data.len() as u64;
                let _ = ledger.apply(event);
            }
            Some(Said::Import(events)) => {
                counts.imports += 1;
                for event in events {
                    let _ = ledger.import(event);
                }
            }
            Some(Said::Export(events)) => {
                counts.exports += 1;
                let queries = &record.queries[..record.queries.len().min(10)];
                catch_unwind(AssertUnwindSafe(|| compare_export(plan, &ledger, events.iter(), queries)))
                    .map_err(|_| Wrong::about(shard, told))?;
            }
            None => {}
        }
    }
    assert!(seen.next().is_none(), "an answer shows more events than were sent");
    Ok(ledger)
}

pub(crate) fn expected(ledger: &Ledger, query: &[u64]) -> Answer {
    (ledger.reference.find(query), ledger.reference.incomplete())
}

fn compare(
    record: &Record,
    shard: usize,
    told: usize,
    seen: &Seen,
    expected: &Answer,
    counts: &mut Counts,
) -> Result<(), Box<Wrong>> {
    let here = |worker: &Worker| record.places[worker] == shard;
    let mut depths: Vec<_> = seen.depths.iter().filter(|(worker, _)| here(worker)).copied().collect();
    let mut incomplete: Vec<_> = seen.incomplete.iter().filter(|worker| here(worker)).copied().collect();
    depths.sort_unstable();
    incomplete.sort_unstable();
    counts.answers += 1;
    counts.depths += depths.len() as u64;
    let answer = (depths, incomplete);
    if answer == *expected {
        return Ok(());
    }
    let query = record.queries[seen.query].clone();
    Err(Box::new(Wrong { shard, told, query, answers: Some((answer, expected.clone())) }))
}

/// Compares what an export says with what it should say.
pub(crate) fn compare_export<'a>(
    plan: &Plan,
    ledger: &Ledger,
    export: impl Iterator<Item = &'a Event>,
    queries: &[Vec<u64>],
) {
    let (max_positions, max_workers) = plan.limits();
    let mut copy = Ledger::new(max_positions, max_workers);
    for event in export {
        copy.import(event).expect("what was exported can be imported");
    }
    ledger.compare_copy(&copy, queries);
}
