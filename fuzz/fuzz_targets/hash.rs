//! Compares hashing with its formulae, which are spelt out here: all tokens at once, block by block, and as a prompt
//! that grows by arbitrary pieces.
#![no_main]

use arbitrary::Arbitrary;
use kvleap::{BlockHasher, HashKey, Prompt};
use libfuzzer_sys::fuzz_target;
use siphasher::sip::SipHasher24;
use twox_hash::XxHash3_64;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// The block size minus one.
    block_size: u8,
    key: Option<[u8; 16]>,
    eagle: bool,
    lora: &'a str,
    namespace: &'a str,
    mm_hashes: Vec<u64>,
    cuts: Vec<u8>,
    tokens: Vec<u32>,
}

fn keyed(key: [u8; 16], bytes: &[u8]) -> u64 {
    SipHasher24::new_with_key(&key).hash(bytes)
}

fn literal(input: &Input<'_>, block: &[u32], mm_hashes: &[u64]) -> u64 {
    if let Some(key) = input.key {
        let name = |kind: u64, name: &str| match name {
            "" => 0,
            _ => keyed(key, &[&kind.to_le_bytes(), name.as_bytes()].concat()),
        };
        let mut bytes = Vec::new();
        for number in [0, name(1, input.lora), name(2, input.namespace), mm_hashes.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(block.iter().flat_map(|token| token.to_le_bytes()));
        bytes.extend(mm_hashes.iter().flat_map(|hash| hash.to_le_bytes()));
        return keyed(key, &bytes);
    }
    let mut seed = 1337_u64;
    if !input.lora.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(0, input.lora.as_bytes()));
    }
    if !input.namespace.is_empty() {
        seed = seed.wrapping_add(XxHash3_64::oneshot_with_seed(1, input.namespace.as_bytes()));
    }
    let mut bytes = Vec::new();
    for token in block {
        bytes.extend(token.to_le_bytes());
    }
    for hash in mm_hashes {
        bytes.extend(hash.to_le_bytes());
    }
    XxHash3_64::oneshot_with_seed(seed, &bytes)
}

fuzz_target!(|input: Input<'_>| {
    let block_size = usize::from(input.block_size) + 1;
    let hasher = match input.key {
        None => BlockHasher::new(block_size as u32),
        Some(key) => BlockHasher::keyed(block_size as u32, HashKey::new(key)),
    };
    let hasher = hasher.unwrap();
    let hasher = hasher.eagle(input.eagle).lora(input.lora).namespace(input.namespace);

    let mut expected = Vec::new();
    let mut start = 0;
    while let Some(block) = input.tokens.get(start..start + block_size + usize::from(input.eagle)) {
        expected.push(literal(&input, block, &[]));
        assert_eq!(hasher.hash_block(block), expected[expected.len() - 1]);
        start += block_size;
    }
    assert_eq!(hasher.hash(&input.tokens), expected);

    let mut ascending = input.mm_hashes.clone();
    ascending.sort_unstable();
    let with_objects = hasher.hash_block_mm(&input.tokens, &input.mm_hashes);
    assert_eq!(with_objects, literal(&input, &input.tokens, &ascending));

    let mut prompt = Prompt::new(hasher);
    let mut rest = &input.tokens[..];
    for &cut in &input.cuts {
        let (piece, later) = rest.split_at(rest.len().min(cut.into()));
        prompt.push(piece);
        rest = later;
    }
    prompt.push(rest);
    assert_eq!(prompt.hashes(), expected);
    assert_eq!(prompt.tokens(), input.tokens.len());
});
