//! Prefixes that differ in ways that a weaker hash would miss. No answer may be wrong, under any seed.

use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Reader, Worker, Writer};

const A: Worker = Worker::new(1, 0);
const B: Worker = Worker::new(2, 0);

/// A difference that an earlier prefix hash did not see: two bits that cancel when a hash is folded onto its lower
/// half, and that a product modulo 2^64 loses.
const TWICE: u64 = 1 << 63 | 1 << 31;

fn index(seed: u64) -> (Writer, Reader) {
    Index::builder().seed(seed).build_local().expect("valid settings")
}

fn apply(writer: &mut Writer, worker: Worker, data: EventData) {
    writer.apply(&Event { worker, id: 0, data }).expect("well-formed");
}

/// Stores a sequence from its root on, with sequence hashes counted from `name`.
fn store(writer: &mut Writer, worker: Worker, name: u64, locals: &[u64]) {
    let blocks = (name..).zip(locals).map(|(sequence, &local)| Block { sequence, local }).collect();
    apply(writer, worker, EventData::Stored { parent: None, blocks });
    writer.publish();
}

fn depth(reader: &Reader, matches: &mut Matches, worker: Worker, query: &[u64]) -> u32 {
    reader.find(query, matches);
    matches.depth(worker)
}

/// Returns every difference of the form `+-2^a +- 2^b` or `+-2^a`, except zero.
fn differences() -> Vec<u64> {
    let bits = || (0..64).map(|bit| 1_u64 << bit);
    let pairs = bits().flat_map(|a| bits().map(move |b| [a.wrapping_add(b), a.wrapping_sub(b)])).flatten();
    let mut all: Vec<u64> = pairs.chain(bits()).flat_map(|d| [d, d.wrapping_neg()]).filter(|&d| d != 0).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn differences_of_few_bits_never_cancel() {
    let differences = differences();
    let held = [11, 22, 33, 44, 55, 66, 77];
    let mut matches = Matches::new();
    for seed in 0..64 {
        let (mut writer, reader) = index(seed);
        store(&mut writer, A, 1, &held);
        for &difference in &differences {
            let opposite = difference.wrapping_neg();
            for changes in [
                &[(1, difference), (2, difference)][..],
                &[(1, difference), (2, opposite)],
                &[(1, difference), (2, difference), (4, difference)],
                &[(1, difference), (3, opposite), (4, difference)],
            ] {
                let mut query = held;
                for &(position, change) in changes {
                    query[position] = query[position].wrapping_add(change);
                }
                let depth = depth(&reader, &mut matches, A, &query);
                assert_eq!(depth, 1, "seed {seed}, changes {changes:?}");
            }
        }
    }
}

/// As above, but the changes are exclusive ors and not sums, they match the arithmetic of the prefix hash itself, and
/// some are a stride or more apart.
#[test]
fn flipped_bits_never_cancel() {
    let mut matches = Matches::new();
    for seed in 0..64 {
        let (mut writer, reader) = index(seed);
        let held: Vec<u64> = (0..100).map(|i| i << 32 | i).collect();
        store(&mut writer, A, 1, &held);
        for bit in 0..64 {
            // The field's polynomial, its carry, single bits, and the difference that an earlier hash did not see.
            for flip in [0b1_1011, 0b1_1011 << 60, 1 << 63, 1, TWICE].map(|flip: u64| flip.rotate_left(bit)) {
                for others in [&[7][..], &[34], &[34, 66], &[5, 6, 7]] {
                    let mut query = held.clone();
                    query[2] ^= flip;
                    for &position in others {
                        query[position] ^= flip;
                    }
                    let depth = depth(&reader, &mut matches, A, &query);
                    assert_eq!(depth, 2, "seed {seed}, flip {flip:#x} at 2 and {others:?}");
                }
            }
        }
    }
}

/// Zeros count like any other local hash, and sequences of different lengths differ.
#[test]
fn zeros_and_lengths_are_told_apart() {
    let mut matches = Matches::new();
    for seed in 0..64 {
        let (mut writer, reader) = index(seed);
        store(&mut writer, A, 1, &[0; 100]);
        store(&mut writer, B, 1, &[0, 0, 7]);
        for len in [1, 2, 3, 31, 32, 33, 64, 99, 100, 101, 300] {
            let query = vec![0; len];
            assert_eq!(depth(&reader, &mut matches, A, &query), len.min(100) as u32, "seed {seed}");
            assert_eq!(depth(&reader, &mut matches, B, &query), len.min(2) as u32, "seed {seed}");
        }
        for (query, depths) in [(&[7][..], [0, 0]), (&[0, 7], [1, 1]), (&[0, 0, 7, 0], [2, 3]), (&[0, 0, 0, 7], [3, 2])]
        {
            let found = [A, B].map(|worker| depth(&reader, &mut matches, worker, query));
            assert_eq!(found, depths, "seed {seed}, {query:?}");
        }
    }
}

/// Two blocks of tokens whose local hashes have a difference that weaker hashes miss. A search of five minutes found
/// them.
fn tokens() -> [Vec<u64>; 2] {
    let hasher = BlockHasher::new(16).expect("a block size above 0");
    [[49_855, 12_276, 5_570, 12_482], [4_074, 29_104, 59_137, 49_035]]
        .map(|tokens| hasher.hash(&[&tokens[..], &[100; 12]].concat()))
}

#[test]
fn blocks_in_another_order_are_another_prompt() {
    let [p, q] = tokens();
    let hasher = BlockHasher::new(16).expect("a block size above 0");
    let mut matches = Matches::new();
    for seed in 0..64 {
        let x = hasher.hash(&[seed as u32; 16]);
        let (mut writer, reader) = index(seed);
        store(&mut writer, A, 1, &[&x[..], &p, &q].concat());
        let depth = depth(&reader, &mut matches, A, &[x, q.clone(), p.clone()].concat());
        assert_eq!(depth, 1, "seed {seed}");
    }
}

/// Worker B stores prefixes that a weaker hash takes for A's, and is removed.
#[test]
fn removing_a_worker_costs_no_other_worker_a_block() {
    let [p, q] = tokens().map(|hashes| hashes[0]);
    let [first, last] = [1, 2];
    let mut matches = Matches::new();
    for seed in 0..400 {
        let (mut writer, reader) = index(seed);
        store(&mut writer, A, 10, &[first, p, 3]);
        store(&mut writer, A, 20, &[first, p, q, last]);
        store(&mut writer, B, 10, &[first, q, 4]);
        store(&mut writer, B, 20, &[first, q, p, 5]);
        apply(&mut writer, B, EventData::WorkerRemoved);
        writer.publish();
        let mut all = vec![depth(&reader, &mut matches, A, &[first, p, q, last])];
        store(&mut writer, A, 30, &[first, p, q, last]);
        all.push(depth(&reader, &mut matches, A, &[first, p, q, last]));
        assert_eq!(all, [4, 4], "seed {seed}");
    }
}

/// Without a seed, every index draws its own keys.
#[test]
fn an_index_without_a_seed_answers_exactly() {
    let mut matches = Matches::new();
    for _ in 0..10 {
        let (mut writer, reader) =
            Index::builder().build_local().expect("valid settings, and a system with randomness");
        store(&mut writer, A, 1, &[1, 2, 3]);
        assert_eq!(depth(&reader, &mut matches, A, &[1, 2, 3]), 3);
        assert_eq!(depth(&reader, &mut matches, A, &[1, 3, 2]), 1);
    }
}
