//! C8: every answer names the workers of which the index left out blocks, until those blocks are stored or removed.

use kvleap::baseline::reference::Reference;
use kvleap::{Block, Event, EventData, Index, MAX_LEFT_OUT, Matches, Reader, Rejection, Worker, WorkerStatus, Writer};

const A: Worker = Worker::new(1, 0);
const B: Worker = Worker::new(1, 1);

/// An index and the reference that it is compared with.
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

    /// Applies an event to both, and checks that both accept it or reject it for the same reason.
    fn apply(&mut self, worker: Worker, data: EventData) -> Result<(), Rejection> {
        let event = Event { worker, id: 1, data };
        let result = self.writer.apply(&event);
        assert_eq!(self.reference.apply(&event), result);
        result
    }

    fn store(&mut self, worker: Worker, parent: Option<u64>, names: &[u64]) -> Result<(), Rejection> {
        let blocks = names.iter().map(|&name| Block { sequence: name, local: name }).collect();
        self.apply(worker, EventData::Stored { parent, blocks })
    }

    fn remove(&mut self, worker: Worker, names: &[u64]) {
        self.apply(worker, EventData::Removed { blocks: names.to_vec() }).expect("it names blocks");
    }

    /// Returns the incomplete workers that an answer names, for a query of which nobody holds a block.
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
        // Block 1 is known. Block 2 is not, so that a child of it is left out.
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
        assert_eq!(both.incomplete(), [A], "removing another block changes nothing");
        both.remove(A, &[2, 3]);
        assert_eq!(both.incomplete(), []);

        let mut both = Both::new(2);
        leave_out(&mut both);
        assert_eq!(both.store(A, None, &[2, 3]), Ok(()), "stored again, where it fits");
        assert_eq!(both.incomplete(), []);

        for end in [EventData::Cleared, EventData::WorkerRemoved] {
            let mut both = Both::new(2);
            leave_out(&mut both);
            assert_eq!(both.apply(B, end.clone()), Ok(()));
            assert_eq!(both.incomplete(), [A]);
            assert_eq!(both.apply(A, end), Ok(()));
            assert_eq!(both.incomplete(), []);
        }
    }
}

#[test]
fn empty_events_and_events_of_removed_workers_leave_nothing_out() {
    let mut both = Both::new(2);
    assert_eq!(both.store(A, Some(9), &[]), Err(Rejection::Empty));
    assert_eq!(both.apply(A, EventData::Removed { blocks: Vec::new() }), Err(Rejection::Empty));
    assert_eq!(both.apply(B, EventData::WorkerRemoved), Ok(()));
    assert_eq!(both.store(B, Some(9), &[1]), Err(Rejection::WorkerRemoved));
    assert_eq!(both.incomplete(), []);
}

/// A worker that leaves takes its mark with it, so the worker that gets its slot is not marked.
#[test]
fn a_worker_that_takes_over_a_slot_starts_complete() {
    let mut both = Both::new(2);
    assert_eq!(both.store(A, Some(9), &[1]), Err(Rejection::UnknownParent));
    assert_eq!(both.incomplete(), [A]);
    assert_eq!(both.apply(A, EventData::WorkerRemoved), Ok(()));
    assert_eq!(both.store(B, None, &[1]), Ok(()));
    assert_eq!(both.incomplete(), []);
    assert_eq!(both.store(B, Some(9), &[2]), Err(Rejection::UnknownParent));
    assert_eq!(both.incomplete(), [B]);
}

#[test]
fn beyond_the_limit_the_index_remembers_only_that_there_were_too_many() {
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
    assert!(both.writer.status().0.bytes + MAX_LEFT_OUT * 16 < full, "the hashes no longer take memory");
    both.remove(A, &names);
    both.remove(A, &[MAX_LEFT_OUT + 1]);
    assert_eq!(both.incomplete(), [A], "the index cannot tell whether any block is still left out");
    assert_eq!(both.apply(A, EventData::Cleared), Ok(()));
    assert_eq!(both.incomplete(), []);
}

/// The index accepted one copy of block 2 and left out two.
#[test]
fn a_worker_stays_incomplete_until_every_copy_of_a_left_out_block_is_removed() {
    let mut both = Both::new(9);
    assert_eq!(both.apply(A, EventData::CopiesCounted), Ok(()));
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

/// This holds over all shards, and whether or not the workers hold anything of the query. A copy of the index knows
/// only what the copy itself left out.
#[test]
fn every_answer_names_the_incomplete_workers() {
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
    assert_eq!(incomplete(&matches), expected, "one answer can be filled by different indexes in turn");
}
