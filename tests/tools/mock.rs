//! The simulated engine: which events it sends and when, and that its figures add up.

use std::collections::HashMap;

use kvleap::baseline::reference::Reference;
use kvleap::mock::{
    Config, ConfigError, Constant, Copies, Engine, Finished, Latency, Limits, Rates, Refusal, Request, Step,
};
use kvleap::{Event, EventData, Worker};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const WORKER: Worker = Worker::new(3, 1);
const MS: u64 = 1_000_000;

fn engine(config: Config) -> Engine {
    Engine::new(WORKER, config).expect("a sensible configuration")
}

/// A configuration with blocks of four tokens, so that short requests fill them.
fn small(blocks: u32) -> Config {
    Config { block_size: 4, blocks, copies: Copies::Merged, ..Config::default() }
}

fn request(prompt: &[u64], input_tokens: u64, output_tokens: u64) -> Request {
    Request { prompt: prompt.into(), input_tokens, output_tokens, ..Request::default() }
}

/// Serves all submitted requests to their end.
fn drain(engine: &mut Engine) -> Vec<Step> {
    let mut steps = Vec::new();
    engine.run_until(u64::MAX, |step| steps.push(step));
    assert!(engine.is_idle());
    steps
}

fn finished(steps: &[Step]) -> Vec<Finished> {
    steps.iter().flat_map(|step| &step.finished).copied().collect()
}

/// Spells events as text: stores by their local hashes, with an ellipsis if there is a parent, and removals by their
/// number of blocks.
fn spell(steps: &[Step]) -> Vec<String> {
    let spell = |event: &Event| match &event.data {
        EventData::Stored { parent, blocks } => {
            let locals: Vec<String> = blocks.iter().map(|block| block.local.to_string()).collect();
            format!("{}{}", if parent.is_some() { "…" } else { "" }, locals.join(","))
        }
        EventData::Removed { blocks } => format!("-{}", blocks.len()),
        other => format!("{other:?}"),
    };
    steps.iter().flat_map(|step| &step.events).map(spell).collect()
}

#[test]
fn a_request_takes_as_long_as_the_constants_say_and_skips_a_cached_prefix() {
    let mut engine = engine(Config { block_size: 16, ..Config::default() });
    let prompt: Vec<u64> = (1..=6).collect();
    engine.submit(0, request(&prompt, 100, 10)).unwrap();
    let [done] = finished(&drain(&mut engine))[..] else { panic!() };
    // The prompt takes seven blocks, the last of them partial. The first token comes with the prompt, and nine are
    // decoded.
    assert_eq!((done.first_token_ns, done.finished_ns), (22 * MS + MS / 2, (22 + 9 * 15) * MS + MS / 2));
    assert_eq!((done.cached_tokens, done.preempted), (0, 0));

    engine.submit(1000 * MS, Request { text: 1, ..request(&prompt, 100, 1) }).unwrap();
    let [done] = finished(&drain(&mut engine))[..] else { panic!() };
    assert_eq!((done.cached_tokens, done.finished_ns), (96, 1000 * MS + 7 * MS + MS / 2), "one block is computed");
}

#[test]
fn a_step_reports_what_it_computed_and_which_first_tokens_came() {
    let mut engine = engine(Config { block_size: 4, ..Config::default() });
    engine.submit(0, request(&[1, 2], 8, 6)).unwrap();
    engine.submit(3 * MS, request(&[3], 4, 1)).unwrap();
    let steps = drain(&mut engine);
    // The first step computes both prompts and finishes the second request. Five more tokens follow.
    assert_eq!((steps[0].first_tokens.as_slice(), steps[0].work.prompt_blocks), (&[0, 1][..], 3));
    assert!(steps[1..].iter().all(|step| step.first_tokens.is_empty() && step.work.decoded == 1));
    let longer: Vec<usize> = steps.iter().map(|step| step.longer.len()).collect();
    assert_eq!(longer, [0, 0, 0, 0, 1, 0], "four tokens after the first");
    assert_eq!(steps.iter().map(|step| step.took_ns).sum::<u64>(), steps[5].at_ns);
    assert_eq!(finished(&steps)[0].scheduled_ns, 0);

    engine.set_latency(Latency::Constant(Constant::LLAMA_2_13B).slowed(2.0)).unwrap();
    engine.submit(1000 * MS, request(&[9], 4, 1)).unwrap();
    assert_eq!(drain(&mut engine)[0].took_ns, 15 * MS);
    let never = Constant { decode_ms: f64::NAN, ..Constant::LLAMA_2_13B };
    assert!(matches!(engine.set_latency(Latency::Constant(never)), Err(ConfigError::OutOfRange { .. })));
}

#[test]
fn an_answer_with_given_blocks_is_reused_by_a_prompt_that_contains_it() {
    let mut engine = engine(small(100));
    // The prompt has 6 tokens, and 7 of the 8 answered ones are computed. The second and the third block are the
    // answer's.
    engine.submit(0, Request { answer: [22, 23].into(), ..request(&[1], 6, 8) }).unwrap();
    drain(&mut engine);
    engine.submit(1000 * MS, request(&[1, 22, 23, 4], 16, 1)).unwrap();
    assert_eq!(finished(&drain(&mut engine))[0].cached_tokens, 12);
}

#[test]
fn prompts_are_stored_chunk_by_chunk_and_answers_as_their_blocks_fill() {
    let limits = Limits { chunk_tokens: 10, ..Limits::default() };
    let mut engine = engine(Config { limits, ..small(100) });
    engine.submit(0, request(&[1, 2, 3, 4, 5], 21, 8)).unwrap();
    let steps = drain(&mut engine);
    let events = spell(&steps);
    assert_eq!(events[..3], ["1,2", "…3,4,5", events[2].as_str()]);
    // 21 + 7 tokens are seven blocks, because the last token of an answer is not computed.
    assert_eq!(events.len(), 4);
    let stored: Vec<usize> = steps.iter().map(|step| step.events.iter().map(|event| event.data.len()).sum()).collect();
    assert_eq!(stored, [2, 3, 0, 0, 0, 1, 0, 0, 0, 1]);
}

#[test]
fn evictions_come_before_the_store_that_needs_the_room() {
    let mut engine = engine(small(4));
    for (at, prompt) in [[1, 2], [3, 4], [5, 6]].iter().enumerate() {
        engine.submit(at as u64 * 1000 * MS, request(prompt, 9, 1)).unwrap();
        let events = spell(&drain(&mut engine));
        let expected = [vec!["1,2"], vec!["-1", "3,4"], vec!["-2", "5,6"]];
        assert_eq!(events, expected[at]);
    }
}

#[test]
fn a_prompt_that_is_cached_completely_computes_its_last_block_again() {
    for (copies, again) in [(Copies::Announced, vec!["…2"]), (Copies::Merged, vec![])] {
        let mut engine = engine(Config { copies, ..small(100) });
        for expected in [vec!["1,2"], again] {
            engine.submit(0, request(&[1, 2], 8, 1)).unwrap();
            assert_eq!(spell(&drain(&mut engine)), expected);
        }
        assert_eq!(engine.evictable_blocks(), 3);
    }
}

#[test]
fn requests_of_a_batch_share_steps_and_prefixes() {
    let mut engine = engine(small(100));
    for text in 0..3 {
        engine.submit(0, Request { text, ..request(&[1, 2], 9, 5) }).unwrap();
    }
    let steps = drain(&mut engine);
    let done = finished(&steps);
    assert_eq!(done.len(), 3);
    assert!(done.iter().all(|done| done.finished_ns == done.first_token_ns + 4 * 15 * MS), "decoded together");
    assert_eq!(done.iter().map(|done| done.cached_tokens).collect::<Vec<_>>(), [0, 8, 8]);
    assert_eq!(spell(&steps).len(), 1 + 3, "one store of the prompt, and one of each answer");
}

#[test]
fn samples_share_the_prompt_and_have_answers_of_their_own() {
    let mut engine = engine(small(100));
    engine.submit(0, Request { samples: 3, ..request(&[1, 2], 10, 4) }).unwrap();
    let step = engine.step().unwrap();
    assert_eq!((step.events.len(), engine.running(), engine.used_blocks()), (1, 3, 3));
    engine.step().unwrap();
    assert_eq!(engine.used_blocks(), 5, "every sample writes to its own last block");
    let steps = drain(&mut engine);
    let done = finished(&steps);
    assert_eq!(done.iter().map(|done| (done.ticket, done.sample)).collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2)]);
    let mut events = spell(&steps);
    events.sort();
    events.dedup();
    assert_eq!(events.len(), 3, "three different third blocks");
}

#[test]
fn the_newest_request_is_preempted_and_the_oldest_never() {
    let mut engine = engine(small(12));
    for text in 0..3 {
        engine.submit(0, Request { text, ..request(&[], 4, 30) }).unwrap();
    }
    let mut steps = Vec::new();
    while let Some(step) = engine.step() {
        assert!(engine.used_blocks() + engine.evictable_blocks() <= 12);
        steps.push(step);
    }
    let done = finished(&steps);
    assert_eq!(done.iter().map(|done| done.ticket).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(done[0].preempted, 0);
    assert!(done[2].preempted > 0);
}

#[test]
fn no_request_is_admitted_without_room_for_its_whole_prompt() {
    let limits = Limits { chunk_tokens: 4, ..Limits::default() };
    let mut engine = engine(Config { limits, ..small(10) });
    for (text, tokens) in [24, 20, 4].into_iter().enumerate() {
        engine.submit(0, Request { text: text as u64, ..request(&[], tokens, 1) }).unwrap();
    }
    let mut order = Vec::new();
    while let Some(step) = engine.step() {
        order.push((engine.running(), step.finished.iter().map(|done| done.ticket).collect::<Vec<_>>()));
    }
    // The third request would fit beside the first, but waits behind the second. Then both run.
    assert_eq!(order[..6], [1, 1, 1, 1, 1, 0].map(|running| (running, if running == 0 { vec![0] } else { vec![] })));
    assert_eq!(order[6], (1, vec![2]));
    assert_eq!(order.last(), Some(&(0, vec![1])));
}

#[test]
fn a_changed_priority_changes_the_order() {
    let limits = Limits { batch: 1, ..Limits::default() };
    let mut engine = engine(Config { limits, ..small(10) });
    let tickets = [0, 1, 2].map(|text| engine.submit(0, Request { text, ..request(&[], 4, 1) }).unwrap());
    assert_eq!(tickets, [0, 1, 2]);
    assert!(engine.reprioritise(0, 5));
    assert!(!engine.reprioritise(7, 0));
    let order: Vec<u64> = finished(&drain(&mut engine)).iter().map(|done| done.ticket).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn a_reset_clears_the_cache_and_restarts_the_running_requests() {
    let mut engine = engine(small(100));
    engine.submit(0, request(&[1, 2], 9, 8)).unwrap();
    engine.step().unwrap();
    let cleared = engine.clear();
    assert_eq!((cleared.id, cleared.data, cleared.worker), (2, EventData::Cleared, WORKER));
    assert_eq!((engine.used_blocks(), engine.evictable_blocks(), engine.waiting()), (0, 0, 1));
    let steps = drain(&mut engine);
    assert_eq!(spell(&steps)[0], "1,2");
    assert_eq!(steps[0].events[0].id, 3);
    let [done] = finished(&steps)[..] else { panic!() };
    assert_eq!((done.preempted, done.cached_tokens), (1, 0));
}

#[test]
fn ranks_of_an_instance_are_separate_engines() {
    let mut ranks = [0, 1].map(|rank| Engine::new(Worker::new(5, rank), small(10)).unwrap());
    for engine in &mut ranks {
        engine.submit(0, request(&[1], 5, 1)).unwrap();
        let events: Vec<Event> = drain(engine).into_iter().flat_map(|step| step.events).collect();
        assert_eq!((events.len(), events[0].id, events[0].worker), (1, 1, engine.worker()));
    }
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let limits = Limits { waiting: 2, batch: 4, ..Limits::default() };
    let rates = Rates { requests_per_second: Some(3.0), tokens_per_second: Some(60.0), ..Rates::default() };
    let mut engine = engine(Config { limits, rates, ..small(10) });
    let before = format!("{engine:?}");
    assert_eq!(engine.submit(0, request(&[], 40, 2)), Err(Refusal::TooLong { blocks: 11, capacity: 10 }));
    assert!(matches!(engine.submit(0, request(&[], 40, u64::MAX)), Err(Refusal::TooLong { .. })));
    assert_eq!(self::engine(small(10)).submit(0, request(&[], 40, 1)), Ok(0), "the last token needs no room");
    let many = Request { samples: 5, ..request(&[], 4, 1) };
    assert_eq!(engine.submit(0, many), Err(Refusal::TooManySamples { samples: 5, batch: 4 }));
    let long = Request { samples: 3, ..request(&[], 20, 20) };
    assert_eq!(engine.submit(0, long), Err(Refusal::NeverAdmitted { tokens: 80, most: 60 }));
    assert_eq!(format!("{engine:?}"), before);

    engine.submit(0, request(&[], 20, 1)).unwrap();
    engine.submit(0, request(&[], 20, 1)).unwrap();
    assert_eq!(engine.submit(0, request(&[], 4, 1)), Err(Refusal::QueueFull { waiting: 2 }));
    drain(&mut engine);
    assert_eq!(engine.submit(500 * MS, request(&[], 20, 1)), Err(Refusal::TokenRate { retry_ns: 500 * MS }));
    engine.submit(500 * MS, request(&[], 1, 1)).unwrap();
    drain(&mut engine);
    assert_eq!(engine.submit(600 * MS, request(&[], 1, 1)), Err(Refusal::RequestRate { retry_ns: 400 * MS }));
    engine.submit(1000 * MS, request(&[], 1, 1)).unwrap();
}

#[test]
fn settings_out_of_range_are_refused() {
    let zero = |config: Config| match Engine::new(WORKER, config) {
        Err(ConfigError::Zero { setting }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(zero(Config { block_size: 0, ..Config::default() }), "block_size");
    assert_eq!(zero(Config { blocks: 0, ..Config::default() }), "blocks");
    let limits = Limits { batch: 0, ..Limits::default() };
    assert_eq!(zero(Config { limits, ..Config::default() }), "limits.batch");
    for (rate, latency) in [(Some(f64::NAN), 1.0), (Some(0.0), 1.0), (None, f64::INFINITY), (None, -1.0)] {
        let rates = Rates { requests_per_second: rate, ..Rates::default() };
        let latency = Latency::Constant(Constant { decode_ms: latency, ..Constant::LLAMA_2_13B });
        let refused = Engine::new(WORKER, Config { rates, latency, ..Config::default() });
        assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })), "{refused:?}");
    }
}

fn requests() -> impl Strategy<Value = Vec<(u64, Request)>> {
    let request = (prop::collection::vec(0..2_u64, 0..6), 0..4_u64, 1..14_u64, 0..3_u64, 1..4_u32, 0..3_u32).prop_map(
        |(prompt, tail, output_tokens, text, samples, priority)| {
            let input_tokens = prompt.len() as u64 * 4 + tail;
            Request {
                prompt: prompt.into(),
                input_tokens,
                output_tokens,
                text,
                samples,
                priority,
                ..Request::default()
            }
        },
    );
    prop::collection::vec((0..80 * MS, request), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(8), ..ProptestConfig::default() })]

    /// The engines are too small for their load, so requests are preempted, prompts are chunked, and blocks are shared
    /// and evicted.
    #[test]
    fn every_request_is_served_and_every_event_is_sound(
        blocks in 10..24_u32,
        batch in 3..8_u32,
        step_tokens in 1..40_u32,
        chunk_tokens in 1..40_u32,
        budget in prop::option::weighted(0.3, 0..40_u64),
        merged: bool,
        resets in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        requests in requests(),
    ) {
        let limits = Limits { batch, step_tokens, chunk_tokens, ..Limits::default() };
        let copies = if merged { Copies::Merged } else { Copies::Announced };
        let config = Config { limits, copies, cached_tokens: budget, ..small(blocks) };
        let mut engine = Engine::new(WORKER, config.clone()).unwrap();
        let resets: Vec<usize> = resets.iter().map(|reset| reset.index(requests.len())).collect();

        let (mut steps, mut now, mut samples) = (Vec::new(), 0, 0);
        let mut events: Vec<Event> = Vec::new();
        for (number, (after, request)) in requests.iter().enumerate() {
            now += after;
            engine.run_until(now, |step| {
                events.extend_from_slice(&step.events);
                steps.push(step);
            });
            if resets.contains(&number) {
                events.push(engine.clear());
            }
            samples += request.samples as usize;
            prop_assert_eq!(engine.submit(now, request.clone()), Ok(number as u64));
        }
        while let Some(step) = engine.step() {
            prop_assert!(engine.used_blocks() + engine.evictable_blocks() <= blocks as usize);
            prop_assert!(engine.running() <= batch as usize);
            events.extend_from_slice(&step.events);
            steps.push(step);
        }

        prop_assert!(steps.is_sorted_by(|one, next| one.at_ns < next.at_ns));
        prop_assert!(events.iter().map(|event| event.id).eq(1..=events.len() as u64), "no gap");
        let done = finished(&steps);
        prop_assert_eq!(done.len(), samples);
        for done in &done {
            prop_assert!(done.arrived_ns < done.first_token_ns && done.first_token_ns <= done.finished_ns);
        }

        // A listener that counts copies is never told to remove one that it does not have, and in the end it knows
        // exactly what is cached.
        let mut held: HashMap<u64, usize> = HashMap::new();
        let mut reference = Reference::new();
        for event in &events {
            let applied = reference.apply(event);
            prop_assert!(!merged || applied.is_ok(), "{:?}", event);
            match &event.data {
                EventData::Stored { parent, blocks } => {
                    prop_assert!(parent.is_none_or(|parent| held.contains_key(&parent)));
                    for block in blocks {
                        *held.entry(block.sequence).or_default() += 1;
                    }
                }
                EventData::Removed { blocks } => for name in blocks {
                    let copies = held.get_mut(name).expect("only what was stored is removed");
                    *copies -= 1;
                    if *copies == 0 {
                        held.remove(name);
                    }
                },
                _ => held.clear(),
            }
            prop_assert!(!merged || held.values().all(|&copies| copies == 1));
            prop_assert!(held.values().sum::<usize>() <= blocks as usize);
        }
        prop_assert_eq!(engine.used_blocks(), 0);
        if !merged {
            prop_assert_eq!(held.values().sum::<usize>(), engine.evictable_blocks());
        }
        prop_assert!(budget.is_none_or(|tokens| engine.evictable_blocks() as u64 * 4 <= tokens));

        // Equal requests give equal steps.
        let mut again = Engine::new(WORKER, config).unwrap();
        let (mut repeated, mut now) = (Vec::new(), 0);
        for (number, (after, request)) in requests.iter().enumerate() {
            now += after;
            again.run_until(now, |step| repeated.push(step));
            if resets.contains(&number) {
                again.clear();
            }
            again.submit(now, request.clone()).unwrap();
        }
        again.run_until(u64::MAX, |step| repeated.push(step));
        prop_assert_eq!(repeated, steps);
    }
}
