//! Predictions: what the router assumes that a worker holds after a decision, before its events arrive or instead of
//! them.

use std::collections::BTreeMap;

use kvleap::Matches;
use kvleap::route::{Prediction, Router};
use proptest::prelude::*;

use super::route::{answer, ask, predict, predicting, with_workers, worker};

const SECOND: u64 = 1_000_000_000;

/// Returns how many blocks of the prompt the router thinks that each worker holds, by the answers and its predictions.
fn held(router: &mut Router, prompt: &[u64], tiers: &[&Matches], now_ns: u64) -> Vec<u32> {
    let explained = router.explain(&ask(prompt), tiers, now_ns).expect("a candidate");
    let held: BTreeMap<_, _> = explained.candidates.iter().map(|it| (it.worker, it.held)).collect();
    held.into_values().collect()
}

#[test]
fn a_decision_is_predicted_at_once_and_until_its_time_to_live_ends() {
    let mut router = predicting(3, Prediction { ttl_ns: 100, ..Prediction::until_events() });
    let prompt = [1, 2, 3, 4];
    predict(&mut router, 1, &prompt, 0);
    predict(&mut router, 2, &prompt[..2], 60);
    assert_eq!(held(&mut router, &prompt, &[], 60), [0, 4, 2]);
    assert_eq!(held(&mut router, &[1, 2, 9], &[], 60), [0, 2, 2]);
    let decision = router.decide(&ask(&prompt), &[], 60).expect("a candidate");
    assert_eq!((decision.held, decision.predicted), (0, 0), "the load outweighs the overlap here");
    // The deeper of the answer and the prediction counts.
    let matches = answer(&prompt, [(0, 1), (1, 2), (2, 3)]);
    assert_eq!(held(&mut router, &prompt, &[&matches], 99), [1, 4, 3]);
    assert_eq!(held(&mut router, &prompt, &[&matches], 100), [1, 2, 3], "the first prediction expired");
    assert_eq!(held(&mut router, &prompt, &[], 159), [0, 0, 2]);
    assert_eq!(held(&mut router, &prompt, &[], 160), [0, 0, 0]);
    assert_eq!(router.predicted_blocks(), 0);
}

#[test]
fn a_slower_tier_that_holds_less_takes_nothing_away() {
    let builder = Router::builder().credits(vec![1.0, 0.5, 0.25]).prediction(Some(Prediction::until_events()));
    let mut router = with_workers(1, builder.build().expect("valid"));
    let prompt = [1, 2, 3, 4, 5];
    predict(&mut router, 0, &prompt[..3], 0);
    let tiers = [1, 2, 5].map(|depth| answer(&prompt, [(0, depth)]));
    let explained = router.explain(&ask(&prompt), &tiers.each_ref(), 0).expect("a candidate");
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
    assert_eq!(held(&mut router, &[1, 2, 3, 4], &[], 30), [2], "the second request has had no first token");
    router.first_token(second, 40);
    router.first_token(second, 45);
    assert_eq!(held(&mut router, &[1, 2, 5], &[], 50), [0]);
    assert_eq!(router.predicted_blocks(), 0);

    let third = predict(&mut router, 0, &[1, 2], 60);
    router.first_token(third, 61);
    predict(&mut router, 0, &[1, 2], 62);
    assert_eq!(held(&mut router, &[1, 2], &[], 80), [2], "it was predicted again since");

    let mut without = predicting(1, Prediction::instead_of_events(100));
    let ticket = predict(&mut without, 0, &[1, 2], 0);
    assert!(without.first_token(ticket, 1) && without.finish(ticket, 2));
    assert_eq!(held(&mut without, &[1, 2], &[], 1_000 * SECOND), [2], "no event will replace the prediction");
}

#[test]
fn clearing_or_removing_a_worker_ends_its_predictions() {
    let mut router = predicting(2, Prediction::until_events());
    let prompt = [1, 2, 3];
    let ticket = predict(&mut router, 0, &prompt, 0);
    predict(&mut router, 1, &prompt, 0);
    assert!(router.cleared(worker(0)));
    assert_eq!(held(&mut router, &prompt, &[], 0), [0, 3]);
    predict(&mut router, 0, &prompt[..1], 1);
    router.first_token(ticket, 2);
    assert_eq!(held(&mut router, &prompt, &[], 3 * SECOND), [1, 3], "the old request does not end the new prediction");
    router.remove_worker(worker(1));
    router.add_worker(worker(5));
    assert_eq!(
        held(&mut router, &prompt, &[], 3 * SECOND),
        [1, 0],
        "the new worker takes over the seat, not the blocks"
    );
    router.add_worker(worker(1));
    assert_eq!(held(&mut router, &prompt, &[], 3 * SECOND), [1, 0, 0], "it came back empty");
    predict(&mut router, 1, &prompt, 4 * SECOND);
    assert_eq!(held(&mut router, &prompt, &[], 4 * SECOND), [1, 3, 0]);
    assert_eq!(held(&mut router, &prompt, &[], 14 * SECOND), [0, 0, 0]);
}

/// Draws prompts that share prefixes: paths in a small tree.
fn prompts() -> impl Strategy<Value = Vec<Vec<u64>>> {
    prop::collection::vec(prop::collection::vec(1u64..3, 0..8), 1..60)
}

proptest! {
    /// The model is a literal LRU cache. Every prefix has the time of its last use. Over capacity, the prefix that was
    /// used the longest ago is evicted; among those of one request, the deepest.
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
