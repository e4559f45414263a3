//! The pool's rules, one by one.

use super::*;

const BLOCK: u64 = 4;

/// The names of a path of local hashes; equal paths, equal names.
fn names(path: &[u64]) -> Vec<Block> {
    let mut before = 7;
    let name = |&local: &u64| {
        before = crate::hash::hash_pair(before, local);
        Block { sequence: before, local }
    };
    path.iter().map(name).collect()
}

fn pool(capacity: u32, copies: Copies) -> Pool {
    Pool::new(BLOCK as u32, capacity, None, copies)
}

/// A sequence of these blocks, attached to what is cached of them.
fn stored(pool: &mut Pool, path: &[u64], events: &mut Vec<EventData>) -> Sequence {
    let names = names(path);
    let mut sequence = pool.attach(&names);
    let missing = path.len() as u64 * BLOCK - sequence.tokens();
    pool.extend(&mut sequence, missing, &names, events).unwrap();
    sequence
}

/// An event as the local hashes it names, where all paths are known.
fn spell(events: &[EventData], paths: &[&[u64]]) -> Vec<String> {
    let local = |sequence: u64| {
        let mut known = paths.iter().flat_map(|path| names(path));
        known.find(|block| block.sequence == sequence).expect("a known name").local.to_string()
    };
    let spell = |event: &EventData| match event {
        EventData::Stored { parent, blocks } => {
            let blocks: Vec<String> = blocks.iter().map(|block| block.local.to_string()).collect();
            format!("{}+{}", parent.map_or(String::new(), local), blocks.join(","))
        }
        EventData::Removed { blocks } => {
            format!("-{}", blocks.iter().map(|&sequence| local(sequence)).collect::<Vec<_>>().join(","))
        }
        other => panic!("{other:?}"),
    };
    events.iter().map(spell).collect()
}

#[test]
fn what_was_used_longest_ago_goes_first_and_of_that_what_lies_deepest() {
    let (mut pool, mut events) = (pool(6, Copies::Merged), Vec::new());
    let long = stored(&mut pool, &[1, 2, 3], &mut events);
    let short = stored(&mut pool, &[4, 5], &mut events);
    // At the same time, the shorter one first: its last block would be the first of a queue.
    pool.detach(short, 10, &mut events);
    pool.detach(long, 10, &mut events);
    let newer = stored(&mut pool, &[6], &mut events);
    pool.detach(newer, 20, &mut events);
    events.clear();
    let _ = stored(&mut pool, &[7, 8, 9], &mut events);
    let paths: [&[u64]; 4] = [&[1, 2, 3], &[4, 5], &[6], &[7, 8, 9]];
    let spelled = spell(&events, &paths);
    assert_eq!(spelled.last().unwrap(), "+7,8,9");
    assert!(["-3,2,5", "-3,5,2"].contains(&&*spelled[0]), "{spelled:?}");
}

#[test]
fn nothing_referred_to_is_evicted() {
    let (mut pool, mut events) = (pool(4, Copies::Merged), Vec::new());
    let first = stored(&mut pool, &[1, 2], &mut events);
    let mut second = stored(&mut pool, &[1, 2, 3], &mut events);
    pool.detach(first, 1, &mut events);
    assert_eq!((pool.used(), pool.evictable(), pool.free()), (3, 0, 1));
    let path = names(&[1, 2, 3, 4, 5]);
    assert_eq!(pool.extend(&mut second, 2 * BLOCK, &path, &mut events), Err(Shortage));
    assert_eq!((second.tokens(), pool.free()), (3 * BLOCK, 1), "nothing has changed");
    assert_eq!(pool.extend(&mut second, BLOCK, &path, &mut events), Ok(()));
}

#[test]
fn the_token_budget_bounds_what_is_kept() {
    let mut pool = Pool::new(BLOCK as u32, 100, Some(2 * BLOCK + 1), Copies::Merged);
    let mut events = Vec::new();
    let sequence = stored(&mut pool, &[1, 2, 3, 4, 5], &mut events);
    assert_eq!(pool.used(), 5, "what is referred to does not count");
    events.clear();
    pool.detach(sequence, 1, &mut events);
    assert_eq!(spell(&events, &[&[1, 2, 3, 4, 5]]), ["-5,4,3"]);
    assert_eq!((pool.used(), pool.evictable(), pool.free()), (0, 2, 98));
}

#[test]
fn copies_are_announced_one_by_one_or_as_one() {
    for (copies, second, gone) in
        [(Copies::Announced, vec!["+1,2,9"], ["-9,2,1", "-3,2,1"]), (Copies::Merged, vec!["2+9"], ["-9", "-3,2,1"])]
    {
        let (mut pool, mut events) = (pool(6, copies), Vec::new());
        let (one, two) = (names(&[1, 2, 3]), names(&[1, 2, 9]));
        // Both begin before either has computed anything.
        let (mut first, mut other) = (pool.attach(&one), pool.attach(&two));
        pool.extend(&mut first, 3 * BLOCK, &one, &mut events).unwrap();
        events.clear();
        pool.extend(&mut other, 3 * BLOCK, &two, &mut events).unwrap();
        let paths: [&[u64]; 3] = [&[1, 2, 3], &[1, 2, 9], &[7, 8, 6]];
        assert_eq!(spell(&events, &paths), second);
        events.clear();

        pool.detach(other, 1, &mut events);
        pool.detach(first, 2, &mut events);
        let last = stored(&mut pool, &[7, 8, 6], &mut events);
        assert_eq!(spell(&events[..1], &paths), gone[..1]);
        assert_eq!(pool.prefix(&one), Prefix { blocks: 3, evictable: 3 }, "the other copy is still there");
        events.clear();
        pool.detach(last, 3, &mut events);
        let _ = stored(&mut pool, &[4, 4, 4, 4, 4, 4], &mut events);
        assert_eq!(spell(&events[..1], &paths)[0], format!("{},6,8,7", gone[1]));
    }
}

#[test]
fn a_fork_that_writes_gets_a_copy_of_the_last_block() {
    let (mut pool, mut events) = (pool(4, Copies::Merged), Vec::new());
    let path = names(&[1, 2, 3]);
    let mut trunk = pool.attach(&[]);
    pool.extend(&mut trunk, BLOCK + 1, &path, &mut events).unwrap();
    let mut fork = pool.fork(&trunk);
    assert_eq!(pool.used(), 2);
    pool.extend(&mut fork, 1, &path, &mut events).unwrap();
    assert_eq!((pool.used(), trunk.table[0] == fork.table[0], trunk.table[1] == fork.table[1]), (3, true, false));
    pool.extend(&mut trunk, 1, &path, &mut events).unwrap();
    assert_eq!(pool.used(), 3, "nobody else refers to it any more");
    pool.detach(trunk, 1, &mut events);
    pool.detach(fork, 1, &mut events);
    assert_eq!((pool.used(), pool.evictable(), pool.free()), (0, 1, 3), "partial blocks are free at once");
}
