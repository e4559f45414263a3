//! Generates workloads that no public trace contains.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Workload;
use super::recorder::Recorder;

/// Hashes a number with `SplitMix64`, which has no collisions.
pub fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A conversation, which grows turn by turn.
struct Conversation {
    /// The blocks so far.
    path: Vec<u32>,
    /// The length at which it ends, in blocks.
    end: usize,
}

/// Grows `path` by `count` blocks that are new in the whole workload.
fn grow(recorder: &mut Recorder, rng: &mut StdRng, path: &mut Vec<u32>, count: usize) {
    for _ in 0..count {
        path.push(recorder.block(path.last().copied(), rng.random()));
    }
}

/// Generates workers of 2,048 blocks that share a system prompt of 64. Each worker has private conversations of 20 to
/// 600 blocks, which grow turn by turn and stay on the worker.
pub fn wide(workers: usize, quick: bool) -> Workload {
    const SYSTEM_PROMPT: usize = 64;
    let mut rng = StdRng::seed_from_u64(2);
    let mut recorder = Recorder::new(workers, if quick { 128 } else { 2_048 });
    let mut system = Vec::new();
    grow(&mut recorder, &mut rng, &mut system, SYSTEM_PROMPT);

    let mut conversations: Vec<_> =
        (0..workers).map(|_| Conversation { path: system.clone(), end: SYSTEM_PROMPT }).collect();
    let turns = if quick { 2 } else { 40 };
    for _ in 0..turns * workers {
        let worker = rng.random_range(0..workers);
        let conversation = &mut conversations[worker];
        if conversation.path.len() >= conversation.end {
            conversation.path.truncate(SYSTEM_PROMPT);
            conversation.end = SYSTEM_PROMPT + rng.random_range(20..=600);
        }
        let room = conversation.end - conversation.path.len();
        let asked = rng.random_range(16..=120).min(room);
        grow(&mut recorder, &mut rng, &mut conversation.path, asked);
        let prompt = conversation.path.len();
        let answered = rng.random_range(4..=16).min(room - asked);
        grow(&mut recorder, &mut rng, &mut conversation.path, answered);
        recorder.request(worker, &conversation.path, prompt);
    }
    recorder.finish(16)
}

/// Generates conversations of up to 4,000 blocks, each behind one of eight system prompts. Every turn goes to a random
/// worker, one turn in ten continues from an earlier point, and after one turn in three some worker loses a few blocks
/// in the middle of a conversation.
pub fn fragmented(quick: bool) -> Workload {
    let (workers, capacity, live, turns) = if quick { (8, 2_048, 12, 200) } else { (64, 16_384, 400, 8_000) };
    let longest = if quick { 600 } else { 4_000 };
    let mut rng = StdRng::seed_from_u64(3);
    let mut recorder = Recorder::new(workers, capacity);
    let systems: Vec<_> = (0..8)
        .map(|_| {
            let mut path = Vec::new();
            grow(&mut recorder, &mut rng, &mut path, 64);
            path
        })
        .collect();

    let mut conversations: Vec<_> = (0..live).map(|_| Conversation { path: Vec::new(), end: 0 }).collect();
    for _ in 0..turns {
        let conversation = &mut conversations[rng.random_range(0..live)];
        if conversation.path.len() >= conversation.end {
            conversation.path.clone_from(&systems[rng.random_range(0..systems.len())]);
            conversation.end = rng.random_range(longest / 4..=longest);
        } else if rng.random_ratio(1, 10) {
            let point = rng.random_range(1..=conversation.path.len());
            conversation.path.truncate(point);
        }
        let asked = rng.random_range(10..=200);
        grow(&mut recorder, &mut rng, &mut conversation.path, asked);
        let prompt = conversation.path.len();
        let answered = rng.random_range(1..=24);
        grow(&mut recorder, &mut rng, &mut conversation.path, answered);
        recorder.request(rng.random_range(0..workers), &conversation.path, prompt);

        if rng.random_ratio(1, 3) {
            let path = &conversations[rng.random_range(0..live)].path;
            if !path.is_empty() {
                let first = rng.random_range(0..path.len());
                let last = (first + rng.random_range(1..=8)).min(path.len());
                recorder.lose(rng.random_range(0..workers), &path[first..last]);
            }
        }
    }
    recorder.finish(16)
}
