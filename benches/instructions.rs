//! Lookups, and events that a writer applies, for `.ci/instructions.py`, which counts their instructions.
//!
//! `instructions CASE REPETITIONS` does the work of a case and prints how many lookups it made, or how many blocks it
//! applied. What it does before and after that does not depend on the repetitions. So the difference between a run with
//! many repetitions and one with few is the cost of the work alone. `instructions --list` prints the cases. Without a
//! case, as `cargo bench` starts it, it runs every case once, for the answers that the case asserts.
#![allow(clippy::print_stdout, reason = "the counts are for a script")]

mod common;

use std::hint::black_box;

use common::{apply, chain, index, removed, stored};
use kvleap::{Event, Matches, Reader, Worker, Writer};

/// How often a case can be repeated. Before its first repetition, a case prepares this many.
const MOST: u64 = 16;
/// Lookups of a repetition.
const LOOKUPS: u64 = 256;
/// Events of a repetition. By default, a writer publishes after this many.
const EVENTS: u64 = 256;
/// Blocks of a usual prompt.
const PROMPT: u64 = 64;
/// Workers of a usual fleet.
const WORKERS: u64 = 32;

/// The unit of a case, its name, and the function that does its work: it takes the number of repetitions, and returns
/// how many units of work it did.
type Case = (&'static str, &'static str, fn(u64) -> u64);

const CASES: [Case; 11] = [
    ("lookup", "hit", hit),
    ("lookup", "branches", branches),
    ("lookup", "turns", turns),
    ("lookup", "shared", shared),
    ("lookup", "miss", miss),
    ("lookup", "short", short),
    ("block", "prompts", prompts),
    ("block", "decoding", decoding),
    ("block", "conversing", conversing),
    ("block", "joining", joining),
    ("block", "evicting", evicting),
];

/// Returns the blocks of a prompt. Prompts of different kinds or numbers have no block in common.
fn prompt(kind: u64, number: u64, len: u64) -> Vec<u64> {
    let first = (kind << 56) + (number << 16);
    chain(first..first + len)
}

/// Builds an index with one prompt of each worker, which no query asks for.
fn fleet() -> (Writer, Reader) {
    let (mut writer, reader) = index();
    for worker in 0..WORKERS {
        apply(&mut writer, [&stored(worker, None, &prompt(0, worker, PROMPT))]);
    }
    (writer, reader)
}

/// Looks the query up, again and again. `depth` is how many blocks of it the worker 1 holds, and `workers` is how many
/// workers hold some.
fn look_up(repetitions: u64, reader: &Reader, query: &[u64], workers: usize, depth: u32) -> u64 {
    let mut matches = Matches::new();
    reader.find(query, &mut matches);
    for _ in 0..repetitions * LOOKUPS {
        reader.find(black_box(query), &mut matches);
    }
    assert_eq!((matches.len(), matches.depth(Worker::new(1, 0))), (workers, depth));
    repetitions * LOOKUPS
}

/// A long conversation that one worker holds, but for the last question.
fn hit(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    let (held, question) = (prompt(1, 0, 1_000), prompt(1, 1, 24));
    apply(&mut writer, [&stored(1, None, &held)]);
    writer.publish();
    look_up(repetitions, &reader, &[held, question].concat(), 1, 1_000)
}

/// A conversation that somebody else continued in another way after each of its turns, so that each of its turns is a
/// run of its own.
fn branches(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    let mut path = prompt(1, 0, PROMPT);
    for turn in 0..16 {
        let another = [&path[..], &prompt(2, turn, 24)].concat();
        path.extend(prompt(3, turn, 24));
        apply(&mut writer, [&stored(2, None, &another), &stored(1, None, &path)]);
    }
    writer.publish();
    look_up(repetitions, &reader, &path, 2, PROMPT as u32 + 16 * 24)
}

/// Blocks that are decoded in each turn of a conversation, and blocks that the next turn brings instead.
const ANSWER: u64 = 8;
const QUESTION: u64 = 24;

/// A conversation of one worker, each of whose turns does not repeat what was decoded in the one before.
fn turns(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    let mut path = prompt(1, 0, PROMPT);
    apply(&mut writer, [&stored(1, None, &path)]);
    for turn in 0..16 {
        apply(&mut writer, &answer_and_question(1, &path, turn));
        path.extend(prompt(3, turn, QUESTION));
    }
    writer.publish();
    look_up(repetitions, &reader, &path, 1, (PROMPT + 16 * QUESTION) as u32)
}

/// The blocks that a worker decodes behind this path, one by one, and then a question that does not follow them, but
/// the path.
fn answer_and_question(worker: u64, path: &[u64], number: u64) -> Vec<Event> {
    let last = path[path.len() - 1];
    let answer = [vec![last], prompt(2, number, ANSWER)].concat();
    let decoded = answer.windows(2).map(|pair| stored(worker, Some(pair[0]), &pair[1..]));
    decoded.chain([stored(worker, Some(last), &prompt(3, number, QUESTION))]).collect()
}

/// A system prompt that 1,000 workers hold, and a question that none of them holds.
fn shared(repetitions: u64) -> u64 {
    let (mut writer, reader) = index();
    let (held, question) = (prompt(1, 0, 100), prompt(1, 1, 24));
    for worker in 0..1_000 {
        apply(&mut writer, [&stored(worker, None, &held)]);
    }
    writer.publish();
    look_up(repetitions, &reader, &[held, question].concat(), 1_000, 100)
}

/// A long prompt of which nobody holds anything.
fn miss(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    writer.publish();
    look_up(repetitions, &reader, &prompt(1, 0, 1_000), 0, 0)
}

/// A prompt of a few blocks, all of which one worker holds.
fn short(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    let held = prompt(1, 0, 4);
    apply(&mut writer, [&stored(1, None, &held)]);
    writer.publish();
    look_up(repetitions, &reader, &held, 1, 4)
}

/// Applies as many groups of events as there are repetitions, publishes after each, and returns how many blocks these
/// events have. Afterwards, the worker must hold `depth` blocks of the query.
fn write(repetitions: u64, fleet: (Writer, Reader), groups: &[Vec<Event>], of: (u64, &[u64]), depth: u64) -> u64 {
    let (mut writer, reader) = fleet;
    writer.publish();
    let groups = &groups[..repetitions as usize];
    for events in groups {
        apply(&mut writer, events);
        writer.publish();
    }
    let (worker, query) = of;
    let mut matches = Matches::new();
    reader.find(query, &mut matches);
    assert_eq!(u64::from(matches.depth(Worker::new(worker, 0))), depth);
    // It takes the longer to free an index, the more repetitions have filled it.
    std::mem::forget((writer, reader));
    groups.iter().flatten().map(|event| event.data.len() as u64).sum()
}

/// Makes all groups of events: `event` gets the number of the group, and that of the event in it.
fn groups(event: impl Fn(u64, u64) -> Event) -> Vec<Vec<Event>> {
    (0..MOST).map(|group| (0..EVENTS).map(|number| event(group, number)).collect()).collect()
}

/// Workers that store one prompt after the other, each in one event.
fn prompts(repetitions: u64) -> u64 {
    let groups = groups(|group, number| {
        let number = group * EVENTS + number;
        stored(number % WORKERS, None, &prompt(1, number, PROMPT))
    });
    let last = repetitions * EVENTS - 1;
    write(repetitions, fleet(), &groups, (last % WORKERS, &prompt(1, last, PROMPT)), PROMPT)
}

/// Workers that decode 64 conversations side by side: every event stores one block.
fn decoding(repetitions: u64) -> u64 {
    const CONVERSATIONS: u64 = 64;
    const STEPS: u64 = EVENTS / CONVERSATIONS;
    let (mut writer, reader) = fleet();
    let whole: Vec<_> = (0..CONVERSATIONS).map(|number| prompt(1, number, PROMPT + MOST * STEPS)).collect();
    for (worker, blocks) in (0..).zip(&whole) {
        apply(&mut writer, [&stored(worker % WORKERS, None, &blocks[..PROMPT as usize])]);
    }
    let groups = groups(|group, number| {
        let conversation = number % CONVERSATIONS;
        let position = (PROMPT + group * STEPS + number / CONVERSATIONS) as usize;
        let blocks = &whole[conversation as usize];
        stored(conversation % WORKERS, Some(blocks[position - 1]), &blocks[position..=position])
    });
    write(repetitions, (writer, reader), &groups, (0, &whole[0]), PROMPT + repetitions * STEPS)
}

/// Workers that serve 32 conversations, each of whose turns does not repeat what was decoded in the one before.
fn conversing(repetitions: u64) -> u64 {
    const CONVERSATIONS: u64 = 32;
    let (mut writer, reader) = fleet();
    let mut paths: Vec<_> = (0..CONVERSATIONS).map(|number| prompt(1, number, PROMPT)).collect();
    for (worker, path) in (0..).zip(&paths) {
        apply(&mut writer, [&stored(worker % WORKERS, None, path)]);
    }
    let mut groups = Vec::new();
    for group in 0..MOST {
        let numbers = group * CONVERSATIONS..(group + 1) * CONVERSATIONS;
        let events = (0..).zip(&mut paths).zip(numbers).flat_map(|((worker, path), number)| {
            let events = answer_and_question(worker % WORKERS, path, number);
            path.extend(prompt(3, number, QUESTION));
            events
        });
        groups.push(events.collect());
    }
    write(repetitions, (writer, reader), &groups, (0, &paths[0]), PROMPT + repetitions * QUESTION)
}

/// Workers that store, one after the other, the same 256 prompts, which another one holds already.
fn joining(repetitions: u64) -> u64 {
    let (mut writer, reader) = fleet();
    for number in 0..EVENTS {
        apply(&mut writer, [&stored(0, None, &prompt(1, number, PROMPT))]);
    }
    let groups = groups(|group, number| stored(group + 1, None, &prompt(1, number, PROMPT)));
    write(repetitions, (writer, reader), &groups, (repetitions, &prompt(1, 0, PROMPT)), PROMPT)
}

/// Workers that evict 256 conversations from their ends, four blocks in an event.
fn evicting(repetitions: u64) -> u64 {
    const EVICTED: u64 = 4;
    const LEN: u64 = PROMPT + MOST * EVICTED;
    let (mut writer, reader) = fleet();
    for number in 0..EVENTS {
        apply(&mut writer, [&stored(number % WORKERS, None, &prompt(1, number, LEN))]);
    }
    let groups = groups(|group, number| {
        let end = (LEN - group * EVICTED) as usize;
        let mut blocks = prompt(1, number, LEN)[end - EVICTED as usize..end].to_vec();
        blocks.reverse();
        removed(number % WORKERS, &blocks)
    });
    write(repetitions, (writer, reader), &groups, (0, &prompt(1, 0, LEN)), LEN - repetitions * EVICTED)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => CASES.iter().for_each(|(unit, name, _)| println!("{unit} {name}")),
        [case, repetitions] if !case.starts_with('-') => {
            let (.., work) = CASES.iter().find(|(_, name, _)| *name == case).expect("a case that --list prints");
            println!("{}", work(repetitions.parse().expect("a number of repetitions")));
        }
        _ => CASES.iter().for_each(|(.., work)| assert!(work(1) > 0)),
    }
}
