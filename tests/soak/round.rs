//! A round: senders, readers, exports and imports at the same time, and a record of what was said and seen.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, MutexGuard};

use kvleap::{Event, Index, Matches, Status, TrySendError, Worker};

use crate::common::draw::Draw;
use crate::common::shards::shards_of;
use crate::common::traffic::Traffic;
use crate::plan::Plan;

/// What a shard was told or asked, in its order.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Event(Event),
    /// An import, which becomes visible as a whole.
    Import(Vec<Event>),
    /// An export was asked for, and this was the answer.
    Export(Vec<Event>),
}

/// An answer that a reader got.
pub(crate) struct Seen {
    /// The number of the query.
    pub(crate) query: usize,
    /// For each shard, how many events the answer shows.
    pub(crate) marks: Vec<u64>,
    pub(crate) depths: Vec<(Worker, u32)>,
    pub(crate) incomplete: Vec<Worker>,
}

/// All that a round leaves behind to be judged.
pub(crate) struct Record {
    pub(crate) places: HashMap<Worker, usize>,
    pub(crate) queries: Vec<Vec<u64>>,
    pub(crate) said: Vec<Vec<Said>>,
    pub(crate) seen: Vec<Seen>,
    /// After everything was said: answers to all queries, what the index says of itself, and an export.
    pub(crate) last: Vec<Seen>,
    pub(crate) status: Status,
    pub(crate) export: Vec<Event>,
    pub(crate) lookups: u64,
    /// The end of a writer that panicked, and of the round with it.
    pub(crate) broken: bool,
}

impl Seen {
    pub(crate) fn of(query: usize, matches: &Matches) -> Self {
        assert!(matches.iter().is_sorted_by(|a, b| a.1 >= b.1), "deepest first");
        let marks = matches.watermarks().map(|mark| mark.events).collect();
        Self { query, marks, depths: matches.iter().collect(), incomplete: matches.incomplete().collect() }
    }
}

/// What the threads of a round share.
struct Stage<'a> {
    plan: &'a Plan,
    index: &'a Index,
    queries: &'a [Vec<u64>],
    places: &'a HashMap<Worker, usize>,
    /// By shard. Whoever sends holds the lock, so that the record is in the order of the mailbox.
    said: Vec<Mutex<Vec<Said>>>,
    sent: AtomicUsize,
    over: AtomicBool,
    barrier: Barrier,
}

pub(crate) fn play(plan: &Plan) -> Record {
    let draw = &mut fastrand::Rng::with_seed(!plan.seed);
    let places = shards_of(plan.shards, (0..plan.shape.workers).map(Traffic::worker));
    let (events, queries) = script(plan, draw);
    let index = plan.builder().build().expect("valid settings");
    let stage = Stage {
        plan,
        index: &index,
        queries: &queries,
        places: &places,
        said: (0..plan.shards).map(|_| Mutex::default()).collect(),
        sent: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        barrier: Barrier::new((plan.senders + plan.readers) as usize),
    };
    let (seen, lookups) = std::thread::scope(|scope| {
        let stage = &stage;
        let readers: Vec<_> = (0..plan.readers).map(|number| scope.spawn(move || read(stage, number))).collect();
        let events = &events;
        let senders: Vec<_> =
            (0..plan.senders).map(|number| scope.spawn(move || send(stage, number, events))).collect();
        for sender in senders {
            sender.join().expect("senders do not panic");
        }
        stage.over.store(true, Relaxed);
        let parts: Vec<_> = readers.into_iter().map(|reader| reader.join().expect("readers do not panic")).collect();
        let lookups = parts.iter().map(|part| part.1).sum();
        (parts.into_iter().flat_map(|part| part.0).collect(), lookups)
    });
    let said: Vec<_> = stage.said.into_iter().map(|said| said.into_inner().expect("no panic")).collect();
    let said = if plan.ordered { said } else { split(&events, &places, plan.shards) };
    let broken = index.flush().is_err();
    let mut matches = Matches::new();
    let answers = (0..queries.len()).map(|query| {
        index.find(&queries[query], &mut matches);
        Seen::of(query, &matches)
    });
    let last = answers.collect();
    let status = index.status();
    let export = index.export().unwrap_or_default();
    let broken = index.shutdown().is_err() || broken;
    Record { places, queries, said, seen, last, status, export, lookups, broken }
}

/// Draws the events of a round, and queries about them.
fn script(plan: &Plan, draw: &mut fastrand::Rng) -> (Vec<Event>, Vec<Vec<u64>>) {
    let mut traffic = Traffic::new(plan.shape);
    let mut queries = Vec::new();
    let every = (plan.events / plan.queries).max(1);
    let events = (0..plan.events).map(|number| {
        let event = traffic.event(draw);
        if number % every == 0 {
            queries.push(traffic.query(draw));
        }
        event
    });
    let events = events.collect();
    queries.extend(traffic.paths(plan.queries / 4));
    (events, queries)
}

fn split(events: &[Event], places: &HashMap<Worker, usize>, shards: usize) -> Vec<Vec<Said>> {
    let mut said = vec![Vec::new(); shards];
    for event in events {
        said[places[&event.worker]].push(Said::Event(event.clone()));
    }
    said
}

/// Sends a sender's part of the events: those of its workers, so that theirs keep their order.
fn send(stage: &Stage<'_>, number: u64, events: &[Event]) {
    let Stage { plan, index, places, .. } = *stage;
    let draw = &mut fastrand::Rng::with_seed(plan.seed ^ number << 32);
    let mut export = Vec::new();
    stage.barrier.wait();
    for event in events.iter().filter(|event| event.worker.id % plan.senders == number) {
        if draw.one_in(plan.copies) && copy(stage, draw, &mut export).is_none() {
            break;
        }
        let place = places[&event.worker];
        let order = plan.ordered.then(|| stage.said[place].lock().expect("no panic"));
        if !deliver(index, event, draw.one_in(2)) {
            break;
        }
        stage.sent.fetch_add(1, Relaxed);
        if let Some(mut said) = order {
            said.push(Said::Event(event.clone()));
        }
    }
}

/// Sends an event, waiting for room or trying again and again. Returns `false` if the index has ended.
fn deliver(index: &Index, event: &Event, wait: bool) -> bool {
    if wait {
        return index.send(event.clone()).is_ok();
    }
    let mut event = event.clone();
    loop {
        match index.try_send(event) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => event = back,
            Err(TrySendError::Closed(_)) => return false,
        }
        std::thread::yield_now();
    }
}

/// Exports, or imports what was exported before, while others wait. Returns `None` if the index has ended.
fn copy(stage: &Stage<'_>, draw: &mut fastrand::Rng, export: &mut Vec<Event>) -> Option<()> {
    let Stage { plan, index, places, .. } = *stage;
    let mut orders: Vec<MutexGuard<'_, Vec<Said>>> = Vec::new();
    if plan.ordered {
        orders.extend(stage.said.iter().map(|said| said.lock().expect("no panic")));
    }
    let part = |events: &[Event], shard| -> Vec<Event> {
        events.iter().filter(|event| places[&event.worker] == shard).cloned().collect()
    };
    match draw.below(4) {
        0 => drop(index.status()),
        1 if plan.ordered => {
            // A rejection is one of the answers that are judged: the limits of workers may be lower by now.
            let _ = index.import(export.clone());
            (0..).zip(&mut orders).for_each(|(shard, said)| said.push(Said::Import(part(export, shard))));
        }
        _ => {
            *export = index.export().ok()?;
            (0..).zip(&mut orders).for_each(|(shard, said)| said.push(Said::Export(part(export, shard))));
        }
    }
    Some(())
}

/// Looks up until all is said, and keeps some answers.
fn read(stage: &Stage<'_>, number: u64) -> (Vec<Seen>, u64) {
    let Stage { plan, index, queries, .. } = *stage;
    let draw = &mut fastrand::Rng::with_seed(plan.seed ^ (number + 1) << 48);
    let most = plan.answers / plan.readers as usize;
    let (mut seen, mut known, mut lookups) = (Vec::new(), HashSet::new(), 0);
    let mut last = vec![(0, 0); plan.shards];
    let mut buffer = vec![Matches::new()];
    stage.barrier.wait();
    while !stage.over.load(Relaxed) {
        // Spread over the round.
        let due = most * stage.sent.load(Relaxed) / plan.events.max(1);
        let first = draw.below(queries.len() as u64) as usize;
        let end = if draw.one_in(4) { queries.len().min(first + 1 + draw.below(16) as usize) } else { first + 1 };
        let matches = if end == first + 1 {
            index.find(&queries[first], &mut buffer[0]);
            &buffer[..1]
        } else {
            index.find_many(&queries[first..end], &mut buffer)
        };
        lookups += matches.len() as u64;
        for (query, matches) in (first..end).zip(matches) {
            let marks: Vec<_> = matches.watermarks().map(|mark| (mark.events, mark.generation)).collect();
            assert!(marks.iter().zip(&last).all(|(now, last)| now >= last), "{marks:?} after {last:?}");
            last = marks;
            let events: Vec<u64> = last.iter().map(|mark| mark.0).collect();
            if plan.ordered && seen.len() < due && known.insert((query, events)) {
                seen.push(Seen::of(query, matches));
            }
        }
    }
    (seen, lookups)
}
