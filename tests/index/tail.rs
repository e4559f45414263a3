//! A conversation stays in one run: where its next turn does not repeat what was decoded, the decoded tail becomes a
//! child. Each of these tests is about one reason to move a tail, or not to, or about what becomes of a moved one.

use kvleap::{Block, EventData, Worker};

use crate::corners::{A, B, C, Local, removed, stored};

/// The prompt of every conversation here.
const PROMPT: std::ops::Range<u64> = 1..21;
/// What is decoded behind it.
const DECODED: std::ops::Range<u64> = 101..106;
/// The next turn, which follows the prompt.
const TURN: std::ops::Range<u64> = 201..211;

impl Local {
    /// The worker decodes these blocks behind another, one by one.
    fn decode(&mut self, worker: Worker, mut parent: u64, blocks: impl IntoIterator<Item = u64>) {
        for block in blocks {
            self.store(worker, Some(parent), [block]);
            parent = block;
        }
    }

    /// Returns how many runs there are, and how many blocks they have.
    fn size(&mut self) -> (usize, u64) {
        let (shard, _) = self.writer.status();
        (shard.runs as usize, shard.indexed_blocks)
    }

    /// Returns how much each of these workers holds of the old and of the new path, once everything is published.
    fn both<const N: usize>(&mut self, workers: [Worker; N]) -> [(u32, u32); N] {
        workers.map(|worker| (self.depth(worker, old()), self.depth(worker, new())))
    }

    /// Whether the prompt and the next turn are one run. Then there is no other, once nobody holds what was decoded.
    fn is_one_run(&mut self) -> bool {
        for worker in [A, B, C] {
            self.remove(worker, DECODED.rev());
        }
        self.size().0 == 1
    }
}

/// A conversation that these workers serve together: all of them store the prompt and every decoded block.
fn decoded_by(workers: &[Worker]) -> Local {
    let mut local = Local::new();
    for &worker in workers {
        local.store(worker, None, PROMPT);
    }
    let parents = std::iter::once(20).chain(DECODED);
    for (parent, block) in parents.zip(DECODED) {
        for &worker in workers {
            local.store(worker, Some(parent), [block]);
        }
    }
    local
}

/// The path through what was decoded.
fn old() -> impl Iterator<Item = u64> {
    PROMPT.chain(DECODED)
}

/// The path through the next turn.
fn new() -> impl Iterator<Item = u64> {
    PROMPT.chain(TURN)
}

fn second_name(parent: u64, sequence: u64, local: u64) -> EventData {
    EventData::Stored { parent: Some(parent), blocks: vec![Block { sequence, local }] }
}

#[test]
fn a_conversation_of_ten_turns_is_one_run() {
    let mut local = Local::new();
    let mut path: Vec<u64> = PROMPT.collect();
    local.store(A, None, path.clone());
    let decoded = |turn| 1000 * turn..1000 * turn + 8;
    for turn in 1..=10 {
        let last = path[path.len() - 1];
        local.decode(A, last, decoded(turn));
        let next = 1000 * turn + 100..1000 * turn + 110;
        local.store(A, Some(last), next.clone());
        path.extend(next);
        assert_eq!(local.depth(A, path.clone()), path.len() as u32);
    }
    assert_eq!(local.size(), (1 + 10, 20 + 10 * (10 + 8)), "and a run for what was decoded in each");
    (1..=10).for_each(|turn| local.remove(A, decoded(turn).rev()));
    assert_eq!(local.size(), (1, 20 + 10 * 10));
    assert_eq!(local.depth(A, path.clone()), path.len() as u32);
}

#[test]
fn both_paths_are_answered_for_every_holder_of_a_moved_tail() {
    let mut local = decoded_by(&[A, B, C]);
    local.remove(C, [105, 104]);
    local.store(B, Some(20), TURN);
    assert_eq!(local.both([A, B, C]), [(25, 20), (25, 30), (23, 20)]);
    local.decode(A, 105, 106..109);
    local.decode(B, 210, 211..214);
    assert_eq!(local.size(), (2, 20 + 8 + 13));
    assert_eq!((local.depth(A, old().chain(106..109)), local.depth(B, new().chain(211..214))), (28, 33));
    local.remove(A, (106..109).rev());
    assert!(local.is_one_run());
}

#[test]
fn what_joins_block_by_block_or_at_once_moves_with_the_tail() {
    let mut local = decoded_by(&[A]);
    local.store(B, None, old());
    local.store(C, None, new());
    assert_eq!(local.both([A, B, C]), [(25, 20), (25, 20), (20, 30)]);
    assert!(local.is_one_run());
}

/// The turn repeats two of the decoded blocks, so only the others are its tail.
#[test]
fn what_the_turn_repeats_stays() {
    let mut local = decoded_by(&[A]);
    let turn = || PROMPT.chain([101, 102]).chain(TURN);
    local.store(B, None, turn());
    assert_eq!((local.depth(A, old()), local.depth(B, old()), local.depth(B, turn())), (25, 22, 32));
    assert_eq!(local.size(), (2, 35));
    local.remove(A, [105, 104, 103]);
    assert_eq!(local.size(), (1, 32));
}

/// Nobody holds the tail, so nothing is left of it.
#[test]
fn a_tail_without_holders_is_dropped() {
    let mut local = decoded_by(&[A, B]);
    for worker in [A, B] {
        local.remove(worker, DECODED.rev());
    }
    local.store(A, Some(20), TURN);
    assert_eq!(local.size(), (1, 30));
    assert_eq!(local.both([A, B]), [(20, 30), (20, 20)]);
    local.store(B, Some(20), DECODED);
    assert_eq!(local.both([A, B]), [(20, 30), (25, 20)]);
}

/// The log has 64 entries. The fourteenth worker is too many, and then nothing is known of the first five blocks.
#[test]
fn a_tail_with_a_holder_that_is_not_logged_stays() {
    for (workers, moves) in [(12, true), (14, false)] {
        let workers: Vec<_> = [A, B, C].into_iter().chain((10..).map(|id| Worker::new(id, 0))).take(workers).collect();
        let mut local = decoded_by(&workers);
        local.store(A, Some(20), TURN);
        assert_eq!(local.both([A, B, workers[11]]), [(25, 30), (25, 20), (25, 20)]);
        for worker in workers {
            local.remove(worker, DECODED.rev());
        }
        assert_eq!(local.is_one_run(), moves);
    }
}

/// A larger piece is not moved, and neither is what comes before it.
#[test]
fn a_tail_with_a_larger_piece_stays() {
    let mut local = decoded_by(&[A]);
    local.store(A, Some(105), [106, 107]);
    local.decode(A, 107, 108..110);
    local.store(A, Some(20), TURN);
    local.store(A, Some(107), 301..311);
    assert_eq!(local.both([A]), [(25, 30)]);
    assert_eq!(local.depth(A, old().chain([106, 107]).chain(301..311)), 37, "what came behind it is moved");
    assert_eq!(local.size(), (3, 20 + 10 + 17 + 2));
    local.remove(A, [109, 108]);
    local.remove(A, TURN.rev());
    assert_eq!(local.size(), (1, 37));
}

#[test]
fn a_run_is_not_copied_for_a_turn_that_is_much_shorter() {
    for (turn, moves) in [(1..2, false), (1..3, true)] {
        let mut local = Local::new();
        local.store(A, None, 1000..1300);
        local.decode(A, 1299, DECODED);
        local.store(A, Some(1299), turn.clone());
        assert_eq!(local.depth(A, (1000..1300).chain(turn.clone())), 300 + turn.count() as u32);
        assert_eq!(local.depth(A, (1000..1300).chain(DECODED)), 305);
        assert_eq!(local.is_one_run(), moves);
    }
}

/// The second name of block 103 leads into the tail, too. The second name of block 20 leads before it.
#[test]
fn a_tail_with_a_twin_stays() {
    for (parent, block, moves) in [(102, 103, false), (19, 20, true)] {
        let mut local = decoded_by(&[A, B]);
        local.apply(B, second_name(parent, 999, block)).expect("well-formed");
        local.store(A, Some(20), TURN);
        assert_eq!(local.both([A, B]), [(25, 30), (25, 20)]);
        local.remove(B, [block]);
        assert_eq!(local.both([A, B]), [(25, 30), (25, 20)], "it is held under its second name");
        local.remove(B, [999]);
        assert_eq!(local.depth(B, old()), if block == 20 { 19 } else { 22 });
        assert_eq!(local.is_one_run(), moves);
    }
}

/// B lost block 103, so block 104 and 105 are detached. Where it lost block 3, all of the tail is.
#[test]
fn a_tail_with_detached_blocks_stays() {
    for hole in [103, 3] {
        let mut local = decoded_by(&[A, B]);
        local.remove(B, [hole]);
        local.store(A, Some(20), TURN);
        assert_eq!(local.depth(A, new()), 30);
        local.store(B, Some(hole - 1), [hole]);
        assert_eq!(local.both([A, B]), [(25, 30), (25, 20)]);
        assert!(!local.is_one_run());
    }
}

/// The hole is before the tail, and so is what is detached.
#[test]
fn what_is_detached_before_the_tail_stays_there() {
    let mut local = decoded_by(&[A, B]);
    local.remove(B, DECODED.rev());
    local.remove(B, [3]);
    local.store(A, Some(20), TURN);
    local.store(B, Some(20), TURN);
    assert_eq!(local.both([A, B]), [(25, 30), (2, 2)]);
    local.store(B, Some(2), [3]);
    assert_eq!(local.both([A, B]), [(25, 30), (20, 30)]);
    assert!(local.is_one_run());
}

#[test]
fn a_tail_with_a_child_stays() {
    let mut local = decoded_by(&[A]);
    local.store(A, Some(103), [301]);
    // Blocks 104 and 105 are a child of 103 now, which is in the tail.
    local.store(A, Some(20), TURN);
    assert_eq!(local.both([A]), [(25, 30)]);
    assert_eq!(local.depth(A, PROMPT.chain(101..104).chain([301])), 24);
    local.remove(A, [301]);
    assert!(!local.is_one_run());
}

/// One tail is moved for each branch point. Two that are decoded behind the same prompt are two children.
#[test]
fn a_second_tail_of_a_branch_point_stays() {
    let mut local = decoded_by(&[A]);
    local.store(B, None, PROMPT);
    local.decode(B, 20, 301..304);
    local.store(A, Some(20), TURN);
    assert_eq!(local.both([A, B]), [(25, 30), (20, 20)]);
    assert_eq!(local.depth(B, PROMPT.chain(301..304)), 23);
    assert_eq!(local.size(), (3, 20 + 5 + 3 + 10));
    local.remove(B, (301..304).rev());
    assert!(!local.is_one_run());
}

/// A tail of two blocks has moved, and nothing is logged of how it came to its run. So its second block does not move
/// again, whoever else is logged there: not A under a second name, and not A beside B, which lost the first block.
#[test]
fn a_tail_that_moved_does_not_move_again() {
    let moved = || {
        let mut local = decoded_by(&[A, B]);
        for worker in [A, B] {
            local.remove(worker, [105, 104, 103]);
        }
        local.store(A, Some(20), TURN);
        local
    };
    let leave = |local: &mut Local| {
        local.store(A, Some(101), 301..304);
        assert_eq!(local.depth(A, PROMPT.chain([101]).chain(301..304)), 24);
        assert_eq!(local.both([A]), [(22, 30)]);
    };

    let mut local = moved();
    leave(&mut local);
    assert_eq!(local.both([B]), [(22, 20)]);

    let mut local = moved();
    local.apply(A, second_name(101, 999, 102)).expect("well-formed");
    local.remove(B, [102]);
    leave(&mut local);
    local.remove(A, [999]);
    assert_eq!(local.both([A]), [(22, 30)]);
    local.remove(A, [102]);
    assert_eq!(local.both([A]), [(21, 30)]);

    let mut local = moved();
    local.store(A, Some(101), [102]);
    local.remove(B, [101]);
    leave(&mut local);
    local.store(B, Some(20), [101]);
    assert_eq!(local.both([B]), [(22, 20)]);
}

/// The run was trimmed to ten blocks, and what is decoded there is a tail as any other.
#[test]
fn a_tail_behind_a_trimmed_run_is_moved() {
    let mut local = Local::new();
    local.store(A, None, 1..41);
    local.remove(A, (21..41).rev());
    local.remove(A, (11..21).rev());
    assert_eq!(local.size(), (1, 10));
    local.decode(A, 10, DECODED);
    local.store(A, Some(10), TURN);
    let paths = [(1..11).chain(DECODED), (1..11).chain(TURN)];
    assert_eq!(paths.map(|path| local.depth(A, path)), [15, 20]);
    assert!(local.is_one_run());
}

/// The array has room behind the prompt. If the turn came there, readers of the old snapshot would take it for the
/// tail.
#[test]
fn a_snapshot_does_not_change_when_a_tail_moves() {
    let mut local = decoded_by(&[A, B]);
    assert_eq!(local.both([A, B]), [(25, 20); 2]);
    for turn in [201..205, 301..305, 401..405] {
        local.store(A, Some(20), turn.clone());
        let path = || PROMPT.chain(turn.clone());
        assert_eq!((local.seen(A, old()), local.seen(B, old()), local.seen(A, path())), (25, 25, 20), "{turn:?}");
        assert_eq!((local.depth(A, old()), local.depth(B, old()), local.depth(A, path())), (25, 25, 24), "{turn:?}");
    }
}

/// Block 102 goes and comes back where it is now. Then the tail goes, and what follows the prompt is the turn alone.
#[test]
fn moved_blocks_are_removed_and_stored_again() {
    let mut local = decoded_by(&[A, B]);
    local.store(A, Some(20), TURN);
    local.remove(A, [102]);
    assert_eq!(local.both([A, B]), [(21, 30), (25, 20)]);
    local.store(A, Some(101), [102]);
    assert_eq!(local.both([A, B]), [(25, 30), (25, 20)]);
    local.remove(A, DECODED.rev());
    assert_eq!((local.both([A, B]), local.size()), ([(20, 30), (25, 20)], (2, 35)));
    local.apply(B, EventData::Cleared).expect("well-formed");
    assert_eq!((local.both([A, B]), local.size()), ([(20, 30), (0, 0)], (1, 30)));
    local.store(B, None, old());
    assert_eq!((local.both([A, B]), local.size()), ([(20, 30), (25, 20)], (2, 35)));
    local.apply(A, EventData::WorkerRemoved).expect("never refused");
    assert_eq!(local.both([A, B]), [(0, 0), (25, 20)]);
}

#[test]
fn copies_move_with_their_blocks() {
    let mut local = Local::new();
    local.apply(A, EventData::CopiesCounted).expect("well-formed");
    local.store(A, None, PROMPT);
    (0..2).for_each(|_| local.decode(A, 20, DECODED));
    local.store(A, Some(20), TURN);
    assert_eq!(local.both([A]), [(25, 30)]);
    local.remove(A, DECODED.rev());
    assert_eq!((local.both([A]), local.size().0), ([(25, 30)], 2), "there is another copy");
    local.remove(A, DECODED.rev());
    assert_eq!((local.both([A]), local.size()), ([(20, 30)], (1, 30)));
}

/// The turn's blocks have the names of decoded ones, so the tail loses its holder in the same event.
#[test]
fn a_turn_may_take_the_names_of_the_tail() {
    let mut local = decoded_by(&[A]);
    let blocks = DECODED.zip(TURN).map(|(sequence, local)| Block { sequence, local }).collect();
    local.apply(A, EventData::Stored { parent: Some(20), blocks }).expect("well-formed");
    assert_eq!((local.both([A]), local.size()), ([(20, 25)], (1, 25)));
    local.remove(A, DECODED.rev());
    assert_eq!(local.both([A]), [(20, 20)]);
}

/// The event gives the name of the last decoded block to the first one, and leaves there. So the run hears of a lower
/// cutoff in the middle of the event.
#[test]
fn a_tail_that_the_same_event_shortened_is_moved() {
    let mut local = decoded_by(&[A]);
    let blocks = [(105, 101), (201, 201), (202, 202)].map(|(sequence, local)| Block { sequence, local }).to_vec();
    local.apply(A, EventData::Stored { parent: Some(20), blocks }).expect("well-formed");
    let turn = || PROMPT.chain([101, 201, 202]);
    assert_eq!((local.depth(A, old()), local.depth(A, turn()), local.size().0), (24, 23, 2));
    local.remove(A, [104, 103, 102]);
    assert_eq!((local.depth(A, old()), local.depth(A, turn()), local.size()), (21, 23, (1, 23)));
}

#[test]
fn an_export_says_what_moved() {
    let mut local = decoded_by(&[A, B]);
    local.store(A, Some(20), TURN);
    local.remove(B, [103]);
    let export = local.writer.export();
    let mut copy = Local::new();
    copy.writer.import(&export).expect("an export is well-formed");
    for of in [&mut local, &mut copy] {
        assert_eq!(of.both([A, B]), [(25, 30), (22, 20)]);
        of.store(B, Some(102), [103]);
        of.decode(A, 210, 211..214);
        of.store(A, Some(210), 301..304);
        assert_eq!(of.both([A, B]), [(25, 30), (25, 20)]);
        assert_eq!((of.depth(A, new().chain(211..214)), of.depth(A, new().chain(301..304))), (33, 33));
    }
    local.import(A, [EventData::WorkerAdded, stored(None, PROMPT.chain([101, 102])), removed([102])]);
    assert_eq!(local.both([A, B]), [(21, 20), (25, 20)]);
}
