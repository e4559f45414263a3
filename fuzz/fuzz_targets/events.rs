//! Applies events, which an input draws from few values so that they collide often, to the index and to the literal
//! reference: the result of every event, every answer and every count must be the same.
//!
//! Most inputs drive one shard, whose events have results. Others drive an index with up to three writer threads.
#![no_main]

use std::collections::HashMap;
use std::sync::OnceLock;

use common::draw::Draw;
use common::ledger::Ledger;
use common::shards::shards_of;
use common::traffic::{COLLIDING, Names, ONE, Shape, TWO, Traffic};
use kvleap::{Builder, Event, Index, Matches, Reader, Rejection, Worker, Writer};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/common"]
mod common {
    pub(crate) mod draw;
    pub(crate) mod ledger;
    pub(crate) mod shards;
    pub(crate) mod traffic;
}

type Answer = (Vec<(Worker, u32)>, Vec<Worker>);

/// Choices that the bytes of an input stand for. At its end, every choice is 0.
struct Bytes<'a>(&'a [u8]);

impl Draw for Bytes<'_> {
    fn below(&mut self, count: u64) -> u64 {
        let mut number = 0;
        let mut most = count - 1;
        while most > 0 {
            let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
            (number, self.0, most) = (number << 8 | u64::from(*byte), rest, most >> 8);
        }
        number % count
    }
}

/// The index under test.
enum System {
    /// A shard without a thread.
    Local(Box<Writer>, Reader),
    Threads(Index),
}

const MOST_WORKERS: u64 = 200;
const MOST_SHARDS: usize = 3;
/// How many queries are asked at every publication.
const WATCHED: usize = 4;
const MOST_STEPS: usize = 1000;

/// Returns the shard of a worker in an index of so many shards.
fn shard_of(shards: usize, worker: Worker) -> usize {
    static SHARDS: OnceLock<Vec<HashMap<Worker, usize>>> = OnceLock::new();
    let workers = || (0..MOST_WORKERS).map(Traffic::worker);
    let all = || (1..=MOST_SHARDS).map(|shards| shards_of(shards, workers())).collect();
    SHARDS.get_or_init(all)[shards - 1][&worker]
}

impl System {
    fn build(builder: Builder, shards: usize) -> Self {
        if shards == 0 {
            let (writer, reader) = builder.build_local().unwrap();
            return Self::Local(Box::new(writer), reader);
        }
        Self::Threads(builder.shards(shards).build().unwrap())
    }

    /// Returns what became of the event, if it is known at once.
    fn apply(&mut self, event: &Event) -> Option<Result<(), Rejection>> {
        match self {
            Self::Local(writer, _) => Some(writer.apply(event)),
            Self::Threads(index) => {
                index.send(event.clone()).unwrap();
                None
            }
        }
    }

    fn publish(&mut self) {
        match self {
            Self::Local(writer, _) => writer.publish(),
            Self::Threads(index) => index.flush().unwrap(),
        }
    }

    fn export(&self) -> Vec<Event> {
        match self {
            Self::Local(writer, _) => writer.export(),
            Self::Threads(index) => index.export().unwrap(),
        }
    }

    fn import(&mut self, events: &[Event]) {
        match self {
            Self::Local(writer, _) => drop(writer.import(events)),
            Self::Threads(index) => drop(index.import(events.to_vec())),
        }
    }

    fn compare_status(&mut self, ledgers: &[Ledger]) {
        match self {
            Self::Local(writer, _) => {
                let (shard, workers) = writer.status();
                ledgers[0].compare(&shard, &workers);
            }
            Self::Threads(index) => {
                let status = index.status();
                for (ledger, shard) in ledgers.iter().zip(&status.shards) {
                    let mine = status.workers.iter().filter(|w| shard_of(ledgers.len(), w.worker) == shard.shard);
                    ledger.compare(shard, &mine.copied().collect::<Vec<_>>());
                }
            }
        }
    }

    /// Looks queries up, alone or together, and checks the orders of the answers.
    fn find(&self, queries: &[Vec<u64>], together: bool, buffer: &mut Vec<Matches>) -> Vec<Answer> {
        let matches = match self {
            Self::Local(_, reader) if together => reader.find_many(queries, buffer),
            Self::Threads(index) if together => index.find_many(queries, buffer),
            system => {
                buffer.resize_with(queries.len().max(buffer.len()), Matches::new);
                for (query, matches) in queries.iter().zip(&mut *buffer) {
                    match system {
                        Self::Local(_, reader) => reader.find(query, matches),
                        Self::Threads(index) => index.find(query, matches),
                    }
                }
                &buffer[..queries.len()]
            }
        };
        matches.iter().map(answer).collect()
    }
}

/// Returns an answer in the order of the reference.
fn answer(matches: &Matches) -> Answer {
    assert!(matches.iter().is_sorted_by(|a, b| a.1 >= b.1), "deepest first");
    let mut depths: Vec<_> = matches.iter().collect();
    assert_eq!(matches.len(), depths.len());
    assert_eq!(matches.best().map(|layer| layer.depth()), depths.first().map(|first| first.1));
    depths.sort_unstable();
    let mut incomplete: Vec<_> = matches.incomplete().collect();
    incomplete.sort_unstable();
    (depths, incomplete)
}

fn expected(ledgers: &[Ledger], query: &[u64]) -> Answer {
    let mut depths: Vec<_> = ledgers.iter().flat_map(|ledger| ledger.reference.find(query)).collect();
    let mut incomplete: Vec<_> = ledgers.iter().flat_map(|ledger| ledger.reference.incomplete()).collect();
    depths.sort_unstable();
    incomplete.sort_unstable();
    (depths, incomplete)
}

fuzz_target!(|input: &[u8]| {
    let draw = &mut Bytes(input);
    let shards = if draw.one_in(16) { 1 + draw.below(MOST_SHARDS as u64) as usize } else { 0 };
    let positions = draw.pick(&[300, 70, 33, 8, 4, 1, 9000]);
    let shape = Shape {
        workers: draw.pick(&[3, 1, 8, 70, MOST_WORKERS]),
        locals: draw.pick(&[COLLIDING, TWO, ONE]),
        names: draw.pick(&[Names::Shared, Names::Own, Names::Few(31), Names::Few(500)]),
        longest: draw.pick(&[6, 60, 20, 400]),
        positions,
        prefixes: draw.pick(&[60, 12, 400, usize::MAX]),
    };
    let max_workers = draw.pick(&[1 << 16, 2, 64, 100]);
    let builder = |draw: &mut Bytes| {
        let stride = draw.pick(&[1, 2, 3, 4, 32]);
        let builder = Index::builder().jump_stride(stride).seed(draw.below(256));
        builder.max_positions(positions as u32).max_workers(max_workers)
    };
    let ledger = || Ledger::new(positions as u32, max_workers);
    let place = |worker| if shards == 0 { 0 } else { shard_of(shards, worker) };

    let mut system = System::build(builder(draw).mailbox(3).publish_batch(2), shards);
    let mut ledgers: Vec<_> = (0..shards.max(1)).map(|_| ledger()).collect();
    let mut traffic = Traffic::new(shape);
    let mut export = Vec::new();
    let mut buffer = Vec::new();
    // The answers after the last publication, which do not change until the next one.
    let (mut watched, mut visible): (Vec<Vec<u64>>, Vec<Answer>) = (Vec::new(), Vec::new());
    for _ in 0..MOST_STEPS {
        if draw.0.is_empty() {
            break;
        }
        match draw.below(32) {
            0 | 1 => {
                if shards == 0 {
                    assert_eq!(
                        system.find(&watched, draw.one_in(2), &mut buffer),
                        visible,
                        "a snapshot does not change"
                    );
                }
                system.publish();
                watched = (0..WATCHED).map(|_| traffic.query(draw)).collect();
                visible = watched.iter().map(|query| expected(&ledgers, query)).collect();
                assert_eq!(system.find(&watched, draw.one_in(2), &mut buffer), visible, "{watched:?}");
                let events: Vec<_> = buffer[0].watermarks().map(|mark| mark.events).collect();
                assert!(events.into_iter().eq(ledgers.iter().map(Ledger::events)));
            }
            2 => {
                if let System::Local(writer, _) = &mut system {
                    writer.catch_up();
                }
                system.compare_status(&ledgers);
            }
            3 => match draw.below(4) {
                0 => export = system.export(),
                // Back to an earlier state, for the workers that were there then.
                1 => {
                    system.import(&export);
                    for event in &export {
                        let _ = ledgers[place(event.worker)].import(event);
                    }
                }
                // On with a copy.
                2 => {
                    export = system.export();
                    system = System::build(builder(draw), shards);
                    system.import(&export);
                    let mut copies: Vec<_> = (0..shards.max(1)).map(|_| ledger()).collect();
                    for event in &export {
                        let _ = copies[place(event.worker)].import(event);
                    }
                    let queries: Vec<_> = (0..WATCHED).map(|_| traffic.query(draw)).collect();
                    for (ledger, copy) in ledgers.iter().zip(&copies) {
                        ledger.compare_copy(copy, &queries);
                    }
                    ledgers = copies;
                    (watched, visible) = (Vec::new(), Vec::new());
                }
                _ => {}
            },
            _ => {
                let event = traffic.event(draw);
                let expected = ledgers[place(event.worker)].apply(&event);
                if let Some(result) = system.apply(&event) {
                    assert_eq!(result, expected, "{event:?}");
                }
            }
        }
    }
    system.publish();
    system.compare_status(&ledgers);
    for query in traffic.paths(usize::MAX) {
        let expected = expected(&ledgers, &query);
        assert_eq!(system.find(&[query], false, &mut buffer), [expected]);
    }
});
