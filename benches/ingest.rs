//! Measures how fast the service decodes an engine's batches, hashes their blocks of 16 tokens, and hands them to the
//! index. Events are encoded as maps or as arrays.

mod common;
#[path = "../tests/common/model.rs"]
#[allow(dead_code, reason = "this bench looks nothing up")]
mod model;

use criterion::{Criterion, Throughput, criterion_group};
use kvleap::Worker;
use kvleap::service::ingest::apply;
use kvleap::service::publisher::{Count, Publisher, Skip};
use rmp::encode::{ByteBuf, write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};

/// Tokens per block.
const TOKENS: u64 = 16;
/// Blocks per event.
const BLOCKS: u64 = 32;
/// Events per batch.
const EVENTS: u64 = 4;
/// Different batches, which are applied in turn.
const BATCHES: u64 = 500;

const KEYS: [&str; 8] =
    ["block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name", "extra_keys"];

/// Writes an event that stores the first blocks of a sequence, as vLLM encodes it.
fn event(to: &mut ByteBuf, number: u64, map: bool) -> Result<(), Box<dyn std::error::Error>> {
    if map {
        write_map_len(to, KEYS.len() as u32 + 1)?;
        write_str(to, "type")?;
    } else {
        write_array_len(to, KEYS.len() as u32 + 1)?;
    }
    write_str(to, "BlockStored")?;
    let mut random = fastrand::Rng::with_seed(number);
    for key in KEYS {
        if map {
            write_str(to, key)?;
        }
        match key {
            "block_hashes" => {
                write_array_len(to, BLOCKS as u32)?;
                for _ in 0..BLOCKS {
                    write_uint(to, random.u64(..))?;
                }
            }
            "token_ids" => {
                write_array_len(to, (BLOCKS * TOKENS) as u32)?;
                for _ in 0..BLOCKS * TOKENS {
                    write_uint(to, random.u64(..128_000))?;
                }
            }
            "block_size" => drop(write_uint(to, TOKENS)?),
            "medium" => write_str(to, "GPU")?,
            "extra_keys" => {
                write_array_len(to, BLOCKS as u32)?;
                for _ in 0..BLOCKS {
                    write_nil(to)?;
                }
            }
            _ => write_nil(to)?,
        }
    }
    Ok(())
}

fn batch(number: u64, map: bool) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut to = ByteBuf::new();
    write_array_len(&mut to, 3)?;
    write_f64(&mut to, 1.0)?;
    write_array_len(&mut to, EVENTS as u32)?;
    for event_number in 0..EVENTS {
        event(&mut to, number * EVENTS + event_number, map)?;
    }
    write_uint(&mut to, 0)?;
    Ok(to.into_vec())
}

fn ingest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ingest");
    group.throughput(Throughput::Elements(BLOCKS * EVENTS));
    for (name, map) in [("map", true), ("array", false)] {
        let model = common::pinned::apart(|| model::model(TOKENS as u32));
        let rank = Publisher::zmq(Worker::new(1, 0), "tcp://127.0.0.1:5557");
        let batches: Result<Vec<_>, _> = (0..BATCHES).map(|number| batch(number, map)).collect();
        let batches = batches.expect("writing to memory cannot fail");
        let mut sequence = 0;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                apply(&model, &rank, sequence, &batches[(sequence % BATCHES) as usize]).expect("the index is open");
                sequence += 1;
            });
        });
        assert_eq!(rank.count(Count::Blocks), sequence * BLOCKS * EVENTS);
        assert_eq!(Skip::ALL.map(|why| rank.skipped(why)).iter().sum::<u64>(), 0);
        let held = model::held(&model)[&Worker::new(1, 0)].len() as u64;
        assert_eq!(held, sequence.min(BATCHES) * BLOCKS * EVENTS);
    }
}

criterion_group!(benches, ingest);
fn main() -> std::process::ExitCode {
    common::pinned::criterion(benches)
}
