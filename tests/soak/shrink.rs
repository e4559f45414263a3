//! Makes the list of events before a wrong answer as short as possible.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvleap::{Block, Event, EventData, Matches};

use crate::common::ledger::Ledger;
use crate::judge::{Answer, Wrong, compare_export, expected};
use crate::plan::Plan;
use crate::round::Said;

/// How often a shard without a thread publishes when it hears the events again: what is wrong may depend on it.
const PUBLISH: [usize; 3] = [1, usize::MAX, 3];

/// What leads to something wrong, without threads.
pub(crate) struct Short {
    pub(crate) said: Vec<Said>,
    pub(crate) query: Vec<u64>,
    pub(crate) publish: usize,
    /// The answer and the one expected; nothing if something else is wrong.
    pub(crate) answers: Option<(Answer, Answer)>,
}

/// Shortens what the shard was told, if that leads to something wrong without threads, too.
pub(crate) fn shorten(plan: &Plan, said: &[Said], wrong: &Wrong) -> Option<Short> {
    let publish = PUBLISH.into_iter().find(|&publish| !right(plan, said, &wrong.query, publish))?;
    let mut said = shortest(said.to_vec(), |said| !right(plan, said, &wrong.query, publish));
    for at in 0..said.len() {
        let Said::Event(Event { data, .. }) = &said[at] else { continue };
        let with = |data: EventData| {
            let mut changed = said.clone();
            if let Said::Event(event) = &mut changed[at] {
                event.data = data;
            }
            changed
        };
        let fails = |data| !right(plan, &with(data), &wrong.query, publish);
        let data = match data {
            EventData::Stored { parent, blocks } => {
                let stored = |blocks: &[Block]| EventData::Stored { parent: *parent, blocks: blocks.to_vec() };
                stored(&shortest(blocks.clone(), |blocks| fails(stored(blocks))))
            }
            EventData::Removed { blocks } => {
                let removed = |blocks: &[u64]| EventData::Removed { blocks: blocks.to_vec() };
                removed(&shortest(blocks.clone(), |blocks| fails(removed(blocks))))
            }
            whole => whole.clone(),
        };
        said = with(data);
    }
    let query = shortest(wrong.query.clone(), |query| !right(plan, &said, query, publish));
    let answers = catch_unwind(AssertUnwindSafe(|| answers(plan, &said, &query, publish))).ok();
    Some(Short { said, query, publish, answers })
}

fn right(plan: &Plan, said: &[Said], query: &[u64], publish: usize) -> bool {
    let compared = catch_unwind(AssertUnwindSafe(|| answers(plan, said, query, publish)));
    compared.is_ok_and(|(answer, expected)| answer == expected)
}

/// Returns the answer of a shard without a thread, and the one expected.
fn answers(plan: &Plan, said: &[Said], query: &[u64], publish: usize) -> (Answer, Answer) {
    let (max_positions, max_workers) = plan.limits();
    let (mut writer, reader) = plan.builder().build_local().expect("valid settings");
    let mut ledger = Ledger::new(max_positions, max_workers);
    for (number, said) in (1..).zip(said) {
        match said {
            Said::Event(event) => assert_eq!(writer.apply(event), ledger.apply(event)),
            Said::Import(events) => {
                let _ = writer.import(events);
                for event in events {
                    let _ = ledger.import(event);
                }
            }
            Said::Export(_) => {}
        }
        if number % publish == 0 {
            writer.publish();
        }
    }
    writer.publish();
    let (shard, workers) = writer.status();
    ledger.compare(&shard, &workers);
    compare_export(plan, &ledger, writer.export().iter(), &[query.to_vec()]);
    let mut matches = Matches::new();
    reader.find(query, &mut matches);
    let mut answer: Answer = (matches.iter().collect(), matches.incomplete().collect());
    answer.0.sort_unstable();
    answer.1.sort_unstable();
    (answer, expected(&ledger, query))
}

/// Takes out as much of a list as is not needed for `fails`: ever smaller pieces, as in delta debugging (Zeller and
/// Hildebrandt, "Simplifying and isolating failure-inducing input", 2002).
fn shortest<T: Clone>(mut list: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut piece = list.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut shrunk = false;
        while at < list.len() {
            let without = [&list[..at], &list[list.len().min(at + piece)..]].concat();
            if fails(&without) {
                list = without;
                shrunk = true;
            } else {
                at += piece;
            }
        }
        if piece == 1 && !shrunk {
            return list;
        }
        piece = if shrunk { piece } else { piece / 2 }.max(1);
    }
}
