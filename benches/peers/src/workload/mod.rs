//! The stream of events and queries that all systems get alike.
//!
//! A workload is generated once and kept as numbers: each distinct block is stored once, and requests and events are
//! spans of block numbers. Events get their owned form just before they are handed over, outside the clock.

mod cache;
mod generated;
mod recorder;
mod store;
mod trace;

use std::ops::Range;
use std::path::PathBuf;

use kvleap::trace::TraceError;
use kvleap::{Block, Event, EventData, Worker};

pub use generated::mix;

/// Every workload by name, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The conversation trace in blocks of 16 tokens, on 128 workers of 16,384 blocks.
    Conversation,
    /// The agentic trace in blocks of 64 tokens, played four times, on 32 workers of 32,768 blocks.
    Agentic,
    /// 1,000 workers of 2,048 blocks, with one system prompt and private conversations after it.
    Wide,
    /// The workload `wide` with 4,096 workers.
    Wide4k,
    /// Long conversations whose turns go to random workers, with churn, forks and holes.
    Fragmented,
    /// The conversation trace, with queries that match no block.
    Miss,
    /// The conversation trace in its own blocks of 512 tokens.
    Short,
}

impl Name {
    /// Returns the name as the command line spells it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Agentic => "agentic",
            Self::Wide => "wide",
            Self::Wide4k => "wide4k",
            Self::Fragmented => "fragmented",
            Self::Miss => "miss",
            Self::Short => "short",
        }
    }

    /// Returns the path of the trace that the workload plays, if it plays one.
    pub fn trace(self, source: &Source) -> Option<PathBuf> {
        match self {
            Self::Conversation | Self::Miss | Self::Short => Some(source.conversation()),
            Self::Agentic => Some(source.agentic()),
            Self::Wide | Self::Wide4k | Self::Fragmented => None,
        }
    }
}

/// Where the traces are, and how much of a workload is generated.
#[derive(Clone, Debug)]
pub struct Source {
    /// Replaces the trace of every workload that plays one.
    pub trace: Option<PathBuf>,
    /// The directory with the traces, under their own names.
    pub traces: PathBuf,
    /// Whether workloads are small, for a smoke test.
    pub quick: bool,
}

/// Events and queries in the order in which they happen.
pub struct Workload {
    /// How many workers send events; they are numbered from 0.
    pub workers: u32,
    /// Tokens per block, for the systems that need to know.
    pub block_size: u32,
    blocks: Vec<Block>,
    /// Block numbers, of which requests and events are spans.
    numbers: Vec<u32>,
    steps: Vec<Step>,
    changes: Vec<Change>,
    /// The shortest stream of stores that builds the final state.
    last: Vec<Change>,
    /// Blocks held in the end, summed over the workers.
    pub held: u64,
    /// Distinct blocks that any worker holds in the end.
    pub distinct: u64,
    /// Whether queries are changed so that they match nothing.
    miss: bool,
}

/// A request: its query, then the events that its worker sends because of it.
#[derive(Clone)]
struct Step {
    query: Range<u32>,
    changes: Range<u32>,
}

#[derive(Clone)]
struct Change {
    worker: u32,
    /// The event's number, counted for each worker.
    id: u32,
    kind: Kind,
    blocks: Range<u32>,
}

#[derive(Clone, Copy)]
enum Kind {
    Stored { parent: Option<u32> },
    Removed,
}

impl Workload {
    /// Generates the workload `name`, which is the same every time.
    ///
    /// # Errors
    /// If its trace cannot be read.
    pub fn generate(name: Name, source: &Source) -> Result<Self, TraceError> {
        match name {
            Name::Conversation => trace::conversation(source),
            Name::Agentic => trace::agentic(source),
            Name::Wide => Ok(generated::wide(if source.quick { 200 } else { 1_000 }, source.quick)),
            Name::Wide4k => Ok(generated::wide(if source.quick { 1_100 } else { 4_096 }, source.quick)),
            Name::Fragmented => Ok(generated::fragmented(source.quick)),
            Name::Miss => Ok(Self { miss: true, ..trace::conversation(source)? }),
            Name::Short => trace::short(source),
        }
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> usize {
        self.steps.len()
    }

    /// Writes the local hashes of request `step` into `out`.
    pub fn query(&self, step: usize, out: &mut Vec<u64>) {
        // Any constant will do, because no two generated hashes differ in exactly these bits.
        let mask = if self.miss { 0x5bd1_e995_9e37_79b9 } else { 0 };
        out.clear();
        out.extend(self.names(&self.steps[step].query).iter().map(|&b| self.blocks[b as usize].local ^ mask));
    }

    /// Returns the events that follow the requests in `steps`.
    pub fn events(&self, steps: Range<usize>) -> impl Iterator<Item = Event> + '_ {
        let range = match steps.clone().next_back() {
            Some(last) => self.steps[steps.start].changes.start..self.steps[last].changes.end,
            None => 0..0,
        };
        self.changes[range.start as usize..range.end as usize].iter().map(|change| self.event(change))
    }

    /// Returns the events that build the final state in an empty index.
    pub fn final_events(&self) -> impl Iterator<Item = Event> + '_ {
        self.last.iter().map(|change| self.event(change))
    }

    fn names(&self, span: &Range<u32>) -> &[u32] {
        &self.numbers[span.start as usize..span.end as usize]
    }

    fn event(&self, change: &Change) -> Event {
        let blocks = self.names(&change.blocks).iter().map(|&number| self.blocks[number as usize]);
        let data = match change.kind {
            Kind::Stored { parent } => EventData::Stored {
                parent: parent.map(|number| self.blocks[number as usize].sequence),
                blocks: blocks.collect(),
            },
            Kind::Removed => EventData::Removed { blocks: blocks.map(|block| block.sequence).collect() },
        };
        Event { worker: Worker::new(change.worker.into(), 0), id: change.id.into(), data }
    }
}

#[cfg(test)]
mod tests {
    use kvleap::baseline::reference::Reference;

    use super::*;

    fn quick(name: Name) -> Workload {
        Workload::generate(name, &Source { trace: None, traces: PathBuf::new(), quick: true }).expect("no trace needed")
    }

    fn model(events: impl Iterator<Item = Event>) -> Reference {
        let mut model = Reference::new();
        events.for_each(|event| model.apply(&event).expect("a well-formed workload"));
        model
    }

    #[test]
    fn the_final_events_build_what_the_stream_leaves() {
        for name in [Name::Wide, Name::Fragmented] {
            let workload = quick(name);
            let streamed = model(workload.events(0..workload.requests()));
            let built = model(workload.final_events());
            let mut query = Vec::new();
            for step in 0..workload.requests() {
                workload.query(step, &mut query);
                assert_eq!(built.find(&query), streamed.find(&query), "request {step} of {}", name.text());
            }
        }
    }

    #[test]
    fn a_file_holds_the_whole_workload() {
        let workload = quick(Name::Fragmented);
        let path = std::env::temp_dir().join(format!("kvleap-peers-test-{}", std::process::id()));
        workload.save(&path).expect("the directory is writable");
        let loaded = Workload::load(&path).expect("the file is complete");
        std::fs::remove_file(&path).expect("the file can be removed");
        assert!(loaded.events(0..loaded.requests()).eq(workload.events(0..workload.requests())));
        assert!(loaded.final_events().eq(workload.final_events()));
        assert_eq!((loaded.held, loaded.distinct), (workload.held, workload.distinct));
    }
}
