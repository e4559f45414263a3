//! The whole state of a shard as events that rebuild it.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::run::{Place, RunId};
use super::runs::Runs;
use super::shard::Shard;
use super::worker::WorkerState;
use crate::event::{Block, Event, EventData, Worker};
use crate::index::shared::mix::BuildMix;
use crate::index::shared::prefix::Backwards;

/// Events that rebuild the shard when they are applied in order, or what is known of `only` one worker.
pub(crate) fn export(shard: &Shard, only: Option<Worker>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut workers: Vec<_> = shard.workers().filter(|state| only.is_none_or(|only| only == state.worker)).collect();
    workers.sort_unstable_by_key(|state| state.worker);
    for state in workers {
        let last_event_id = state.counters.last_event_id;
        let mut say = |data| events.push(Event { worker: state.worker, id: last_event_id.unwrap_or(0), data });
        say(EventData::WorkerAdded);
        if state.copies.is_some() {
            say(EventData::CopiesCounted);
        }
        // Carries the last event id, even if nothing is held.
        if last_event_id.is_some() {
            say(EventData::Cleared);
        }
        Worklist::of(shard.runs(), state).events(shard.runs(), state).into_iter().for_each(say);
    }
    events
}

/// What one worker's events have to mention: the places that it holds, and all that lead to them.
struct Worklist {
    /// One sequence hash for each place that is held.
    names: HashMap<Place, u64, BuildMix>,
    /// What else is stored at these places: twins, and further copies.
    more: Vec<(Place, u64)>,
    /// How many leading blocks of each run are held, or lead to what is held. Sorted by position, so parents come first.
    extents: BTreeMap<(u32, RunId), u32>,
}

impl Worklist {
    fn of(runs: &Runs, state: &WorkerState) -> Self {
        let mut list = Self { names: HashMap::default(), more: Vec::new(), extents: BTreeMap::new() };
        for (sequence, place) in state.blocks.iter() {
            match list.names.entry(place) {
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    entry.insert(sequence);
                }
                hashbrown::hash_map::Entry::Occupied(_) => list.more.push((place, sequence)),
            }
            let copies = state.copies.as_ref().map_or(0, |copies| copies.count(sequence));
            list.more.extend((0..copies).map(|_| (place, sequence)));
            list.reach(runs, place);
        }
        list
    }

    /// Includes `place` and all that leads to it.
    fn reach(&mut self, runs: &Runs, place: Place) {
        let mut next = Some(place);
        while let Some(Place { offset, run }) = next {
            let at = runs.get(run);
            let extent = self.extents.entry((at.start, run)).or_default();
            // Whoever entered the run first has also entered its parents.
            next = if *extent == 0 { at.parent } else { None };
            *extent = (*extent).max(offset + 1);
        }
    }

    /// Stores all of it from the root on. A hole is stored under a sequence hash that the worker does not use, and removed
    /// at the end.
    fn events(&self, runs: &Runs, state: &WorkerState) -> Vec<EventData> {
        let mut unused = (0u64..).filter(|&sequence| state.blocks.get(sequence).is_none());
        let mut holes: HashMap<Place, u64, BuildMix> = HashMap::default();
        let mut backwards = runs.hasher().backwards();
        let mut events = Vec::new();
        for (&(_, run), &extent) in &self.extents {
            let places = (0..extent).map(|offset| Place { offset, run });
            let stored = places.map(|place| {
                let hole = || *holes.entry(place).or_insert_with(|| unused.next().expect("2^64 names are enough"));
                let sequence = self.names.get(&place).copied().unwrap_or_else(hole);
                Block { sequence, local: local(runs, &mut backwards, place) }
            });
            let blocks = stored.collect();
            let name = |place| self.names.get(&place).or_else(|| holes.get(&place)).copied();
            let parent = runs.get(run).parent.map(|place| name(place).expect("parents come first"));
            events.push(EventData::Stored { parent, blocks });
        }
        for &(place, sequence) in &self.more {
            let parent = before(runs, place).map(|parent| self.names.get(&parent).or_else(|| holes.get(&parent)));
            let parent = parent.map(|name| *name.expect("parents come first"));
            events.push(EventData::Stored {
                parent,
                blocks: vec![Block { sequence, local: local(runs, &mut backwards, place) }],
            });
        }
        if !holes.is_empty() {
            events.push(EventData::Removed { blocks: holes.into_values().collect() });
        }
        events
    }
}

/// The block before this one.
fn before(runs: &Runs, Place { run, offset }: Place) -> Option<Place> {
    if offset == 0 { runs.get(run).parent } else { Some(Place { run, offset: offset - 1 }) }
}

/// The local hash of a block, from its prefix hash and the one before.
fn local(runs: &Runs, backwards: &mut Backwards<'_>, place: Place) -> u64 {
    let prefix = |Place { run, offset }: Place| runs.get(run).prefixes.get(offset);
    let position = runs.get(place.run).start + place.offset;
    backwards.local(position, before(runs, place).map_or(0, prefix), prefix(place))
}
