//! Encoding events as vLLM does.

use bytes::Bytes;
use fastrand::Rng;
use rmp::encode::{ByteBuf, write_array_len, write_f64, write_map_len, write_nil, write_str, write_uint};

use crate::event::{Event, EventData};

/// The form of events on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Maps with the tag under `type`, as in vLLM 0.24 and later.
    Map,
    /// Arrays that begin with the tag, as in vLLM 0.22 and 0.23.
    Array,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Map, Self::Array];

    /// Returns `map` or `array`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Array => "array",
        }
    }

    /// Encodes a batch of events about one rank.
    pub(super) fn batch(self, ts: f64, rank: u16, block_size: u32, events: &[Event]) -> Bytes {
        let mut to = Encoder { bytes: ByteBuf::new(), form: self };
        to.array(3);
        to.float(ts);
        to.array(events.len());
        for event in events {
            match &event.data {
                EventData::Stored { parent, blocks } => {
                    to.event("BlockStored", 11);
                    to.key("block_hashes");
                    to.integers(blocks.iter().map(|block| block.sequence));
                    to.key("parent_block_hash");
                    match parent {
                        None => to.nil(),
                        Some(parent) => to.integer(*parent),
                    }
                    to.key("token_ids");
                    let tokens: Vec<u32> = blocks.iter().flat_map(|block| tokens(block.local, block_size)).collect();
                    to.integers(tokens.into_iter().map(u64::from));
                    to.key("block_size");
                    to.integer(block_size.into());
                    to.key("lora_id");
                    to.nil();
                    to.key("medium");
                    to.str("GPU");
                    to.key("lora_name");
                    to.nil();
                    to.key("extra_keys");
                    to.array(blocks.len());
                    for _ in blocks {
                        to.nil();
                    }
                    to.key("group_idx");
                    to.integer(0);
                    to.key("kv_cache_spec_kind");
                    to.str("full_attention");
                    to.key("kv_cache_spec_sliding_window");
                    to.nil();
                }
                EventData::Removed { blocks } => {
                    to.event("BlockRemoved", 3);
                    to.key("block_hashes");
                    to.integers(blocks.iter().copied());
                    to.key("medium");
                    to.str("GPU");
                    to.key("group_idx");
                    to.integer(0);
                }
                _ => to.event("AllBlocksCleared", 0),
            }
        }
        to.integer(rank.into());
        to.bytes.into_vec().into()
    }
}

const MEMORY: &str = "writing to memory does not fail";

struct Encoder {
    bytes: ByteBuf,
    form: Form,
}

impl Encoder {
    /// Begins an event with this many fields.
    fn event(&mut self, tag: &str, fields: usize) {
        match self.form {
            Form::Map => {
                write_map_len(&mut self.bytes, fields as u32 + 1).expect(MEMORY);
                self.str("type");
            }
            Form::Array => self.array(fields + 1),
        }
        self.str(tag);
    }

    fn key(&mut self, name: &str) {
        if self.form == Form::Map {
            self.str(name);
        }
    }

    fn array(&mut self, length: usize) {
        write_array_len(&mut self.bytes, length as u32).expect(MEMORY);
    }

    fn integers(&mut self, values: impl ExactSizeIterator<Item = u64>) {
        self.array(values.len());
        for value in values {
            self.integer(value);
        }
    }

    fn integer(&mut self, value: u64) {
        write_uint(&mut self.bytes, value).expect(MEMORY);
    }

    fn float(&mut self, value: f64) {
        write_f64(&mut self.bytes, value).expect(MEMORY);
    }

    fn str(&mut self, value: &str) {
        write_str(&mut self.bytes, value).expect(MEMORY);
    }

    fn nil(&mut self) {
        write_nil(&mut self.bytes).expect(MEMORY);
    }
}

/// Returns the tokens of a block of the workload, which itself has only a number in their place.
pub fn tokens(local: u64, block_size: u32) -> Vec<u32> {
    let mut random = Rng::with_seed(local);
    (0..block_size).map(|_| random.u32(..128_000)).collect()
}
