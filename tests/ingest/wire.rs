//! Every published vector of the engines' wire formats, and what hostile input cannot do.

use std::collections::BTreeMap;

use kvleap::hash::mm_hash;
use kvleap::service::ingest::apply;
use kvleap::service::publisher::{Count, Skip};
use kvleap::service::wire::{Batch, Error, MAX_EXPANSION};
use kvleap::service::{Doubt, Doubts, Exactness, Model, Publisher, Tier};
use kvleap::{BlockHasher, Worker};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::encode;
use crate::common::model::{self, held, model};
use crate::common::shared;

/// The blocks that the vectors store: two of four tokens, and one more behind them.
const FIRST: u64 = 9_561_501_211_280_363_793;
const SECOND: u64 = 15_292_913_576_410_714_033;
const THIRD: u64 = 5;

fn hasher() -> BlockHasher {
    BlockHasher::new(4).expect("a block size above 0")
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

/// Returns the `engine_frames` of the vectors.
fn frames() -> Option<Value> {
    let path = shared::shared("reference/wire_vectors.json")?;
    let text = std::fs::read_to_string(path).expect("readable vectors");
    let mut all: Value = serde_json::from_str(&text).expect("vectors in JSON");
    Some(all["engine_frames"].take())
}

/// A publisher and the model that its batches are applied to.
struct Played {
    model: std::sync::Arc<Model>,
    publisher: Publisher,
    batches: u64,
}

impl Played {
    fn new() -> Self {
        Self { model: model(4), publisher: Publisher::zmq(Worker::new(7, 0), "tcp://127.0.0.1:5557"), batches: 0 }
    }

    fn play(&mut self, payload: &[u8]) {
        apply(&self.model, &self.publisher, self.batches, payload).expect("the index is there");
        self.batches += 1;
        assert_eq!(self.publisher.count(Count::Undecodable), 0, "{:?}", Batch::decode(payload));
        assert_eq!(self.publisher.skipped(Skip::Malformed), 0, "{:?}", Batch::decode(payload));
    }

    /// Returns the doubts about the publisher, except the one that there is no listener, which is always true here.
    fn doubts(&self) -> Doubts {
        self.publisher.doubts().without(Doubt::NotHeard.into())
    }

    /// Returns what a rank holds on a tier or a faster one.
    fn blocks(&self, rank: u32, tier: Tier) -> Vec<(u64, u64)> {
        let mut held: BTreeMap<_, _> = held(&self.model);
        held.remove(&tier.worker(Worker::new(7, rank))).unwrap_or_default().into_iter().collect()
    }
}

#[test]
fn every_vector_of_vllm_is_understood() {
    let Some(frames) = frames() else { return };
    let vectors = frames["vllm_redeclared"].as_array().expect("vectors of vLLM");
    let payload = |label: &str| {
        let found = vectors.iter().find(|vector| vector["label"].as_str().is_some_and(|at| at.starts_with(label)));
        let found = found.unwrap_or_else(|| panic!("no vector {label}"));
        hex(found["payload_hex"].as_str().expect("a payload"))
    };
    let tokens: Vec<u32> = (1..=8).collect();
    let plain = hasher().hash(&tokens);
    let two = vec![(FIRST, plain[0]), (SECOND, plain[1])];
    let played = |labels: &[&str]| {
        let mut played = Played::new();
        for label in labels {
            played.play(&payload(label));
        }
        played
    };
    let counted =
        |played: &Played| [Count::Stored, Count::Removed, Count::Cleared].map(|what| played.publisher.count(what));

    for cleared in ["L0  v0.8.5", "L1  0.10.2"] {
        let played = played(&[cleared]);
        assert_eq!((played.blocks(0, Tier::Device), counted(&played)), (vec![], [1, 1, 1]), "{cleared}");
    }
    for stored in ["L0b", "L6  0.24+", "L6  bytes hashes"] {
        assert_eq!(played(&[stored]).blocks(0, Tier::Device), two, "{stored}");
    }
    assert_eq!(played(&["L1  bytes"]).blocks(0, Tier::Device), two[1..]);

    let adapter = hasher().lora("my-lora").hash(&tokens);
    assert_eq!(played(&["L2"]).blocks(0, Tier::Device), [(FIRST, adapter[0]), (SECOND, adapter[1])]);

    let object = mm_hash("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    let with_object = hasher().namespace("tenant-a").hash_block_mm(&[9, 10, 11, 12], &[object]);
    assert_eq!(played(&["L3"]).blocks(0, Tier::Device), [(THIRD, with_object), (FIRST, plain[0]), (SECOND, plain[1])]);

    let hybrid = played(&["L5"]);
    assert_eq!(hybrid.blocks(1, Tier::Device), two[1..]);
    assert_eq!(hybrid.publisher.skipped(Skip::Group), 1);
    assert_eq!(hybrid.publisher.workers(), [Worker::new(7, 1)]);

    let salted = hasher().lora("my-lora").namespace("tenant-a").hash(&[9, 10, 11, 12]);
    let child = played(&["L6  0.24+", "L6  child"]);
    assert_eq!(child.blocks(0, Tier::Device), [(THIRD, salted[0]), two[0], two[1]]);

    for removed in ["L6  BlockRemoved", "LX"] {
        assert_eq!(played(&["L6  0.24+", removed]).blocks(0, Tier::Device), two[1..], "{removed}");
    }
    assert_eq!(played(&["L6  0.24+", "L6  AllBlocksCleared"]).blocks(0, Tier::Device), []);

    let mut offloaded = played(&["L6  0.24+", "L6  CPU offload", "L6  BlockRemoved"]);
    assert_eq!(offloaded.blocks(0, Tier::Device), two[1..]);
    assert_eq!(offloaded.blocks(0, Tier::Host), two, "the block that left the device is still in host memory");
    offloaded.play(&payload("L6  STORAGE"));
    assert_eq!((offloaded.publisher.skipped(Skip::Shared), offloaded.publisher.skipped(Skip::UnknownHash)), (1, 1));
    assert_eq!(played(&["L6  CPU offload"]).publisher.skipped(Skip::UnknownHash), 1, "its tokens are unknown");
}

#[test]
fn every_capture_of_sglang_is_understood() {
    let Some(frames) = frames() else { return };
    let first = 0x1122_3344_5566_7788;
    let second = (-0x0123_4567_89AB_CDEF_i64).cast_unsigned();
    let plain = hasher().hash(&[1, 2, 3, 4, 70_000, 6, 7, 8]);
    let two = vec![(first, plain[0]), (second, plain[1])];
    for (version, captures) in frames["sglang_real"].as_object().expect("captures of SGLang") {
        let payload = |number: usize| hex(captures["live"][number]["frames_hex"][2].as_str().expect("a payload"));
        let mut played = Played::new();
        played.play(&payload(0));
        assert_eq!(played.blocks(2, Tier::Device), two, "{version}");

        // The third block is hashed by bigrams, which no real engine mixes with plain blocks. In newer versions it is
        // in host memory and salted.
        played.play(&payload(1));
        let salt = if matches!(version.as_str(), "0.5.20" | "0.5.23") { "tenant-a" } else { "" };
        let third = hasher().namespace(salt).hash(&[8, 9, 10, 11]);
        assert_eq!((played.publisher.lookahead(), played.doubts()), (Some(0), Doubt::Hashing.into()));
        let three = [(THIRD, third[0]), two[0], two[1]];
        let (device, host) = (played.blocks(2, Tier::Device), played.blocks(2, Tier::Host));
        if version == "0.5.5" {
            assert_eq!((&device[..], &host[..]), (&three[..], &[][..]), "{version}");
        } else {
            assert_eq!((&device[..], &host[..]), (&two[..], &three[..]), "{version}");
        }
        played.play(&payload(2));
        let left = usize::from(version == "0.5.5");
        assert_eq!(played.blocks(2, Tier::Device).len(), left, "{version}");
        played.play(&payload(3));
        assert!(held(&played.model).is_empty(), "{version}");
        played.play(&payload(1));
        let bigrams = hasher().eagle(true).namespace(salt).hash(&[8, 9, 10, 11, 12]);
        let held = held(&played.model);
        assert!(held.is_empty(), "its parent is gone: {held:?} {bigrams:?}");
        assert_eq!(played.publisher.lookahead(), Some(1));
    }
}

/// One version sends a map with the salt where others send the adapter's name.
#[test]
fn a_salt_in_the_place_of_an_adapter_is_a_salt() {
    let payload =
        hex("93cb41d954fc401000009198ab426c6f636b53746f7265649105c0940102030404c0a347505581aa63616368655f73616c74\
         a874656e616e742d6100");
    let mut played = Played::new();
    played.play(&payload);
    assert_eq!(played.blocks(0, Tier::Device), [(5, hasher().namespace("tenant-a").hash(&[1, 2, 3, 4])[0])]);
}

#[test]
fn events_that_do_not_fit_are_left_out_and_counted() {
    let tokens: Vec<u64> = (1..=8).collect();
    let good = || encode::stored(None, &[1, 2], &tokens, 4, &[("kv_cache_spec_kind", "full_attention")]);
    let cases = [
        (encode::stored(None, &[3, 4], &tokens[..7], 4, &[]), Skip::Tokens, Some(Doubt::Misfit)),
        (encode::stored(None, &[3], &tokens, 4, &[]), Skip::Tokens, Some(Doubt::Misfit)),
        (encode::stored(None, &[3, 4, 5, 6], &tokens, 2, &[]), Skip::BlockSize, Some(Doubt::BlockSize)),
        (encode::stored(None, &[3, 3], &tokens, 4, &[]), Skip::Repeated, Some(Doubt::Repeated)),
        (encode::stored(Some(3), &[3, 4], &tokens, 4, &[]), Skip::Repeated, Some(Doubt::Repeated)),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("medium", "EXTERNAL")]), Skip::Shared, None),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("locality", "REMOTE")]), Skip::Shared, None),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("ownership", "kvcr")]), Skip::Shared, None),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("medium", "cuda:0")]), Skip::Medium, Some(Doubt::Medium)),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("kv_cache_spec_kind", "mamba")]), Skip::Group, None),
        (encode::stored(None, &[3, 4], &tokens, 4, &[("lora_id", "7")]), Skip::Adapter, Some(Doubt::Adapter)),
        (encode::stored(None, &[9], &[], 0, &[("medium", "CPU")]), Skip::UnknownHash, Some(Doubt::Location)),
        (encode::stored(None, &[9], &[], 4, &[("medium", "cpu")]), Skip::UnknownHash, Some(Doubt::Location)),
        (encode::removed(&[8, 9], "DISK"), Skip::UnknownHash, None),
        (encode::removed(&[9], "cuda:0"), Skip::Medium, Some(Doubt::UnknownEvent)),
        (vec![0x91, 0xa3, b'N', b'e', b'w'], Skip::UnknownTag, Some(Doubt::UnknownEvent)),
    ];
    for (bad, why, doubt) in cases {
        let mut played = Played::new();
        // The other events of the batch are applied.
        played.play(&encode::batch(&[bad, good()]));
        let held: Vec<u64> = played.blocks(0, Tier::Device).into_iter().map(|(sequence, _)| sequence).collect();
        assert_eq!(held, [1, 2], "{why:?}");
        let others = Skip::ALL.into_iter().filter(|&other| other != why);
        assert_eq!(played.publisher.skipped(why), 1, "{why:?}");
        assert_eq!(others.map(|other| played.publisher.skipped(other)).sum::<u64>(), 0, "{why:?}");
        assert_eq!(played.doubts(), doubt.into_iter().collect(), "{why:?}");
        played.play(&encode::batch(&[encode::cleared()]));
        assert_eq!(played.doubts(), Doubts::NONE, "{why:?}");
    }
}

#[test]
fn a_malformed_event_raises_a_doubt_and_spares_the_other_events() {
    let tokens: Vec<u64> = (1..=8).collect();
    let good = encode::stored(None, &[1, 2], &tokens, 4, &[]);
    let too_high = encode::stored(None, &[3, 4], &[1 << 32; 8], 4, &[]);
    for bad in [too_high, vec![0xc0], vec![0x90], vec![0x80], vec![0x91, 0x01], vec![0xc1]] {
        let played = Played::new();
        let payload = encode::batch(&[bad, good.clone()]);
        apply(&played.model, &played.publisher, 0, &payload).expect("the index is there");
        assert_eq!(played.doubts().exactness(), Exactness::Unknown, "it may have been a removal");
        let undecodable = played.publisher.count(Count::Undecodable) == 1;
        assert_eq!(played.blocks(0, Tier::Device).len(), if undecodable { 0 } else { 2 });
        assert_eq!(undecodable, Batch::decode(&payload).is_err());
        assert_eq!(played.publisher.last_sequence(), Some(0), "the batch is not asked for again");
    }
}

#[test]
fn a_salt_is_inherited_and_a_cleared_rank_forgets_it() {
    let mut played = Played::new();
    played.play(&encode::batch(&[encode::stored(None, &[1], &[1, 2, 3, 4], 4, &[("cache_salt", "s")])]));
    played.play(&encode::batch(&[encode::stored(Some(1), &[2], &[5, 6, 7, 8], 4, &[])]));
    let salted = hasher().namespace("s").hash(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(played.blocks(0, Tier::Device), [(1, salted[0]), (2, salted[1])]);
    // The engine reuses the hash for a block without a salt.
    played.play(&encode::batch(&[encode::removed(&[2, 1], "GPU")]));
    played.play(&encode::batch(&[
        encode::stored(None, &[1], &[1, 2, 3, 4], 4, &[]),
        encode::stored(Some(1), &[2], &[5, 6, 7, 8], 4, &[]),
    ]));
    let plain = hasher().hash(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(played.blocks(0, Tier::Device), [(1, plain[0]), (2, plain[1])]);
}

#[test]
fn decoding_errors_say_where_they_are() {
    assert_eq!(Batch::decode(&[]), Err(Error::Truncated { at: 0 }));
    assert_eq!(Batch::decode(&[0x92, 0x01]), Err(Error::Truncated { at: 0 }), "every element takes at least a byte");
    assert_eq!(Batch::decode(&[0x92, 0x01, 0x02]), Err(Error::Expected { at: 2, expected: "an array" }));
    let declared = [0x92, 0x01, 0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0];
    assert_eq!(Batch::decode(&declared), Err(Error::Truncated { at: 2 }), "a declared length is not trusted");
    let deep = [&[0x92, 0x01, 0x91][..], &vec![0x91; 100_000], &[0xc0]].concat();
    assert!(Batch::decode(&deep).expect("deep, but well-formed").is_empty());
}

/// What happens to a block on one of three tiers. The literal model of the tiers is three lists of blocks.
#[derive(Clone, Debug)]
enum Act {
    Store(usize, u64),
    Place(usize, u64),
    Remove(usize, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (0..3_u8, 0..3_usize, 1..5_u64).prop_map(|(what, tier, block)| match what {
        0 => Act::Store(tier, block),
        1 => Act::Place(tier, block),
        _ => Act::Remove(tier, block),
    });
    prop::collection::vec(act, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// All blocks have one token and no parent, and lie on three tiers.
    #[test]
    fn tiers_are_cumulative(acts in acts()) {
        const MEDIA: [&str; 3] = ["GPU", "CPU", "DISK"];
        let publisher = Publisher::http(Worker::new(7, 0));
        let model = model(1);
        let mut tiers: [Vec<u64>; 3] = Default::default();
        let mut used = [true, false, false];
        for (number, act) in (0..).zip(&acts) {
            let event = match *act {
                Act::Store(tier, block) => {
                    used[tier] = true;
                    tiers[tier].push(block);
                    encode::stored(None, &[block], &[block], 1, &[("medium", MEDIA[tier])])
                }
                Act::Place(tier, block) => {
                    used[tier] = true;
                    // Without its tokens, a block can only be placed if it is known on this tier or a faster one.
                    if tiers[..=tier].iter().any(|blocks| blocks.contains(&block)) {
                        tiers[tier].push(block);
                    }
                    encode::stored(None, &[block], &[], 0, &[("medium", MEDIA[tier])])
                }
                Act::Remove(tier, block) => {
                    tiers[tier].retain(|&other| other != block);
                    encode::removed(&[block], MEDIA[tier])
                }
            };
            apply(&model, &publisher, number, &encode::batch(&[event])).expect("the index is there");
        }
        for tier in Tier::ALL {
            let reach = &tiers[..=tier as usize];
            let expected = (1..5).map(|block| u32::from(reach.iter().any(|blocks| blocks.contains(&block))));
            let expected: Vec<u32> = expected.map(|has| if used[tier as usize] { has } else { 0 }).collect();
            let hasher = BlockHasher::new(1).expect("above 0");
            let found = (1..5).map(|block| model::depth(&model, tier, Worker::new(7, 0), &hasher.hash(&[block])));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected, "{:?}", tier);
        }
    }

    /// The bytes are nearly a batch. Decoding them does not panic, and takes memory in proportion to their length.
    #[test]
    fn decoding_allocates_in_proportion_to_its_input(
        tokens in prop::collection::vec(any::<u32>(), 0..40),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in prop::collection::vec(prop_oneof![Just(0xa0_u8), Just(0x91), Just(0xdd), any::<u8>()], 0..200),
    ) {
        let tokens: Vec<u64> = tokens.into_iter().map(u64::from).collect();
        let mut bytes = encode::batch(&[encode::stored(None, &[1, 2], &tokens, 4, &[("medium", "GPU")]), tail]);
        for (place, byte) in noise {
            *place.get_mut(&mut bytes) = byte;
        }
        if let Ok(batch) = Batch::decode(&bytes) {
            prop_assert!(batch.bytes() <= MAX_EXPANSION * (bytes.len() + 4));
        }
    }
}
