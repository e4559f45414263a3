//! Hashes equal those of published systems, for every vector of the wire reference.

use kvleap::hash::sequence_hashes;
use kvleap::{BlockHasher, Prompt};
use serde_json::Value;

use crate::common::shared;

/// Returns the integers of a JSON array.
fn integers<T: TryFrom<u64>>(array: &Value) -> Vec<T> {
    let integer = |value: &Value| T::try_from(value.as_u64()?).ok();
    array.as_array().expect("an array").iter().map(|value| integer(value).expect("an integer in range")).collect()
}

fn hasher(vector: &Value) -> BlockHasher {
    let block_size = vector["block_size"].as_u64().and_then(|size| u32::try_from(size).ok()).expect("a block size");
    let mut hasher = BlockHasher::new(block_size).expect("a block size above 0");
    for (option, value) in vector["options"].as_object().expect("options") {
        hasher = match option.as_str() {
            "lora" => hasher.lora(value.as_str().expect("a name")),
            "namespace" => hasher.namespace(value.as_str().expect("a name")),
            "eagle" => hasher.eagle(value.as_bool().expect("a flag")),
            "mm" => hasher,
            _ => panic!("{}: unknown option {option}", vector["name"]),
        };
    }
    hasher
}

#[test]
fn hashes_equal_every_published_vector() {
    let Some(path) = shared::shared("reference/wire_vectors.json") else { return };
    let text = std::fs::read_to_string(path).expect("readable vectors");
    let all: Value = serde_json::from_str(&text).expect("vectors in JSON");
    let vectors = all["dynamo"].as_array().expect("vectors of Dynamo");
    assert!(vectors.len() >= 12, "only {} vectors", vectors.len());
    for vector in vectors {
        let (name, hasher) = (&vector["name"], hasher(vector));
        let tokens: Vec<u32> = integers(&vector["tokens"]);
        let locals: Vec<u64> = integers(&vector["block_hashes"]);

        if let Some(objects) = vector["options"]["mm"].as_array() {
            let blocks = tokens.chunks_exact(hasher.block_size() as usize);
            let found: Vec<_> = blocks
                .zip(objects)
                .map(|(block, objects)| match objects {
                    Value::Null => hasher.hash_block(block),
                    some => hasher.hash_block_mm(block, &integers(some)),
                })
                .collect();
            assert_eq!(found, locals, "{name}, with multimodal objects");
        } else {
            assert_eq!(hasher.hash(&tokens), locals, "{name}");
            let mut prompt = Prompt::new(hasher);
            tokens.chunks(3).for_each(|piece| prompt.push(piece));
            assert_eq!(prompt.hashes(), locals, "{name}, three tokens at a time");
        }
        let sequence: Vec<u64> = integers(&vector["sequence_hashes"]);
        assert_eq!(sequence_hashes(locals).collect::<Vec<_>>(), sequence, "{name}, sequence hashes");
    }
}
