//! Rounds of random traffic with random options, every one with writers, readers, exports and imports at the same time.
//! Readers' answers are judged by the literal reference at the watermarks that they report.
//!
//! `KVLEAP_SOAK_SECONDS=1200 cargo test --release --features baseline --test soak` goes on for twenty minutes. It stops
//! at the first difference, and prints the round's seed and the shortest list of events that leads to it.
//! `KVLEAP_SOAK_SEED=seed` repeats a round, though not the timing of its threads.
#![cfg(feature = "baseline")]

use std::io::Write;
use std::time::{Duration, Instant};

use judge::{Counts, Wrong, judge};
use plan::Plan;
use round::{Record, play};
use shrink::shorten;

#[path = "../common"]
mod common {
    pub(crate) mod draw;
    pub(crate) mod ledger;
    pub(crate) mod shards;
    pub(crate) mod traffic;
}
mod judge;
mod plan;
mod round;
mod shrink;

/// How many rounds are played unless a time is set.
const ROUNDS: u64 = 12;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("the setting is a number"))
}

/// Tells whoever waits, on standard error, also while the test harness keeps back what tests print.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says which round failed, however it does.
struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&format!("KVLEAP_SOAK_SEED={} begins with this round", self.0));
        }
    }
}

#[test]
fn every_answer_is_exact_at_its_watermark() {
    let seconds = setting("KVLEAP_SOAK_SECONDS");
    let first = setting("KVLEAP_SOAK_SEED").unwrap_or(1);
    let start = Instant::now();
    let mut told = Instant::now();
    let mut counts = Counts::default();
    for seed in first.. {
        let over = match seconds {
            Some(seconds) => start.elapsed() >= Duration::from_secs(seconds),
            None => seed - first >= ROUNDS,
        };
        if over {
            break;
        }
        if seconds.is_some() && told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            tell(&format!("{} s: {counts}", start.elapsed().as_secs()));
        }
        let _failing = Failing(seed);
        let plan = Plan::draw(seed);
        let record = play(&plan);
        if let Err(wrong) = judge(&plan, &record, &mut counts) {
            explain(&plan, &record, &wrong);
            panic!("a shard is wrong, see above");
        }
    }
    tell(&format!("from seed {first} in {} s: {counts}", start.elapsed().as_secs()));
}

/// Prints the shortest list of events that leads to what is wrong.
fn explain(plan: &Plan, record: &Record, wrong: &Wrong) {
    tell(&format!("{plan:?}"));
    let said = &record.said[wrong.shard][..wrong.told];
    std::panic::set_hook(Box::new(|_| {}));
    let short = shorten(plan, said, wrong);
    drop(std::panic::take_hook());
    let (query, answers) = if let Some(short) = short {
        tell(&format!("{} messages, published every {}:", short.said.len(), short.publish));
        short.said.iter().for_each(|said| tell(&format!("    {said:?}")));
        (short.query, short.answers)
    } else {
        let path = std::env::temp_dir().join(format!("kvleap-soak-{}.txt", plan.seed));
        let _ = std::fs::write(&path, format!("{said:#?}"));
        tell(&format!("only with threads; the {} messages are in {}", said.len(), path.display()));
        (wrong.query.clone(), wrong.answers.clone())
    };
    match answers {
        Some((answer, expected)) => tell(&format!("query: {query:?}\nanswer: {answer:?}\nexpected: {expected:?}")),
        None => tell("the index panics, or its export or what it says of itself is wrong"),
    }
}
