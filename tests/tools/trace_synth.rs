//! Synthesised traces have the statistics of their source, and scenarios have those that were asked for.
#![allow(clippy::float_cmp, reason = "values that are computed exactly are compared exactly")]

use std::collections::{HashMap, HashSet};

use kvleap::trace::analyze::{self, Analysis, analyze};
use kvleap::trace::synth::scenario::{Kind, Parameters, Scenario};
use kvleap::trace::synth::{Limits, Model, Options};
use kvleap::trace::{Row, ToolError, open};
use proptest::prelude::*;

use crate::common::shared;
use crate::common::traces;

const BLOCK: u32 = 4;

fn figures(rows: &[Row], block_size: u32) -> Analysis {
    let options = analyze::Options { workers: vec![1], ..analyze::Options::default() };
    analyze(traces::reader(rows, block_size), &options, |_| {}).expect("a sound trace")
}

fn mean(analysis: &Analysis, metric: &str) -> f64 {
    analysis.metrics.get(metric).expect("a metric").mean
}

fn learn(rows: &[Row]) -> Model {
    Model::learn(traces::reader(rows, BLOCK), |_| {}).expect("a sound trace")
}

fn draw(model: &Model, options: &Options, n: usize) -> Vec<Row> {
    let options = Options { num_requests: n as u64, ..options.clone() };
    model.requests(&options).expect("options in range").collect::<Result<_, _>>().expect("requests that pass")
}

fn published(name: &str, block_size: u32) -> Option<Model> {
    let path = shared::shared(&format!("traces/{name}"))?;
    Some(Model::learn(open(path, block_size).unwrap(), |_| {}).expect("a sound trace"))
}

#[test]
fn the_shapes_of_published_traces_are_reproduced() {
    for (name, ids, nodes, depth, leaves, mean_leaf) in [
        ("conversation_trace.jsonl", 44_144, 3_970, 23, 11_817, 11.732_757_891_173_733),
        ("mooncake_trace_1000.jsonl", 1_769, 86, 4, 981, 10.640_163_098_878_695),
    ] {
        let Some(model) = published(name, 512) else { continue };
        let shape = model.shape();
        assert_eq!((shape.shared_blocks, shape.nodes, shape.depth, shape.leaves), (ids, nodes, depth, leaves));
        assert!((shape.mean_leaf - mean_leaf).abs() < 1e-12 * mean_leaf, "{name}: {}", shape.mean_leaf);
    }
}

#[test]
fn a_synthesised_trace_keeps_the_statistics_of_its_source() {
    for (name, block_size) in
        [("conversation_trace.jsonl", 512), ("mooncake_trace_1000.jsonl", 512), ("agentic_dev.jsonl.gz", 64)]
    {
        let Some(model) = published(name, block_size) else { continue };
        let path = shared::shared(&format!("traces/{name}")).expect("the trace exists");
        let source = analyze(open(path, block_size).unwrap(), &analyze::Options::default(), |_| {}).unwrap();
        // Rows of two thousand blocks take long without optimisation, so there are fewer of them, and they may differ
        // more.
        let (n, most) = if block_size == 64 { (2 * 955, 0.15) } else { (100_000, 0.05) };
        for seed in 0..2 {
            let drawn = figures(&draw(&model, &Options { seed, ..Options::default() }, n), block_size);
            for (metric, summary) in source.metrics.iter() {
                let ratio = mean(&drawn, metric) / summary.unwrap().mean;
                assert!((ratio - 1.0).abs() < most, "{name}: {metric} is {ratio} of the source's");
            }
            let ratio = drawn.block_weighted_hit_rate.unwrap() / source.block_weighted_hit_rate.unwrap();
            assert!((ratio - 1.0).abs() < most, "{name}: the hit rate is {ratio} of the source's");
            // The rate of a short trace depends on a few long pauses.
            let ratio = drawn.arrivals.requests_per_second.unwrap() / source.arrivals.requests_per_second.unwrap();
            assert!((ratio - 1.0).abs() < most || n < 100_000, "{name}: the rate is {ratio} of the source's");
        }
    }
}

proptest! {
    /// As many requests as the source had follow each path as often as the source did.
    #[test]
    fn a_deck_is_the_source_in_another_order(rows in traces::random_rows(30, BLOCK), seed: u64, shuffle in 1..40_u32) {
        let (model, options) = (learn(&rows), Options { seed, shuffle, ..Options::default() });
        let drawn = draw(&model, &options, rows.len());
        let (before, after) = (learn(&rows).shape(), learn(&drawn).shape());
        prop_assert_eq!(before.shared_blocks, after.shared_blocks);
        prop_assert_eq!((before.nodes, before.depth, before.leaves), (after.nodes, after.depth, after.leaves));
        prop_assert_eq!(figures(&rows, BLOCK).repeated_hash_ids, figures(&drawn, BLOCK).repeated_hash_ids);
        prop_assert!(drawn.is_sorted_by_key(|row| row.timestamp));
    }

    #[test]
    fn equal_seeds_give_equal_bytes(rows in traces::random_rows(30, BLOCK), seed: u64) {
        let options = Options { seed, prefix_root_multiplier: 3, prefix_len_multiplier: 1.7, ..Options::default() };
        let draw = || traces::text(&draw(&learn(&rows), &options, 100));
        prop_assert_eq!(draw(), draw());
    }

    #[test]
    fn drawn_requests_keep_to_the_limits(
        rows in traces::random_rows(30, BLOCK),
        min_isl in 0..30_u32,
        more in 0..20_u32,
    ) {
        let limits = Limits { min_isl, max_isl: min_isl + more, osl_multiplier: 2.5, min_osl: 7, max_osl: 60 };
        let model = learn(&rows);
        let requests = model.requests(&Options { limits, ..Options::default() }).unwrap();
        // If no row of the source passes the limits, it would take a million draws to find out.
        let passes = rows.iter().any(|row| (min_isl..=min_isl + more).contains(&row.input_length));
        for row in requests.take(if passes { 20 } else { 0 }) {
            let row = row.unwrap();
            prop_assert!((min_isl..=min_isl + more).contains(&row.input_length));
            prop_assert!((7..=60).contains(&row.output_length));
        }
    }
}

fn row(timestamp: u64, input_length: u32, hash_ids: &[u64]) -> Row {
    Row { timestamp, input_length, output_length: 10, hash_ids: hash_ids.to_vec(), session_id: None }
}

/// Returns pairs of requests. Each pair shares a prompt of three blocks, and each request has two blocks of its own.
fn pairs() -> Vec<Row> {
    (0..200)
        .map(|i| row(i / 2 * 10, 18, &[i / 2 * 3, i / 2 * 3 + 1, i / 2 * 3 + 2, 1000 + 2 * i, 1001 + 2 * i]))
        .collect()
}

#[test]
fn multipliers_scale_lengths_and_times() {
    let model = learn(&pairs());
    let drawn = |options: Options| {
        let rows = draw(&model, &options, 400);
        let analysis = figures(&rows, BLOCK);
        (mean(&analysis, "Context Length"), rows[0].hash_ids.len(), analysis.arrivals.duration_ms, rows)
    };
    let (context, blocks, duration, _) = drawn(Options::default());
    assert_eq!((context, blocks, duration), (12.0, 5, 1990));
    let (context, blocks, ..) = drawn(Options { prefix_len_multiplier: 2.0, ..Options::default() });
    assert_eq!((context, blocks), (24.0, 8), "a multiplier above 1 has an effect, too");
    let (context, blocks, ..) = drawn(Options { prefix_len_multiplier: 0.4, ..Options::default() });
    assert_eq!((context, blocks), (4.0, 3));
    let (context, blocks, ..) = drawn(Options { prompt_len_multiplier: 3.0, ..Options::default() });
    assert_eq!((context, blocks), (12.0, 9));
    let (context, blocks, ..) = drawn(Options { prompt_len_multiplier: 0.01, ..Options::default() });
    assert_eq!((context, blocks), (12.0, 4), "every request keeps at least one block of its own");
    let (_, _, duration, _) = drawn(Options { speedup_ratio: 4.0, ..Options::default() });
    assert_eq!(duration, 497);
    let (.., rows) =
        drawn(Options { limits: Limits { osl_multiplier: 0.5, ..Limits::default() }, ..Options::default() });
    assert!(rows.iter().all(|row| row.output_length == 5));
}

#[test]
fn copies_of_a_tree_are_disjoint_and_each_lasts_as_long_as_the_source() {
    let shared: Vec<Row> = (0..50).map(|i| row(i, 8, &[0, 1 + i])).collect();
    let roots = |copies| {
        let options = Options { prefix_root_multiplier: copies, ..Options::default() };
        let drawn = draw(&learn(&shared), &options, 50);
        drawn.iter().map(|row| row.hash_ids[0]).collect::<HashSet<_>>().len()
    };
    assert_eq!((roots(1), roots(4)), (1, 4));
    for (requests, trees) in [(99, 1), (100, 2), (149, 2), (150, 3)] {
        let drawn = draw(&learn(&shared), &Options::default(), requests);
        let roots: HashSet<u64> = drawn.iter().map(|row| row.hash_ids[0]).collect();
        assert_eq!((drawn.len(), roots.len()), (requests, trees), "one tree for every fifty requests");
    }
}

#[test]
fn unsound_traces_and_options_out_of_range_are_refused() {
    let learning =
        |rows: &[Row]| Model::learn(traces::reader(rows, BLOCK), |_| {}).expect_err("an unsound trace").to_string();
    let sound = row(3, 10, &[0, 1, 2]);
    for (wrong, why) in [
        (row(2, 10, &[0, 1, 2]), "given:2: the request arrives at 2 ms"),
        (row(3, 10, &[0, 1]), "given:2: 2 ids without one for the partial last block"),
        (row(3, 8, &[0, 1, 2]), "given:2: 3 ids are too many for 8 tokens in blocks of 4"),
        (row(3, 8, &[0, 2]), "given:2: the id 2 has two parents"),
    ] {
        let text = learning(&[sound.clone(), wrong]);
        assert!(text.starts_with(why), "{text}");
    }

    let model = learn(&[sound]);
    let refusal = |options: &Options| model.requests(options).expect_err("an option out of range").to_string();
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e7] {
        assert!(refusal(&Options { speedup_ratio: wrong, ..Options::default() }).starts_with("--speedup-ratio"));
        assert!(refusal(&Options { prefix_len_multiplier: wrong, ..Options::default() }).starts_with("--prefix-len"));
        assert!(refusal(&Options { prompt_len_multiplier: wrong, ..Options::default() }).starts_with("--prompt-len"));
        let limits = Limits { osl_multiplier: wrong, ..Limits::default() };
        assert!(refusal(&Options { limits, ..Options::default() }).starts_with("--osl-multiplier"));
    }
    assert!(refusal(&Options { prefix_root_multiplier: 0, ..Options::default() }).starts_with("--prefix-root"));
    assert!(refusal(&Options { num_requests: 0, ..Options::default() }).starts_with("--requests"));
    assert!(refusal(&Options { shuffle: 0, ..Options::default() }).starts_with("--shuffle is 0"));
    let limits = Limits { min_isl: 2, max_isl: 1, ..Limits::default() };
    assert!(refusal(&Options { limits, ..Options::default() }).contains("--min-isl is 2, above the maximum 1"));

    let limits = Limits { max_isl: 9, ..Limits::default() };
    let mut requests = model.requests(&Options { limits, ..Options::default() }).unwrap();
    let error = requests.next().expect("an error").expect_err("nothing passes");
    assert!(matches!(error, ToolError::NothingPasses { shortest: 10, longest: 10, .. }), "{error}");
    assert!(requests.next().is_none());
}

fn scenario(kind: Kind, parameters: &Parameters, n: usize) -> Vec<Row> {
    let scenario = Scenario::new(kind, parameters, 16, Limits::default(), 7).expect("parameters in range");
    scenario.requests(n as u64).unwrap().collect::<Result<_, _>>().expect("requests that pass")
}

fn near(got: f64, expected: f64, what: &str) {
    assert!((got / expected - 1.0).abs() < 0.1, "{what}: {got}, not about {expected}");
}

#[test]
fn scenarios_are_sound_and_reproducible() {
    for kind in Kind::ALL {
        let rows = scenario(kind, &Parameters::default(), 400);
        assert_eq!(rows, scenario(kind, &Parameters::default(), 400), "{kind}");
        let analysis = figures(&rows, 16);
        assert_eq!(analysis.requests, 400, "{kind}");
        assert!(analysis.hit_blocks > 0, "{kind}");
        assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
    }
}

#[test]
fn scenarios_follow_their_parameters() {
    let parameters = Parameters {
        prefixes: Some(10),
        prefix_tokens: Some(400.0),
        zipf: Some(0.0),
        prompt_tokens: Some(100.0),
        output_tokens: Some(50.0),
        rate: Some(20.0),
        ..Parameters::default()
    };
    let rows = scenario(Kind::SharedPrompts, &parameters, 20_000);
    let analysis = figures(&rows, 16);
    near(analysis.arrivals.requests_per_second.unwrap(), 20.0, "rate");
    near(mean(&analysis, "Output Length"), 50.5, "answers");
    let firsts: HashSet<u64> = rows.iter().map(|row| row.hash_ids[0]).collect();
    assert!(firsts.len() <= 10, "{} prompts", firsts.len());

    let sessions = Parameters { turns: Some(5.0), pause: Some(2.0), ..parameters.clone() };
    for kind in [Kind::Conversations, Kind::Agents] {
        let analysis = figures(&scenario(kind, &sessions, 20_000), 16);
        near(analysis.arrivals.requests_per_second.unwrap(), 20.0, "rate");
        let sessions = analysis.sessions.expect("sessions");
        near(sessions.requests_per_session.mean, 5.0, "turns");
        near(sessions.gap_ms.unwrap().mean, 2000.0, "pauses");
    }

    let rag = Parameters {
        retrieved: Some(2),
        prefixes: Some(3),
        system_tokens: Some(32.0),
        prefix_tokens: Some(300.0),
        ..Parameters::default()
    };
    let rows = scenario(Kind::Rag, &rag, 1_000);
    let starts: HashSet<u64> = rows.iter().map(|row| row.hash_ids[0]).collect();
    assert_eq!(starts.len(), 1, "the system prompt comes first");
}

#[test]
fn conversations_end_at_the_longest_context_and_agents_compact_it() {
    let parameters = Parameters {
        prefixes: Some(1),
        prefix_tokens: Some(0.0),
        max_context: Some(1_000),
        turns: Some(100.0),
        prompt_tokens: Some(40.0),
        output_tokens: Some(100.0),
        ..Parameters::default()
    };
    let lengths = |kind| {
        let mut sessions: HashMap<String, Vec<u32>> = HashMap::new();
        for row in scenario(kind, &parameters, 5_000) {
            sessions.entry(row.session_id.expect("a name")).or_default().push(row.input_length);
        }
        assert!(sessions.values().flat_map(|lengths| &lengths[1..]).all(|&length| length <= 1_000), "{kind}");
        sessions.into_values().collect::<Vec<_>>()
    };
    assert!(lengths(Kind::Conversations).iter().all(|lengths| lengths.is_sorted()));
    assert!(lengths(Kind::Agents).iter().any(|lengths| !lengths.is_sorted()));
}

#[test]
fn parameters_out_of_range_are_refused() {
    let refusal = |kind, parameters: Parameters| {
        Scenario::new(kind, &parameters, 16, Limits::default(), 0).expect_err("out of range").to_string()
    };
    let none = Parameters::default;
    for (parameters, option) in [
        (Parameters { prefixes: Some(0), ..none() }, "--prefixes"),
        (Parameters { prefix_tokens: Some(-1.0), ..none() }, "--prefix-tokens"),
        (Parameters { zipf: Some(-0.1), ..none() }, "--zipf"),
        (Parameters { prompt_tokens: Some(f64::NAN), ..none() }, "--prompt-tokens"),
        (Parameters { output_tokens: Some(1e9), ..none() }, "--output-tokens"),
        (Parameters { rate: Some(0.0), ..none() }, "--rate"),
    ] {
        assert!(refusal(Kind::Rag, parameters).starts_with(option), "{option}");
    }
    for (parameters, option) in [
        (Parameters { turns: Some(0.5), ..none() }, "--turns"),
        (Parameters { pause: Some(f64::INFINITY), ..none() }, "--pause"),
        (Parameters { max_context: Some(0), ..none() }, "--max-context"),
    ] {
        assert!(refusal(Kind::Agents, parameters.clone()).starts_with(option), "{option}");
        assert!(refusal(Kind::Rag, parameters).contains("does not apply to rag"), "{option}");
    }
    let many = Parameters { retrieved: Some(4), prefixes: Some(3), ..none() };
    assert!(refusal(Kind::Rag, many).starts_with("--retrieved"));
    assert!(refusal(Kind::Agents, Parameters { retrieved: Some(1), ..none() }).contains("not apply to agents"));
    assert!("zipf".parse::<Kind>().unwrap_err().to_string().contains("shared-prompts, conversations"));
}
