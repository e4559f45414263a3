//! Tiers: what a block in host memory or on disk is worth to the router, by the answers of one index or of several.

use kvleap::route::{Prediction, Refusal, Router};
use kvleap::{Event, EventData, Matches, Worker};
use proptest::prelude::*;

use super::route::{BLOCK_SIZE, EVEN, ask, by_cost, local_index, look_up, predict, store_at, with_workers, worker};

const RANK_BITS: u32 = 28;

/// Returns the worker of the index that stands for one tier of a worker of the fleet.
fn in_tier(id: u64, tier: usize) -> Worker {
    Worker::new(id, (tier as u32) << RANK_BITS)
}

fn split(worker: Worker) -> (Worker, usize) {
    (Worker::new(worker.id, worker.dp_rank & ((1 << RANK_BITS) - 1)), (worker.dp_rank >> RANK_BITS) as usize)
}

/// Builds a router by cost, with all blocks weighted equally, and with these credits for the tiers of one index.
fn with_tiers(workers: u64, credits: Vec<f32>) -> Router {
    let builder = Router::builder().policy(Box::new(by_cost(EVEN, 0.0))).block_size(BLOCK_SIZE);
    with_workers(workers, builder.credits(credits).split_tiers(split).build().expect("valid"))
}

/// Returns the answer of one index to which workers stand for tiers.
fn answer_of_tiers(prompt: &[u64], depths: &[(Worker, usize)]) -> Matches {
    let (mut writer, reader) = local_index();
    for &(worker, depth) in depths {
        store_at(&mut writer, worker, &prompt[..depth]);
    }
    look_up(&mut writer, &reader, prompt)
}

/// Returns how many blocks every candidate holds, and what they are worth.
fn worth(router: &mut Router, prompt: &[u64], answers: &[&Matches]) -> Vec<(u64, u32, f32)> {
    let explained = router.explain(&ask(prompt), answers, 0).expect("a candidate");
    let candidates = explained.candidates.iter();
    let mut worth: Vec<_> = candidates.map(|it| (it.worker.id, it.held, it.credit)).collect();
    worth.sort_unstable_by_key(|&(id, ..)| id);
    worth
}

/// Worker 0 has no blocks, worker 1 has four in host memory, and worker 2 has four in device memory.
#[test]
fn host_memory_is_worth_more_than_nothing_and_less_than_device_memory() {
    let prompt = [1, 2, 3, 4, 5];
    let matches = answer_of_tiers(&prompt, &[(in_tier(1, 1), 4), (in_tier(2, 0), 4)]);
    let mut router = with_tiers(3, vec![1.0, 0.5]);
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 0, 0.0), (1, 4, 2.0), (2, 4, 4.0)]);
    let choose =
        |router: &mut Router, matches: &Matches| router.decide(&ask(&prompt), &[matches], 0).expect("a candidate");
    let decision = choose(&mut router, &matches);
    assert_eq!((decision.worker, decision.held), (worker(2), 4));
    router.set_available(worker(2), false);
    let decision = choose(&mut router, &matches);
    assert_eq!((decision.worker, decision.held), (worker(1), 4));

    // One block in device memory is worth less than four in host memory.
    router.set_available(worker(2), true);
    let matches = answer_of_tiers(&prompt, &[(in_tier(0, 0), 1), (in_tier(1, 1), 4)]);
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 1, 1.0), (1, 4, 2.0), (2, 0, 0.0)]);
    assert_eq!(choose(&mut router, &matches).worker, worker(1));

    // Blocks that a worker holds need no prefill, in whatever tier they are.
    let (_, ticket) = router.route(&ask(&prompt), &[&matches], 0).expect("a candidate");
    assert_eq!(router.load(worker(1)).map(|load| load.prefill_tokens), Some(10));
    assert!(router.finish(ticket, 0));

    // Without a credit, host memory is worth nothing. Without a split, its worker of the index is an unknown worker.
    for mut router in [with_tiers(3, vec![1.0]), super::route::router(3, by_cost(EVEN, 0.0))] {
        assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 1, 1.0), (1, 0, 0.0), (2, 0, 0.0)]);
        assert_eq!(choose(&mut router, &matches).worker, worker(0));
    }
}

#[test]
fn answers_about_different_workers_are_combined() {
    let prompt = [1, 2, 3, 4, 5];
    // The second answer comes from engines that hash in another way, so its prompt is hashed differently, too.
    let first = answer_of_tiers(&prompt, &[(in_tier(0, 0), 2), (in_tier(0, 1), 3), (in_tier(9, 0), 5)]);
    let second = answer_of_tiers(&[6, 7, 8], &[(in_tier(1, 0), 1), (in_tier(1, 2), 3)]);
    let third = answer_of_tiers(&prompt, &[(in_tier(0, 1), 5), (in_tier(0, 0), 1), (in_tier(2, 3), 5)]);
    let mut router = with_tiers(3, vec![1.0, 0.5, 0.25]);
    let both = [(0, 3, 2.5), (1, 3, 1.5), (2, 0, 0.0)];
    assert_eq!(worth(&mut router, &prompt, &[&first, &second]), both);
    assert_eq!(worth(&mut router, &prompt, &[&second, &first]), both, "in any order");
    assert_eq!(worth(&mut router, &prompt, &[&first]), [(0, 3, 2.5), (1, 0, 0.0), (2, 0, 0.0)]);
    assert_eq!(worth(&mut router, &prompt, &[]), [(0, 0, 0.0), (1, 0, 0.0), (2, 0, 0.0)]);
    // There are more answers than tiers, and the deepest counts. A tier without a credit does not count.
    let all = [&first, &second, &third, &first];
    assert_eq!(worth(&mut router, &prompt, &all), [(0, 5, 3.5), (1, 3, 1.5), (2, 0, 0.0)]);
    // Two workers of the index may stand for the same tier. The deeper of them counts, whichever slot it has.
    let mut router = Router::builder().split_tiers(|it| (worker(it.id), 0)).build().expect("valid");
    assert!(router.add_worker(worker(0)));
    assert_eq!(worth(&mut router, &prompt, &[&first]), [(0, 3, 3.0)]);
}

#[test]
fn a_tier_may_come_later_and_go_again() {
    let prompt = [1, 2, 3, 4];
    let (mut writer, reader) = local_index();
    let mut router = with_tiers(2, vec![1.0, 0.5]);
    store_at(&mut writer, in_tier(0, 0), &prompt[..1]);
    store_at(&mut writer, in_tier(1, 0), &prompt[..2]);
    let matches = look_up(&mut writer, &reader, &prompt);
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 1, 1.0), (1, 2, 2.0)]);

    store_at(&mut writer, in_tier(0, 1), &prompt);
    let matches = look_up(&mut writer, &reader, &prompt);
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 4, 2.5), (1, 2, 2.0)]);

    // The host memory of worker 1 takes over the slot of the device memory of worker 0.
    writer.apply(&Event { worker: in_tier(0, 0), id: 0, data: EventData::WorkerRemoved }).expect("known");
    store_at(&mut writer, in_tier(1, 1), &prompt[..3]);
    let matches = look_up(&mut writer, &reader, &prompt);
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(0, 4, 2.0), (1, 3, 2.5)]);

    // Adding a worker moves the rows of the tiers, and removing one removes all its tiers.
    assert!(router.add_worker(worker(5)) && router.remove_worker(worker(0)));
    assert_eq!(worth(&mut router, &prompt, &[&matches]), [(1, 3, 2.5), (5, 0, 0.0)]);
}

/// What one index holds at one time: the depth of each tier of each worker.
type Holdings = [[usize; TIERS]; WORKERS];
const WORKERS: usize = 4;
const TIERS: usize = 4;
const CREDITS: [f32; 3] = [1.0, 0.5, 0.125];

fn holdings() -> impl Strategy<Value = Holdings> {
    let depth = prop_oneof![2 => Just(0), 3 => 1usize..8];
    prop::array::uniform4(prop::array::uniform4(depth))
}

proptest! {
    /// The fastest tier counts, whichever answer it is in, and a tier without a credit does not count. Nothing of
    /// earlier answers and earlier fleets stays behind.
    #[test]
    fn a_block_is_worth_the_credit_of_its_fastest_tier(
        rounds in prop::collection::vec((prop::collection::vec(holdings(), 0..4), any::<[bool; WORKERS]>()), 1..5),
        predicted in prop::array::uniform4(0usize..5),
    ) {
        let prompt: Vec<u64> = (1..10).collect();
        let builder = Router::builder().credits(CREDITS.to_vec()).split_tiers(split);
        let mut router = builder.prediction(Some(Prediction::until_events())).build().expect("valid");
        let mut indexes: [_; 4] = std::array::from_fn(|_| local_index());
        let mut before = [[[0; TIERS]; WORKERS]; 4];
        for (answers, present) in &rounds {
            for (((writer, _), before), holdings) in indexes.iter_mut().zip(&mut before).zip(answers) {
                for (id, tier) in (0..WORKERS).flat_map(|id| (0..TIERS).map(move |tier| (id, tier))) {
                    let (worker, depth) = (in_tier(id as u64, tier), holdings[id][tier]);
                    let first = match (before[id][tier], depth) {
                        (0, 0) => continue,
                        (0, _) => EventData::WorkerAdded,
                        (_, 0) => EventData::WorkerRemoved,
                        _ => EventData::Cleared,
                    };
                    writer.apply(&Event { worker, id: 0, data: first }).expect("well-formed");
                    if depth > 0 {
                        store_at(writer, worker, &prompt[..depth]);
                    }
                }
                *before = *holdings;
            }
            let given = indexes.iter_mut().take(answers.len());
            let given: Vec<_> = given.map(|(writer, reader)| look_up(writer, reader, &prompt)).collect();
            for (id, &present) in (0..).zip(present) {
                if present {
                    router.add_worker(worker(id));
                    predict(&mut router, id, &prompt[..predicted[id as usize]], 0);
                } else {
                    router.remove_worker(worker(id));
                }
            }
            let expected = (0..WORKERS).filter(|&id| present[id]).map(|id| {
                let has = |tier: usize, block: usize| {
                    (tier == 0 && predicted[id] > block) || answers.iter().any(|it| it[id][tier] > block)
                };
                let worth_of = |block| (0..CREDITS.len()).find(|&tier| has(tier, block)).map(|tier| CREDITS[tier]);
                let blocks: Vec<f32> = (0..prompt.len()).filter_map(worth_of).collect();
                (worker(id as u64), blocks.len() as u32, blocks.iter().sum::<f32>())
            });
            let expected: Vec<_> = expected.collect();
            match router.explain(&ask(&prompt), &given.iter().collect::<Vec<_>>(), 0) {
                Err(refusal) => prop_assert_eq!((refusal, expected.len()), (Refusal::NoWorkers, 0)),
                Ok(explained) => {
                    let mut candidates = explained.candidates;
                    candidates.sort_unstable_by_key(|it| it.worker);
                    let given_worth: Vec<_> = candidates.iter().map(|it| (it.worker, it.held, it.credit)).collect();
                    prop_assert_eq!(given_worth, expected);
                    let chosen = explained.decision;
                    prop_assert_eq!(chosen.predicted as usize, predicted[chosen.worker.id as usize]);
                }
            }
        }
    }
}
