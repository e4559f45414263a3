//! Events as engines publish them, in map form, and batches of them in msgpack.

use serde_json::{Value, json};

/// Returns a store of blocks of 4 tokens in device memory, as vLLM publishes it. `more` adds fields or replaces them.
pub(crate) fn stored(hashes: &[u64], parent: Option<u64>, tokens: &[u32], more: Value) -> Value {
    let mut event = json!({
        "type": "BlockStored", "block_hashes": hashes, "parent_block_hash": parent, "token_ids": tokens,
        "block_size": 4, "lora_id": null, "medium": "GPU", "lora_name": null,
    });
    let (Value::Object(event_fields), Value::Object(more)) = (&mut event, more) else { unreachable!("two objects") };
    event_fields.extend(more);
    event
}

pub(crate) fn removed(hashes: &[u64], medium: &str) -> Value {
    json!({"type": "BlockRemoved", "block_hashes": hashes, "medium": medium})
}

pub(crate) fn cleared() -> Value {
    json!({"type": "AllBlocksCleared"})
}

/// Encodes a batch that names this data-parallel rank, or none.
pub(crate) fn batch(events: &[Value], dp_rank: Option<u32>) -> Vec<u8> {
    rmp_serde::to_vec(&json!([1.5, events, dp_rank])).expect("plain values")
}
