//! A thread of one's own: a program that already has a thread for its workers' events applies and publishes there.
//!
//! `cargo run --example own_thread` feeds such a thread, looks up from two others, and checks what they see.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kvleap::{Block, BlockHasher, Event, EventData, Index, Matches, Worker};

/// While events keep coming, publish this often: fresher answers against a little of the thread's time.
const INTERVAL: Duration = Duration::from_micros(100);

fn main() -> Result<(), Box<dyn Error>> {
    // One shard without a thread and without a mailbox: the queue is the program's own.
    let (mut writer, reader) = Index::builder().build_local()?;
    let (sender, events) = mpsc::sync_channel(1024);

    let writing = thread::spawn(move || {
        let mut rejected = 0;
        while let Ok(first) = events.recv() {
            let mut published = Instant::now();
            for event in std::iter::once(first).chain(events.try_iter()) {
                // A rejected event changes nothing; the worker's status counts it as well.
                rejected += u32::from(writer.apply(&event).is_err());
                if published.elapsed() >= INTERVAL {
                    writer.publish();
                    published = Instant::now();
                }
            }
            writer.publish();
            writer.catch_up(); // nothing waits: a good moment to bring the spare snapshots up to date
        }
        (writer.status().0.applied_events, rejected)
    });

    // 32 workers store the same 64 blocks, eight at a time and under names of their own.
    let tokens: Vec<u32> = (0..64 * 16).collect();
    let prompt = BlockHasher::new(16)?.hash(&tokens);
    let looking: Vec<_> = (0..2)
        .map(|_| {
            let (reader, prompt) = (reader.clone(), prompt.clone());
            thread::spawn(move || look(&prompt, |matches| reader.find(&prompt, matches)))
        })
        .collect();
    for chunk in 0..8 {
        for id in 0..32_u64 {
            let name = |index: usize| id << 32 | index as u64;
            let range = 8 * chunk..8 * chunk + 8;
            let blocks = range.clone().map(|index| Block { sequence: name(index), local: prompt[index] }).collect();
            let parent = range.start.checked_sub(1).map(name);
            let data = EventData::Stored { parent, blocks };
            sender.send(Event { worker: Worker::new(id, 0), id: chunk as u64, data })?;
        }
    }
    drop(sender);

    let (applied, rejected) = writing.join().expect("the writer does not panic");
    assert_eq!((applied, rejected), (8 * 32, 0));
    for looking in looking {
        assert!(looking.join().expect("a reader does not panic") > 0);
    }
    Ok(())
}

/// Looks up until all 32 workers hold all of the prompt. Returns the number of lookups that this took.
fn look(prompt: &[u64], find: impl Fn(&mut Matches)) -> u64 {
    let mut matches = Matches::new();
    let (mut lookups, mut watermark) = (0, 0);
    loop {
        find(&mut matches);
        lookups += 1;
        let seen = matches.watermarks().next().map_or(0, |watermark| watermark.events);
        assert!(seen >= watermark, "a reader's answers never go back");
        watermark = seen;
        // The first layer: the workers that hold the most.
        let best = matches.best().map(|layer| (layer.depth() as usize, layer.workers().count()));
        if best == Some((prompt.len(), 32)) {
            return lookups;
        }
    }
}
