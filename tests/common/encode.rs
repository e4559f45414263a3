//! Events and batches in msgpack, as an engine would write them.

use rmp::encode::{write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};

pub(crate) fn batch(events: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, 2).expect("memory");
    write_f64(&mut bytes, 1.0).expect("memory");
    write_array_len(&mut bytes, events.len() as u32).expect("memory");
    bytes.extend(events.concat());
    bytes
}

pub(crate) fn integers(bytes: &mut Vec<u8>, integers: &[u64]) {
    write_array_len(bytes, integers.len() as u32).expect("memory");
    for &integer in integers {
        write_uint(bytes, integer).expect("memory");
    }
}

/// Encodes a store in map form, with `more` fields in front of the usual ones.
pub(crate) fn stored(
    parent: Option<u64>,
    hashes: &[u64],
    tokens: &[u64],
    block_size: u64,
    more: &[(&str, &str)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_map_len(&mut bytes, 5 + more.len() as u32).expect("memory");
    for (key, value) in more {
        write_str(&mut bytes, key).expect("memory");
        write_str(&mut bytes, value).expect("memory");
    }
    write_str(&mut bytes, "block_hashes").expect("memory");
    integers(&mut bytes, hashes);
    write_str(&mut bytes, "parent_block_hash").expect("memory");
    match parent {
        None => write_nil(&mut bytes).expect("memory"),
        Some(parent) => {
            write_uint(&mut bytes, parent).expect("memory");
        }
    }
    write_str(&mut bytes, "token_ids").expect("memory");
    integers(&mut bytes, tokens);
    write_str(&mut bytes, "block_size").expect("memory");
    write_uint(&mut bytes, block_size).expect("memory");
    write_str(&mut bytes, "type").expect("memory");
    write_str(&mut bytes, "BlockStored").expect("memory");
    bytes
}

pub(crate) fn removed(hashes: &[u64], medium: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, 3).expect("memory");
    write_str(&mut bytes, "BlockRemoved").expect("memory");
    integers(&mut bytes, hashes);
    write_str(&mut bytes, medium).expect("memory");
    bytes
}

pub(crate) fn cleared() -> Vec<u8> {
    let mut bytes = Vec::new();
    write_array_len(&mut bytes, 1).expect("memory");
    write_str(&mut bytes, "AllBlocksCleared").expect("memory");
    bytes
}
