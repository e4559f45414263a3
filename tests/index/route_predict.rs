//! Predictions: what a decision tells of a worker's cache before, or instead of, its events.

use std::collections::BTreeMap;

use kvleap::Matches;
use kvleap::route::{Prediction, Router};
use proptest::prelude::*;

use super::route::{answer, ask, predict, predicting, with_workers, worker};

const SECOND: u64 = 1_000_000_000;

/// How much of the prompt every worker is thought to hold, by the answer and what is predicted.
fn held(router: &mut Router, prompt: &[u64], tiers: &[&Matches], now_ns: u64) -> Vec<u32> {
    let explained = router.explain(&ask(prompt), tiers, now_ns).expect("some are");
    let held: BTreeMap<_, _> = explained.candidates.iter().map(|it| (it.worker, it.held)).collect();
    held.into_values().collect()
}

#[test]
fn a_decision_is_known_at_once_and_for_its_time_to_live() {
    let mut router = predicting(3, Prediction { ttl_ns: 100, ..Prediction::until_events() });
    let prompt = [1, 2, 3, 4];
    predict(&mut router, 1, &prompt, 0);
    predict(&mut router, 2, &prompt[..2], 60);
    assert_eq!(held(&mut router, &prompt, &[], 60), [0, 4, 2]);
    assert_eq!(held(&mut router, &[1, 2, 9], &[], 60), [0, 2, 2]);
    let decision = router.decide(&ask(&prompt), &[], 60).expect("some are");
    assert_eq!((decision.held, decision.predicted), (0, 0), "of load and overlap, load decides here");
    // What is really there counts where it is more, and what is predicted where that is more.
    let matches = answer(&prompt, [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(held(&mut router, &prompt, &[&matches], 99), [1, 4, 3]);
    assert_eq!(held(&mut router, &prompt, &[&matches], 100), [1, 2, 3], "the first expired");
    assert_eq!(held(&mut router, &prompt, &[], 159), [0, 0, 2]);
    assert_eq!(held(&mut router, &prompt, &[], 160), [0, 0, 0]);
    assert_eq!(router.predicted_blocks(), 0);
}

#[test]
fn a_slower_tier_that_tells_less_takes_nothing_away() {
    let builder = Router::builder().credits(vec![1.0, 0.5, 0.25]).prediction(Some(Prediction::until_events()));
    let mut router = with_workers(1, builder.build().expect("valid"));
    let prompt = [1, 2, 3, 4, 5];
    predict(&mut router, 0, &prompt[..3], 0);
    let tiers = [1, 2, 5].map(|depth| answer(&prompt, [(0, depth)]));
    let explained = router.explain(&ask(&prompt), &tiers.each_ref(), 0).expect("one is there");
    let considered = explained.candidates[0];
    assert_eq!((considered.held, considered.credit.to_bits()), (5, (3.0_f32 + 2.0 * 0.25).to_bits()));
    assert_eq!((explained.decision.held, explained.decision.predicted), (5, 3));
}

#[test]
fn a_later_decision_keeps_what_it_shares_with_an_earlier_one() {
    let mut router = predicting(1, Prediction { ttl_ns: 100, ..Prediction::until_events() });
    predict(&mut router, 0, &[1, 2, 3, 4], 0);
    predict(&mut router, 0, &[1, 2, 5], 50);
    assert_eq!(router.predicted_blocks(), 5);
    assert_eq!(held(&mut router, &[1, 2, 3, 4], &[], 100), [2]);
    assert_eq!(held(&mut router, &[1, 2, 5], &[], 149), [3]);
    assert_eq!(held(&mut router, &[1, 2, 5], &[], 150), [0]);
}

#[test]
fn the_first_token_ends_a_prediction_after_the_grace() {
    let mut router = predicting(1, Prediction { ttl_ns: u64::MAX, grace_ns: Some(10), blocks_per_worker: 100 });
    let first = predict(&mut router, 0, &[1, 2, 3, 4], 0);
    let second = predict(&mut router, 0, &[1, 2, 5], 1);
    router.first_token(first, 20);
    assert_eq!(held(&mut router, &[1, 2, 3, 4], &[], 29), [4]);
    assert_eq!(held(&mut router, &[1, 2, 3, 4], &[], 30), [2], "the second is still on its way");
    router.first_token(second, 40);
    router.first_token(second, 45);
    assert_eq!(held(&mut router, &[1, 2, 5], &[], 50), [0]);
    assert_eq!(router.predicted_blocks(), 0);

    let third = predict(&mut router, 0, &[1, 2], 60);
    router.first_token(third, 61);
    predict(&mut router, 0, &[1, 2], 62);
    assert_eq!(held(&mut router, &[1, 2], &[], 80), [2], "predicted again since");

    let mut without = predicting(1, Prediction::instead_of_events(100));
    let ticket = predict(&mut without, 0, &[1, 2], 0);
    assert!(without.first_token(ticket, 1) && without.finish(ticket, 2));
    assert_eq!(held(&mut without, &[1, 2], &[], 1_000 * SECOND), [2], "no event will say so");
}

#[test]
fn a_cache_that_is_cleared_or_leaves_is_predicted_no_more() {
    let mut router = predicting(2, Prediction::until_events());
    let prompt = [1, 2, 3];
    let ticket = predict(&mut router, 0, &prompt, 0);
    predict(&mut router, 1, &prompt, 0);
    assert!(router.cleared(worker(0)));
    assert_eq!(held(&mut router, &prompt, &[], 0), [0, 3]);
    predict(&mut router, 0, &prompt[..1], 1);
    router.first_token(ticket, 2);
    assert_eq!(held(&mut router, &prompt, &[], 3 * SECOND), [1, 3], "the old request says nothing of the new cache");
    router.remove_worker(worker(1));
    router.add_worker(worker(5));
    assert_eq!(held(&mut router, &prompt, &[], 3 * SECOND), [1, 0], "it has the seat, not the blocks");
    router.add_worker(worker(1));
    assert_eq!(held(&mut router, &prompt, &[], 3 * SECOND), [1, 0, 0], "it is back, and empty");
    predict(&mut router, 1, &prompt, 4 * SECOND);
    assert_eq!(held(&mut router, &prompt, &[], 4 * SECOND), [1, 3, 0]);
    assert_eq!(held(&mut router, &prompt, &[], 14 * SECOND), [0, 0, 0]);
}

/// Requests that share prefixes: paths in a small tree.
fn prompts() -> impl Strategy<Value = Vec<Vec<u64>>> {
    prop::collection::vec(prop::collection::vec(1u64..3, 0..8), 1..60)
}

proptest! {
    /// A cache of so many blocks, as literally as can be: every prefix has the time of its last use, and beyond the
    /// capacity goes the one used the longest ago, of one request the deepest.
    #[test]
    fn without_events_a_worker_is_a_cache_of_its_capacity(prompts in prompts(), capacity in 1u32..12, ttl in 1u64..80) {
        let prediction = Prediction { ttl_ns: ttl, ..Prediction::instead_of_events(capacity) };
        let mut router = predicting(1, prediction);
        let mut model: BTreeMap<Vec<u64>, u64> = BTreeMap::new();
        for (prompt, now) in prompts.iter().zip(1..) {
            predict(&mut router, 0, prompt, now);
            let kept = prompt.len().min(capacity as usize);
            model.extend((1..=kept).map(|depth| (prompt[..depth].to_vec(), now)));
            while model.len() > capacity as usize {
                let oldest = model.iter().min_by_key(|(path, used)| (**used, std::cmp::Reverse(path.len())));
                let oldest = oldest.map(|(path, _)| path.clone()).expect("more than the capacity");
                model.remove(&oldest);
            }
            model.retain(|_, used| *used + ttl > now);
            for query in &prompts {
                let depth = (1..=query.len()).take_while(|&depth| model.contains_key(&query[..depth])).count();
                prop_assert_eq!(held(&mut router, query, &[], now), [depth as u32]);
            }
            prop_assert_eq!(router.predicted_blocks(), model.len());
        }
    }
}
