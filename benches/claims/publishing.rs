//! Checks the claim that publishing 1,000 times a second takes little of the writer's time, however many blocks are
//! held.

use std::time::{Duration, Instant};

use crate::Scale;
use crate::common::{apply, chain, index, removed, stored};

const WORKERS: u64 = 64;
/// Blocks of a conversation, which one event stores and one event removes, so that it is one run. What a publication
/// costs depends on the number of runs, so short runs are the hard case. In the conversation trace, a run has 450
/// blocks on average.
const LENS: [u64; 2] = [64, 512];
const PERIOD: Duration = Duration::from_millis(1);

pub(crate) fn measure(scale: Scale) {
    for len in LENS {
        let held = scale.pick(10_000_000, 100_000);
        let share = share(scale, held, len);
        scale.report(&format!("share of time publishing every ms, {held} blocks in runs of {len}"), share, 3.0, " %");
    }
}

/// Returns the share of the writer's time that publishing takes, in per cent.
fn share(scale: Scale, held: u64, len: u64) -> f64 {
    let conversations = held / len;
    let conversation = |number: u64| chain(number * len..(number + 1) * len);
    let (mut writer, reader) = index();
    let mut number = 0;
    while number < conversations {
        apply(&mut writer, [&stored(number % WORKERS, None, &conversation(number))]);
        number += 1;
    }
    writer.publish();
    // At full speed, the writer replaces the oldest conversation with a new one. The time for making the events does
    // not count.
    let (mut applying, mut publishing, mut publications) = (Duration::ZERO, Duration::ZERO, 0);
    let mut since = Duration::ZERO;
    while publications < scale.pick(5_000, 20) {
        let new = stored(number % WORKERS, None, &conversation(number));
        let old = number - conversations;
        let events = [removed(old % WORKERS, &conversation(old)), new];
        number += 1;
        let start = Instant::now();
        apply(&mut writer, &events);
        let applied = start.elapsed();
        applying += applied;
        since += applied;
        if since >= PERIOD {
            let start = Instant::now();
            writer.publish();
            since = start.elapsed();
            publishing += since;
            publications += 1;
        }
    }
    let mut matches = kvleap::Matches::new();
    reader.find(&conversation(number - conversations / 2), &mut matches);
    assert_eq!(matches.iter().map(|(_, depth)| u64::from(depth)).collect::<Vec<_>>(), [len]);
    100.0 * publishing.as_secs_f64() / (applying + publishing).as_secs_f64()
}
