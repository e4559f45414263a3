//! Engines that keep one block several times, and say so each time.

use kvleap::service::publisher::Copies;
use kvleap::service::{Doubt, Doubts, Tier};
use serde_json::json;

use crate::common::engine_events::{cleared, removed, stored};
use crate::common::service::{self, Service};
use crate::common::until::until;
use crate::common::zmtp;
use crate::stream::{Stream, payload, register, tokens};

#[test]
fn copies_are_counted_by_tier() {
    let prompt = tokens(0, 2);
    let store = |medium: &str| stored(&[1, 2], None, &tokens(0, 2), json!({"medium": medium}));
    let mut stream = Stream::new();
    stream.publish(&[store("GPU"), store("GPU"), store("CPU"), store("CPU")]);
    stream.publish(&[removed(&[1, 2], "GPU"), removed(&[1, 2], "CPU")]);
    assert_eq!([Tier::Device, Tier::Host].map(|tier| stream.depth(tier, &prompt)), [2, 2], "one copy of each is left");
    stream.publish(&[removed(&[2, 1], "GPU")]);
    assert_eq!([Tier::Device, Tier::Host].map(|tier| stream.depth(tier, &prompt)), [0, 2]);
    // One removal may name a block once for each of its copies.
    stream.publish(&[store("CPU"), removed(&[1, 2, 1, 2], "CPU")]);
    assert_eq!(stream.depth(Tier::Host, &prompt), 0);
    assert_eq!(stream.doubts(), Doubts::NONE);

    let mut stream = Stream::with(Copies::Single);
    stream.publish(&[store("GPU"), store("GPU"), removed(&[1, 2], "GPU")]);
    assert_eq!(stream.depth(Tier::Device, &prompt), 0, "the first removal ends it");
}

#[test]
fn a_salt_is_known_until_the_last_copy_is_removed() {
    let salted = || stored(&[1, 2], None, &tokens(0, 2), json!({"extra_keys": [["s"], null]}));
    let mut stream = Stream::new();
    stream.publish(&[salted(), salted(), removed(&[2, 1], "GPU")]);
    stream.publish(&[stored(&[3], Some(2), &tokens(2, 1), json!({}))]);
    assert_eq!(stream.salted(Tier::Device, &tokens(0, 3), "s"), 3);
    stream.publish(&[removed(&[3, 2, 1], "GPU"), stored(&[1], None, &tokens(0, 1), json!({}))]);
    assert_eq!((stream.salted(Tier::Device, &tokens(0, 1), "s"), stream.depth(Tier::Device, &tokens(0, 1))), (0, 1));
}

/// One copy is in the index and another was left out. The engine removes one of them, and nobody can say which.
#[test]
fn a_block_stays_while_the_engine_has_a_copy_even_if_one_was_left_out() {
    let good = || stored(&[1, 2], None, &tokens(0, 2), json!({}));
    let left_out = [
        (Doubt::Misfit, stored(&[1, 2], None, &[1; 5], json!({}))),
        (Doubt::BlockSize, stored(&[1, 2], None, &[1, 2], json!({"block_size": 1}))),
        (Doubt::Location, stored(&[1, 2], None, &[], json!({}))),
    ];
    for (doubt, bad) in left_out {
        for (first, second) in [(good(), bad.clone()), (bad, good())] {
            let mut stream = Stream::new();
            stream.publish(&[first, second]);
            assert_eq!(stream.doubts(), doubt.into());
            stream.publish(&[removed(&[2, 1], "GPU")]);
            assert_eq!(stream.depth(Tier::Device, &tokens(0, 2)), 2, "a copy of each is left, {doubt:?}");
            assert_eq!(stream.doubts(), Doubts::NONE);
            stream.publish(&[removed(&[2], "GPU")]);
            assert_eq!(stream.depth(Tier::Device, &tokens(0, 2)), 1);
            stream.publish(&[removed(&[1], "GPU")]);
            assert_eq!((stream.depth(Tier::Device, &tokens(0, 2)), stream.doubts()), (0, Doubts::NONE));
            let status = stream.model.index().status();
            assert!(status.workers.iter().all(|worker| worker.rejected.iter().sum::<u64>() == 0), "no empty removal");
        }
    }
}

/// A store on the device that names no tokens is one copy more of a block that is known there. The index cannot be told
/// of it.
#[test]
fn a_copy_that_names_no_tokens_is_left_out_and_not_lost() {
    let mut stream = Stream::new();
    let on = |medium: &str| stored(&[1, 2], None, &tokens(0, 2), json!({"medium": medium}));
    // The host makes the service remember which tier a block is on.
    stream.publish(&[on("GPU"), on("CPU"), stored(&[1, 2], None, &[], json!({}))]);
    assert_eq!(stream.doubts(), Doubt::Location.into());
    stream.publish(&[removed(&[2, 1], "GPU")]);
    let depths = |stream: &Stream| [Tier::Device, Tier::Host].map(|tier| stream.depth(tier, &tokens(0, 2)));
    assert_eq!((depths(&stream), stream.doubts()), ([2, 2], Doubts::NONE));
    stream.publish(&[removed(&[2, 1], "GPU")]);
    assert_eq!(depths(&stream), [0, 2]);
}

/// What one publisher left out is not ended by what another removes or clears.
#[test]
fn a_left_out_block_is_its_own_publishers() {
    let service = Service::start(service::config());
    let [engine, connector] = [zmtp::Publisher::bind(), zmtp::Publisher::bind()];
    register(&service, &engine);
    register(&service, &connector);
    let (mut engine_says, mut connector_says) = (engine.subscriber(), connector.subscriber());
    let prompt = tokens(0, 1);
    let answer = || {
        service.flush();
        let (_, answer) = service.post("/query", &json!({"model_name": "m", "token_ids": prompt}));
        let reasons = answer["exactness"]["7"]["0"]["reasons"].as_array();
        let doubted = reasons.is_some_and(|reasons| reasons.contains(&json!(Doubt::Misfit.name())));
        (answer["instances"]["7"]["gpu"].as_u64().unwrap_or(0) / 4, doubted)
    };
    let comes_to = |expected| until(&format!("{expected:?}"), || answer() == expected);
    let (good, misfit) = (stored(&[1], None, &prompt, json!({})), stored(&[1], None, &[1; 5], json!({})));
    engine_says.send(0, &payload(&[good]));
    comes_to((1, false));
    connector_says.send(0, &payload(&[misfit]));
    comes_to((1, true));
    engine_says.send(1, &payload(&[removed(&[1], "GPU")]));
    comes_to((0, true));
    engine_says.send(2, &payload(&[cleared(), stored(&[1], None, &prompt, json!({}))]));
    comes_to((1, true));
    connector_says.send(1, &payload(&[removed(&[1], "GPU")]));
    comes_to((1, false));
    service.server.stop();
}

/// When a second publisher speaks for a worker, the blocks of the first are taken over from the index. What the worker
/// does not hold must not be among them.
#[test]
fn a_hole_is_not_taken_for_a_block_when_a_second_publisher_comes() {
    let service = Service::start(service::config());
    let [engine, connector] = [zmtp::Publisher::bind(), zmtp::Publisher::bind()];
    register(&service, &engine);
    let mut engine_says = engine.subscriber();
    let model = service.server.indexer().models().all()[0].clone();
    let held = || model.index().status().workers.iter().map(|worker| worker.held_blocks).sum::<u64>();
    engine_says.send(0, &payload(&[stored(&[1, 2, 3], None, &tokens(0, 3), json!({})), removed(&[2], "GPU")]));
    until("two blocks are held", || held() == 2);
    register(&service, &connector);
    let mut connector_says = connector.subscriber();
    connector_says.send(0, &payload(&[stored(&[9], None, &tokens(9, 1), json!({}))]));
    until("a third block is held", || held() == 3);
    engine_says.send(1, &payload(&[cleared()]));
    until("the first publisher's blocks are gone", || held() == 1);
    let removals: u64 = model.index().status().workers.iter().map(|worker| worker.unknown_removals).sum();
    assert_eq!(removals, 0, "only what it had was removed");
    service.server.stop();
}
