//! C8: what the index left out is said with every answer, until it is made good.

use kvleap::baseline::reference::Reference;
use kvleap::{Block, Event, EventData, Index, MAX_LEFT_OUT, Matches, Reader, Rejection, Worker, WorkerStatus, Writer};

const A: Worker = Worker::new(1, 0);
const B: Worker = Worker::new(1, 1);

/// An index and the model that judges it.
struct Both {
    writer: Writer,
    reader: Reader,
    reference: Reference,
    matches: Matches,
}

impl Both {
    fn new(positions: u32) -> Self {
        let builder = Index::builder().max_positions(positions);
        let (writer, reader) = builder.build_local().expect("valid settings");
        Self { writer, reader, reference: Reference::new().max_positions(positions), matches: Matches::new() }
    }

    fn say(&mut self, worker: Worker, data: EventData) -> Result<(), Rejection> {
        let event = Event { worker, id: 1, data };
        let result = self.writer.apply(&event);
        assert_eq!(self.reference.apply(&event), result);
        result
    }

    fn store(&mut self, worker: Worker, parent: Option<u64>, names: &[u64]) -> Result<(), Rejection> {
        let blocks = names.iter().map(|&name| Block { sequence: name, local: name }).collect();
        self.say(worker, EventData::Stored { parent, blocks })
    }

    fn remove(&mut self, worker: Worker, names: &[u64]) {
        self.say(worker, EventData::Removed { blocks: names.to_vec() }).expect("names blocks");
    }

    /// Who is incomplete, in an answer that nobody else is in.
    fn incomplete(&mut self) -> Vec<Worker> {
        self.writer.publish();
        self.reader.find(&[12345], &mut self.matches);
        assert!(self.matches.is_empty());
        let mut incomplete: Vec<_> = self.matches.incomplete().collect();
        incomplete.sort_unstable();
        assert_eq!(incomplete, self.reference.incomplete());
        for WorkerStatus { worker, left_out_blocks, .. } in self.writer.status().1 {
            assert_eq!(left_out_blocks, self.reference.left_out(worker));
        }
        incomplete
    }
}

#[test]
fn a_worker_is_incomplete_from_a_rejected_store_until_it_is_made_good() {
    for reason in [Rejection::UnknownParent, Rejection::TooDeep, Rejection::SelfParent] {
        // 1 is known, 2 is what its child is left out for the lack of.
        let leave_out = |both: &mut Both| {
            assert_eq!(both.store(A, None, &[1]), Ok(()));
            assert_eq!(both.store(B, None, &[1]), Ok(()));
            assert_eq!(both.incomplete(), []);
            let result = match reason {
                Rejection::UnknownParent => both.store(A, Some(2), &[3]),
                Rejection::TooDeep => both.store(A, Some(1), &[2, 3]),
                _ => both.store(A, Some(1), &[3, 3]),
            };
            assert_eq!(result, Err(reason));
            assert_eq!(both.incomplete(), [A], "{reason:?}");
        };
        let mut both = Both::new(2);
        leave_out(&mut both);
        both.remove(A, &[1]);
        assert_eq!(both.incomplete(), [A], "of others nothing follows");
        both.remove(A, &[2, 3]);
        assert_eq!(both.incomplete(), []);

        let mut both = Both::new(2);
        leave_out(&mut both);
        assert_eq!(both.store(A, None, &[2, 3]), Ok(()), "again, where it fits");
        assert_eq!(both.incomplete(), []);

        for end in [EventData::Cleared, EventData::WorkerRemoved] {
            let mut both = Both::new(2);
            leave_out(&mut both);
            assert_eq!(both.say(B, end.clone()), Ok(()));
            assert_eq!(both.incomplete(), [A]);
            assert_eq!(both.say(A, end), Ok(()));
            assert_eq!(both.incomplete(), []);
        }
    }
}

#[test]
fn events_without_blocks_and_of_strangers_leave_nothing_out() {
    let mut both = Both::new(2);
    assert_eq!(both.store(A, Some(9), &[]), Err(Rejection::Empty));
    assert_eq!(both.say(A, EventData::Removed { blocks: Vec::new() }), Err(Rejection::Empty));
    assert_eq!(both.say(B, EventData::WorkerRemoved), Ok(()));
    assert_eq!(both.store(B, Some(9), &[1]), Err(Rejection::WorkerRemoved));
    assert_eq!(both.incomplete(), []);
}

/// A worker that goes takes its mark with it, and whoever gets its slot has none.
#[test]
fn a_slot_that_is_taken_over_is_whole() {
    let mut both = Both::new(2);
    assert_eq!(both.store(A, Some(9), &[1]), Err(Rejection::UnknownParent));
    assert_eq!(both.incomplete(), [A]);
    assert_eq!(both.say(A, EventData::WorkerRemoved), Ok(()));
    assert_eq!(both.store(B, None, &[1]), Ok(()));
    assert_eq!(both.incomplete(), []);
    assert_eq!(both.store(B, Some(9), &[2]), Err(Rejection::UnknownParent));
    assert_eq!(both.incomplete(), [B]);
}

#[test]
fn of_too_many_only_that_is_remembered() {
    let mut both = Both::new(2);
    let names: Vec<u64> = (1..=MAX_LEFT_OUT).collect();
    assert_eq!(both.store(A, Some(0), &names), Err(Rejection::UnknownParent));
    assert_eq!(both.writer.status().1[0].left_out_blocks, MAX_LEFT_OUT);
    both.remove(A, &names[1..]);
    assert_eq!(both.incomplete(), [A]);
    both.remove(A, &names[..1]);
    assert_eq!(both.incomplete(), []);
    assert_eq!(both.store(A, Some(0), &names), Err(Rejection::UnknownParent));
    let full = both.writer.status().0.bytes;
    assert_eq!(both.store(A, Some(0), &[MAX_LEFT_OUT, MAX_LEFT_OUT + 1]), Err(Rejection::UnknownParent));
    assert_eq!(both.incomplete(), [A]);
    assert_eq!(both.writer.status().1[0].left_out_blocks, MAX_LEFT_OUT + 1);
    assert!(both.writer.status().0.bytes + MAX_LEFT_OUT * 16 < full, "it costs nothing any more");
    both.remove(A, &names);
    both.remove(A, &[MAX_LEFT_OUT + 1]);
    assert_eq!(both.incomplete(), [A], "nobody can tell");
    assert_eq!(both.say(A, EventData::Cleared), Ok(()));
    assert_eq!(both.incomplete(), []);
}

/// Nobody is whole while a copy of a block may be left.
#[test]
fn copies_that_were_left_out_end_one_by_one() {
    let mut both = Both::new(9);
    assert_eq!(both.say(A, EventData::CopiesCounted), Ok(()));
    for _ in 0..2 {
        assert_eq!(both.store(A, Some(1), &[2]), Err(Rejection::UnknownParent));
    }
    assert_eq!(both.store(A, None, &[1, 2]), Ok(()));
    for copies in 0..3 {
        assert_eq!(both.incomplete(), [A], "{copies} of three removed");
        both.remove(A, &[2]);
    }
    assert_eq!(both.incomplete(), []);
}

/// Over all shards, whoever is in the answer; and a copy of the index knows of what it left out itself.
#[test]
fn every_answer_says_it() {
    let index = Index::builder().shards(3).build().expect("valid settings");
    let blocks = |name| vec![Block { sequence: name, local: name }];
    for id in 0..20 {
        let worker = Worker::new(id, 0);
        let parents = if id % 4 == 0 { [None, Some(77)] } else { [None, Some(1)] };
        for (parent, name) in parents.into_iter().zip(1..) {
            let data = EventData::Stored { parent, blocks: blocks(name) };
            index.send(Event { worker, id: name, data }).expect("open");
        }
    }
    index.flush().expect("open");
    let mut room = Vec::new();
    let mut matches = Matches::new();
    let expected: Vec<_> = (0..20).step_by(4).map(|id| Worker::new(id, 0)).collect();
    let incomplete = |matches: &Matches| {
        let mut workers: Vec<_> = matches.incomplete().collect();
        workers.sort_unstable();
        let mut slots: Vec<_> = matches.incomplete_slots().filter_map(|slot| matches.worker(slot)).collect();
        slots.sort_unstable();
        assert_eq!(workers, slots);
        workers
    };
    for query in [vec![], vec![1, 2], vec![5]] {
        index.find(&query, &mut matches);
        assert_eq!(incomplete(&matches), expected, "{query:?}");
        let answers = index.find_many(&[query.clone(), query], &mut room);
        assert!(answers.iter().all(|answer| incomplete(answer) == expected));
    }
    let copy = Index::builder().build().expect("valid settings");
    copy.import(index.export().expect("open")).expect("it fits");
    copy.find(&[1], &mut matches);
    assert_eq!((matches.len(), incomplete(&matches)), (20, vec![]));
    index.find(&[1], &mut matches);
    assert_eq!(incomplete(&matches), expected, "an answer may be of one index and then of another");
}
