//! Publishes arbitrary batches, which must neither panic nor allocate more than the bound. Every batch must be counted,
//! and the index must still have an export.
//!
//! A batch is either arbitrary bytes, or a few events with few different values, of which some bytes are overwritten.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use kvleap::service::ingest::{DynamoEvent, apply, dynamo_events};
use kvleap::service::publisher::{Count, Publisher};
use kvleap::service::wire::{Batch, MAX_EXPANSION};
use kvleap::service::{Key, Model, Models};
use kvleap::{Index, Worker};
use libfuzzer_sys::fuzz_target;
use rmp::encode::{ByteBuf, write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};

#[derive(Arbitrary, Debug)]
struct Input {
    batches: Vec<Said>,
    json: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Said {
    Bytes(Vec<u8>),
    Events { events: Vec<Event>, rank: Option<u8>, noise: Vec<(u16, u8)> },
}

#[derive(Arbitrary, Debug)]
struct Event {
    tag: u8,
    hashes: Vec<u8>,
    parent: Option<u8>,
    tokens: Vec<u8>,
    bigrams: bool,
    block_size: u8,
    medium: u8,
    salt: bool,
    group: Option<u8>,
}

const TAGS: [&str; 4] = ["BlockStored", "BlockRemoved", "AllBlocksCleared", "BlockForgotten"];
const MEDIA: [&str; 5] = ["GPU", "CPU", "DISK", "EXTERNAL", ""];
const KINDS: [&str; 3] = ["full_attention", "mamba", "mla_attention"];

fn integers(to: &mut ByteBuf, integers: impl ExactSizeIterator<Item = u64>) {
    write_array_len(to, integers.len() as u32).unwrap();
    integers.for_each(|integer| {
        write_uint(to, integer).unwrap();
    });
}

fn encode(event: &Event, to: &mut ByteBuf) {
    write_map_len(to, 6 + u32::from(event.salt) + 2 * u32::from(event.group.is_some())).unwrap();
    write_str(to, "type").unwrap();
    write_str(to, TAGS[usize::from(event.tag) % TAGS.len()]).unwrap();
    write_str(to, "block_hashes").unwrap();
    integers(to, event.hashes.iter().map(|&hash| u64::from(hash % 16)));
    write_str(to, "parent_block_hash").unwrap();
    match event.parent {
        None => write_nil(to).unwrap(),
        Some(parent) => drop(write_uint(to, u64::from(parent % 16)).unwrap()),
    }
    write_str(to, "token_ids").unwrap();
    if event.bigrams {
        write_array_len(to, event.tokens.len().saturating_sub(1) as u32).unwrap();
        for pair in event.tokens.windows(2) {
            integers(to, pair.iter().map(|&token| u64::from(token)));
        }
    } else {
        // Usually as many tokens as blocks, which is right for blocks of one token.
        let fitting = if event.block_size % 4 == 0 { event.tokens.len() } else { event.hashes.len() };
        integers(to, (0..fitting).map(|place| event.tokens.get(place).map_or(0, |&token| u64::from(token))));
    }
    write_str(to, "block_size").unwrap();
    write_uint(to, u64::from(event.block_size % 3)).unwrap();
    write_str(to, "medium").unwrap();
    write_str(to, MEDIA[usize::from(event.medium) % MEDIA.len()]).unwrap();
    if event.salt {
        write_str(to, "cache_salt").unwrap();
        write_str(to, "s").unwrap();
    }
    if let Some(group) = event.group {
        write_str(to, "group_idx").unwrap();
        write_uint(to, u64::from(group % 3)).unwrap();
        write_str(to, "kv_cache_spec_kind").unwrap();
        write_str(to, KINDS[usize::from(group / 3) % KINDS.len()]).unwrap();
    }
}

fn payload(said: &Said) -> (Vec<u8>, bool) {
    let (events, rank, noise) = match said {
        Said::Bytes(bytes) => return (bytes.clone(), false),
        Said::Events { events, rank, noise } => (events, rank, noise),
    };
    let mut to = ByteBuf::new();
    write_array_len(&mut to, 3).unwrap();
    write_f64(&mut to, 1.0).unwrap();
    write_array_len(&mut to, events.len() as u32).unwrap();
    events.iter().for_each(|event| encode(event, &mut to));
    match rank {
        None => write_nil(&mut to).unwrap(),
        Some(rank) => drop(write_uint(&mut to, u64::from(rank % 3)).unwrap()),
    }
    let mut bytes = to.into_vec();
    for &(place, byte) in noise {
        if let Some(there) = bytes.get_mut(usize::from(place)) {
            *there = byte;
        }
    }
    (bytes, noise.is_empty())
}

fn model() -> Arc<Model> {
    Models::new(Index::builder().seed(1), 1).get_or_add(&Key::new("m"), 1).unwrap()
}

fuzz_target!(|input: Input| {
    let model = model();
    let rank = Publisher::zmq(Worker::new(7, 0), "tcp://127.0.0.1:5557");
    for (sequence, said) in (0..).zip(&input.batches) {
        let (bytes, intact) = payload(said);
        match Batch::decode(&bytes) {
            Ok(batch) => assert!(batch.bytes() <= MAX_EXPANSION * (bytes.len() + 4)),
            Err(error) => assert!(!intact, "{error}"),
        }
        apply(&model, &rank, sequence, &bytes).unwrap();
    }
    assert_eq!(rank.count(Count::Batches), input.batches.len() as u64);
    if let Ok(events) = serde_json::from_slice::<Vec<DynamoEvent>>(&input.json) {
        dynamo_events(&model, &rank, &events).unwrap();
    }
    model.index().export().unwrap();
    model.index().shutdown().unwrap();
});
