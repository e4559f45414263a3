//! The simulated fleet: scenarios computed by hand, and laws that hold for all.

use std::path::Path;
use std::time::Duration;

use kvleap::mock::{Constant, Latency};
use kvleap::sim::{
    Blocks, Bursts, Change, Events, Experiment, Incident, Knowledge, Options, PolicyReport, PredictionAccuracy, Report,
    Sessions, SimError, Source, Traffic, Vary, Workload, World, run,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::common::scratch::Scratch;
use crate::common::traces;

/// A prompt takes 10 ms and 5 ms for each of its blocks. A step that decodes takes 20 ms.
const LATENCY: Constant = Constant { prefill_ms: 10.0, prefill_block_ms: 5.0, decode_ms: 20.0 };

/// Options for three workers with five blocks of four tokens each, which serve the trace in turn.
fn small(trace: &Path) -> Options {
    Options {
        workload: Workload { source: Source::Trace { path: trace.to_owned(), block_size: 4 }, ..Workload::default() },
        workers: 3,
        block_size: 4,
        blocks: Some(5),
        latency: Some(Latency::Constant(LATENCY)),
        policies: vec!["round-robin"],
        ..Options::default()
    }
}

fn play(options: Options) -> Result<Report, SimError> {
    run(&Experiment::new("compare", options, [])?, |_| {})
}

fn only(options: Options) -> PolicyReport {
    let report = play(options).expect("sensible options");
    let [policy] = &report.policies[..] else { panic!("one policy") };
    policy.clone()
}

/// Writes a trace. Rows are a time in ms, the tokens of the prompt and of the answer, and ids.
fn trace(scratch: &Scratch, rows: &[(u64, u32, u32, &[u64])]) -> std::path::PathBuf {
    let line = |(ms, input, output, ids): &(u64, u32, u32, &[u64])| {
        format!(r#"{{"timestamp": {ms}, "input_length": {input}, "output_length": {output}, "hash_ids": {ids:?}}}"#)
    };
    scratch.file_path("trace.jsonl", rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Writes a trace whose rows all belong to one session.
fn session(scratch: &Scratch, rows: &[(u64, u32, u32, &[u64])]) -> std::path::PathBuf {
    let line = |(ms, input, output, ids): &(u64, u32, u32, &[u64])| {
        format!(
            r#"{{"timestamp": {ms}, "input_length": {input}, "output_length": {output}, "hash_ids": {ids:?}, "session_id": "a"}}"#
        )
    };
    scratch.file_path("session.jsonl", rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{value} is not {expected}");
}

/// Asserts that two numbers are equal within the precision of quantiles.
fn about(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-3 * expected, "{value} is not about {expected}");
}

/// | request | comes | prompt | answer | worker | first computed | takes, ms | first token | done | reused, expected |
/// |---|---|---|---|---|---|---|---|---|---|
/// | 0 | 0   | 1 2      | 2 | 0 | 0   | 10 + 2 x 5, 20             | 20  | 40  | 0, 0 |
/// | 1 | 0   | 1 2      | 1 | 1 | 0   | 10 + 2 x 5                 | 20  | 20  | 0, 0 |
/// | 2 | 0   | 1        | 1 | 2 | 0   | 10 + 5                     | 15  | 15  | 0, 0 |
/// | 3 | 100 | 1 2 3    | 2 | 0 | 100 | 10 + 5, then with 6        | 115 | 150 | 2, 2 |
/// | 4 | 100 | 1 and 2 tokens | 1 | 1 | 100 | 10 + 5               | 115 | 115 | 1, 1 |
/// | 5 | 110 | 5 6      | 1 | 2 | 110 | 10 + 2 x 5                 | 130 | 130 | 0, 0 |
/// | 6 | 110 | 1 2 3    | 1 | 0 | 115 | 10 + 5 and 20 for 3        | 150 | 150 | 2, 2 |
/// | 7 | 120 | 5 6      | 3 | 1 | 120 | 10 + 2 x 5, 20, 20         | 140 | 180 | 0, 0 |
/// | 8 | 120 | 5 6 7    | 1 | 2 | 130 | 10 + 5                     | 145 | 145 | 2, 0 |
/// | 9 | 200 | 10 11 12 | 1 | 0 | 200 | 10 + 3 x 5                 | 225 | 225 | 0, 0 |
///
/// The last token of a prompt is always computed, and with it the last block, even if it is cached. So request 6
/// computes block 3 again, into a block of its own. When request 8 comes, worker 2 has not yet sent the event that it
/// computed 5 and 6. For request 9, worker 0 has one of its five blocks free and gives up both copies of block 3, which
/// counts as one evicted block.
#[test]
fn ten_requests_on_three_workers_take_what_was_computed_by_hand() {
    let scratch = Scratch::new("hand");
    let path = trace(
        &scratch,
        &[
            (0, 8, 2, &[1, 2]),
            (0, 8, 1, &[1, 2]),
            (0, 4, 1, &[1]),
            (100, 12, 2, &[1, 2, 3]),
            (100, 6, 1, &[1, 9]),
            (110, 8, 1, &[5, 6]),
            (110, 12, 1, &[1, 2, 3]),
            (120, 8, 3, &[5, 6]),
            (120, 12, 1, &[5, 6, 7]),
            (200, 12, 1, &[10, 11, 12]),
        ],
    );
    let report = only(small(&path));
    assert_eq!((report.requests, report.finished, report.rejected, report.retried), (10, 10, 0, 0));
    assert_eq!(report.blocks, Blocks { asked: 23, reused: 7, computed: 16, recomputed: 0, predicted: 5 });
    assert_eq!(report.prediction, PredictionAccuracy { exact: 9, over: 0, under: 1, over_blocks: 0, under_blocks: 2 });
    near(report.block_hit_rate, 7.0 / 23.0);
    near(report.request_hit_rate, 0.4);

    // Sorted, the times to the first token are 15 15 15 20 20 20 20 25 25 40, and the latencies 15 15 20 20 25 25 40 40
    // 50 60.
    near(report.ttft_ms.mean, 21.5);
    about(report.ttft_ms.p50, 20.0);
    about(report.ttft_ms.p95, 40.0);
    near(report.latency_ms.mean, 31.0);
    about(report.latency_ms.p50, 25.0);
    about(report.latency_ms.p95, 60.0);
    about(report.latency_ms.p99, 60.0);
    about(report.latency_ms.max, 60.0);
    // Requests 3, 4, 6 and 8 reuse blocks.
    assert_eq!((report.latency_hit_ms.count, report.latency_miss_ms.count), (4, 6));
    near(report.latency_hit_ms.mean, 32.5);
    near(report.latency_miss_ms.mean, 30.0);
    near(report.ttft_hit_ms.mean, 23.75);
    near(report.ttft_miss_ms.mean, 20.0);
    // Request 6 waits for 5 ms, and request 8 for 10 ms.
    near(report.queue_ms.mean, 1.5);

    assert_eq!(report.requests_per_worker, [4, 3, 3]);
    assert_eq!(report.busy_s_per_worker, [0.115, 0.095, 0.05]);
    near(report.busy_gpu_s, 0.26);
    near(report.load_imbalance, 115.0 * 3.0 / 260.0);
    near(report.load_cv, (6650.0_f64 / 9.0).sqrt() * 3.0 / 260.0);
    near(report.requests_imbalance, 1.2);
    near(report.requests_cv, (2.0_f64 / 9.0).sqrt() * 0.3);

    assert_eq!(report.match_blocks.edges, [0.0, 1.0, 2.0, 4.0]);
    assert_eq!(report.match_blocks.counts, [6, 1, 3]);
    assert_eq!((report.preempted, report.evicted_blocks), (0, 1));
    near(report.prefill_saved_gpu_s, 7.0 * 0.005);
    near(report.span_s, 0.225);
    // Worker 0 sends the stores of requests 0, 3 and 9 and the removal for 9, worker 1 the stores of 1 and 7, and
    // worker 2 the stores of 2, 5 and 8.
    assert_eq!(report.events, Events { said: 9, lost: 0, duplicated: 0, rejected: 0 });
}

#[test]
fn longest_prefix_reuses_more_than_round_robin() {
    let scratch = Scratch::new("deepest");
    let rows: Vec<(u64, u32, u32, &[u64])> = (0..12).map(|ms| (100 * ms, 12, 1, &[1, 2, 3][..])).collect();
    let path = trace(&scratch, &rows);
    let report = play(Options { policies: vec!["round-robin", "longest-prefix"], ..small(&path) }).unwrap();
    // Every request reuses two of three blocks, except the first on each worker.
    let reused: Vec<u64> = report.policies.iter().map(|policy| policy.blocks.reused).collect();
    assert_eq!(reused, [18, 22]);
}

#[test]
fn equal_seeds_give_equal_reports_and_different_seeds_different_ones() {
    let report = |seed| {
        let workload = Workload { requests: Some(400), ..Workload::default() };
        let world = World { jitter: Duration::from_millis(80), loss: 0.02, duplication: 0.02, ..World::default() };
        let report = play(Options { workload, world, seed, temperature: 5.0, ..Options::default() }).unwrap();
        serde_json::to_string(&report).unwrap()
    };
    assert_eq!(report(1), report(1));
    assert_ne!(report(1), report(2));
}

#[test]
fn a_grid_has_a_cell_for_every_combination_in_order() {
    let scratch = Scratch::new("grid");
    let path = trace(&scratch, &[(0, 8, 1, &[1, 2]), (500, 8, 1, &[1, 2])]);
    let vary = ["lag=0,1", "workers=2,1", "policy=round-robin,cost"].map(|vary| vary.parse::<Vary>().unwrap());
    let report = run(&Experiment::new("grid", small(&path), vary).unwrap(), |_| {}).unwrap();
    let cells: Vec<(f64, f64, &str)> =
        report.policies.iter().map(|policy| (policy.at[0], policy.at[1], policy.name.as_str())).collect();
    let mut expected = Vec::new();
    for lag in [0.0, 1.0] {
        for workers in [2.0, 1.0] {
            expected.extend([(lag, workers, "round-robin"), (lag, workers, "cost")]);
        }
    }
    assert_eq!(cells, expected);
    let axes: Vec<&str> = report.axes.iter().map(|axis| axis.name.as_str()).collect();
    assert_eq!(axes, ["lag", "workers"]);
    let twice = ["lag=0", "lag=1"].map(|vary| vary.parse::<Vary>().unwrap());
    assert!(Experiment::new("grid", small(&path), twice).unwrap_err().to_string().contains("lag is given twice"));
}

#[test]
fn progress_ends_with_all_requests_of_all_cells() {
    let scratch = Scratch::new("progress");
    let path = trace(&scratch, &[(0, 8, 1, &[1, 2]), (500, 8, 1, &[1, 2])]);
    let vary = ["lag=0,1,2", "policy=round-robin,cost"].map(|vary| vary.parse::<Vary>().unwrap());
    let mut seen = Vec::new();
    run(&Experiment::new("grid", small(&path), vary).unwrap(), |at| seen.push((at.done, at.total))).unwrap();
    assert_eq!(seen, (1..=12).map(|done| (done, 12)).collect::<Vec<_>>());
}

/// The kinds of traffic show where a policy should win, and where none can.
#[test]
fn cost_wins_where_prompts_are_shared_and_loses_nothing_elsewhere() {
    let mean = |traffic: Traffic| {
        let workload = Workload { source: Source::Mix(traffic.into()), requests: Some(800), ..Workload::default() };
        let policies = vec!["round-robin", "least-loaded", "longest-prefix", "cost"];
        let report = play(Options { workload, policies, ..Options::default() }).unwrap();
        report.policies.iter().map(|policy| policy.ttft_ms.mean).collect::<Vec<_>>()
    };
    let [even, least, _, cost] = mean(Traffic::Conversations)[..] else { panic!("four policies") };
    assert!(cost < 0.8 * even && cost < 0.8 * least, "conversations: {cost} ms, {even} and {least}");
    let [even, least, _, cost] = mean(Traffic::Unique)[..] else { panic!("four policies") };
    // The only gain is in not queueing behind the prompts of others.
    assert!(cost > 0.7 * even.min(least), "unique prompts: {cost} ms, {even} and {least}");
    // A prompt that all requests share is soon cached on every worker.
    let [even, least, deepest, cost] = mean(Traffic::HotSpot)[..] else { panic!("four policies") };
    let best = even.min(least);
    assert!(cost > 0.8 * best && deepest > 0.8 * best, "hot spot: {cost} ms and {deepest}, {even} and {least}");
    // A policy that follows the deepest match, however short it is, sends all requests to the same workers.
    let [even, _, deepest, cost] = mean(Traffic::Rag)[..] else { panic!("four policies") };
    assert!(deepest > 2.0 * even && cost < 1.2 * even, "documents: {deepest} ms, {cost} and {even}");
}

/// There is one worker, and it restarts while it serves a request.
#[test]
fn a_restart_costs_the_work_done_so_far_and_one_retry() {
    let scratch = Scratch::new("restart");
    let path = trace(&scratch, &[(0, 8, 2, &[1, 2]), (200, 8, 1, &[1, 2])]);
    let restart = |ms| Incident { at: Duration::from_millis(ms), worker: 0, change: Change::Restart };
    let world = |incidents, retries| World { incidents, retries, ..World::default() };
    let one = Options { workers: 1, ..small(&path) };

    // The restart loses ten of the twenty milliseconds of the prompt, and then the request takes its full forty.
    let report = only(Options { world: world(vec![restart(10)], None), ..one.clone() });
    assert_eq!((report.finished, report.rejected, report.retried), (2, 0, 1));
    near(report.latency_ms.max.round(), 50.0);
    assert_eq!(report.blocks, Blocks { asked: 4, reused: 1, computed: 5, recomputed: 2, predicted: 1 });
    near(report.busy_s_per_worker[0], 0.010 + 0.040 + 0.015);

    // A restart between the two requests empties the cache, and the router knows.
    let report = only(Options { world: world(vec![restart(100)], None), ..one.clone() });
    assert_eq!((report.retried, report.blocks.reused, report.blocks.predicted), (0, 0, 0));
    // If the news of the restart is late, the router does not know.
    let late = World { delay: Duration::from_millis(150), ..world(vec![restart(180)], None) };
    let report = only(Options { world: late, ..one.clone() });
    assert_eq!((report.blocks.reused, report.blocks.predicted, report.prediction.over), (0, 1, 1));

    let report = only(Options { world: world(vec![restart(10)], Some(0)), ..one.clone() });
    assert_eq!((report.requests, report.finished, report.rejected, report.retried), (2, 1, 1, 0));
    let again = vec![restart(10), restart(15), restart(20), restart(25)];
    let report = only(Options { world: world(again, None), ..one });
    assert_eq!((report.finished, report.rejected, report.retried), (1, 1, 3), "three tries after the first");
}

#[test]
fn a_worker_that_leaves_is_not_chosen_and_one_that_joins_is() {
    let scratch = Scratch::new("leave");
    let rows: Vec<(u64, u32, u32, &[u64])> = (0..8).map(|ms| (100 * ms, 8, 1, &[1, 2][..])).collect();
    let path = trace(&scratch, &rows);
    let at = |ms, worker, change| Incident { at: Duration::from_millis(ms), worker, change };
    let played = |workers, incidents| {
        let world = World { incidents, ..World::default() };
        only(Options { workers, world, ..small(&path) })
    };
    assert_eq!(played(2, vec![]).requests_per_worker, [4, 4]);
    assert_eq!(played(2, vec![at(350, 1, Change::Leave)]).requests_per_worker, [6, 2]);
    assert_eq!(played(1, vec![at(350, 1, Change::Join)]).requests_per_worker, [6, 2]);
    let report = played(1, vec![at(350, 0, Change::Leave), at(550, 0, Change::Join)]);
    assert_eq!((report.requests, report.finished, report.rejected), (8, 6, 2));
    // The worker lost its cache when it left, so the first request after it joins again computes everything.
    assert_eq!(report.blocks.computed, 2 + 3 + 2 + 1);
}

#[test]
fn a_slow_worker_takes_longer_until_it_recovers() {
    let scratch = Scratch::new("slow");
    let rows: Vec<(u64, u32, u32, &[u64])> = vec![(0, 4, 1, &[1]), (100, 4, 1, &[2]), (200, 4, 1, &[3])];
    let path = trace(&scratch, &rows);
    let at = |ms, times| Incident { at: Duration::from_millis(ms), worker: 0, change: Change::Slow(times) };
    let world = World { incidents: vec![at(50, 3.0), at(150, 1.0)], ..World::default() };
    let report = only(Options { workers: 1, world, ..small(&path) });
    near(report.busy_s_per_worker[0], 0.015 + 0.045 + 0.015);
    about(report.latency_ms.max, 45.0);
}

/// The same prompt is requested again and again. The policy spreads it over all workers while it knows of no match.
#[test]
fn lost_and_late_events_change_the_expected_reuse_and_repeated_ones_do_not() {
    let scratch = Scratch::new("events");
    let rows: Vec<(u64, u32, u32, &[u64])> = (0..40).map(|ms| (100 * ms, 12, 1, &[1, 2, 3][..])).collect();
    let path = trace(&scratch, &rows);
    let played =
        |world: World, knowledge| only(Options { world, knowledge, policies: vec!["longest-prefix"], ..small(&path) });
    let good = played(World::default(), Knowledge::Events);
    assert_eq!((good.blocks.reused, good.blocks.predicted), (78, 78));

    let twice = played(World { duplication: 1.0, ..World::default() }, Knowledge::Events);
    assert_eq!((twice.events.duplicated, twice.events.said), (good.events.said, good.events.said));
    let events = good.events;
    assert_eq!(PolicyReport { events, ..twice }, good, "repeated events change nothing else");

    let none = played(World { loss: 1.0, ..World::default() }, Knowledge::Events);
    assert_eq!((none.events.lost, none.blocks.predicted), (none.events.said, 0));
    assert!(none.blocks.reused < 78 && none.prediction.under > 30, "{:?}", none.prediction);
    assert_eq!(none.finished, 40);

    // In the first second the router knows of no match. Then the events of all workers that were chosen so far arrive.
    let late = played(World { delay: Duration::from_secs(1), ..World::default() }, Knowledge::Events);
    assert!(late.blocks.predicted < 78 && late.blocks.predicted > 50, "{:?}", late.blocks);
    // With predictions, the router knows its own decisions at once.
    let late_but_known = played(World { delay: Duration::from_secs(1), ..World::default() }, Knowledge::Predictions);
    assert_eq!(late_but_known.blocks.predicted, 78);
    let guessed = played(World { loss: 1.0, ..World::default() }, Knowledge::Decisions);
    assert_eq!((guessed.blocks.predicted, guessed.blocks.reused), (78, 78));
}

#[test]
fn a_closed_session_waits_for_its_answer_and_reuses_it() {
    let scratch = Scratch::new("session");
    // The answer to 8 tokens has 5. The first four of them are the third block of the second prompt.
    let path = session(&scratch, &[(0, 8, 5, &[1, 2]), (30, 16, 1, &[1, 2, 3, 4])]);
    let played = |sessions| {
        let options = Options { workers: 1, ..small(&path) };
        let workload = Workload { sessions: Some(sessions), ..options.workload.clone() };
        only(Options { workload, ..options })
    };
    // The first request takes 20 ms and four decoding steps.
    let closed = played(Sessions::Closed);
    assert_eq!(closed.blocks.reused, 3);
    near(closed.span_s, 0.1 + 0.03 + 0.015);
    // The second request comes at 30 ms and finds two blocks. It is admitted when the current step ends at 40 ms.
    let open = played(Sessions::Open);
    assert_eq!(open.blocks.reused, 2);
    near(open.queue_ms.max.round(), 10.0);
}

#[test]
fn adapters_share_no_blocks_and_models_no_workers() {
    let played = |models, adapters| {
        let workload = Workload {
            source: Source::Mix(Traffic::HotSpot.into()),
            requests: Some(400),
            models,
            adapters,
            ..Workload::default()
        };
        let policies = vec!["round-robin"];
        only(Options { workload, workers: 4, policies, blocks: Some(20_000), ..Options::default() })
    };
    // The shared prompt misses once on every worker, for each model and adapter that the worker serves.
    let misses = |report: &PolicyReport| report.latency_miss_ms.count;
    let alone = played(1, 1);
    assert!((4..=6).contains(&misses(&alone)), "{}", misses(&alone));
    let adapters = played(1, 5);
    assert!((20..=28).contains(&misses(&adapters)), "{}", misses(&adapters));
    let models = played(4, 1);
    assert!((4..=6).contains(&misses(&models)), "{}", misses(&models));
    assert!(models.requests_per_worker.iter().all(|&served| served > 60), "{:?}", models.requests_per_worker);
}

#[test]
fn bad_input_is_refused_before_the_simulation_starts() {
    let scratch = Scratch::new("bad");
    let path = trace(&scratch, &[(0, 8, 1, &[1, 2]), (0, 24, 9, &[1, 2, 3, 4, 5, 6])]);
    let at = |worker, change| World {
        incidents: vec![Incident { at: Duration::from_secs(1), worker, change }],
        ..World::default()
    };
    let good = Options { blocks: Some(8), ..small(&path) };
    assert!(play(good.clone()).is_ok());
    let workload = |change: fn(&mut Workload)| {
        let mut options = good.clone();
        change(&mut options.workload);
        options
    };
    let cases = [
        (Options { workers: 0, ..good.clone() }, "--workers is 0"),
        (Options { workers: 1 << 20, ..good.clone() }, "at most 65536"),
        (Options { policies: vec![], ..good.clone() }, "--policy is empty"),
        (Options { blocks: Some(7), ..good.clone() }, "request 2 needs 8 blocks, but a worker has 7"),
        (Options { blocks: Some(0), ..good.clone() }, "--blocks is 0"),
        (Options { block_size: 3, ..good.clone() }, "cannot be cut"),
        (Options { block_size: 0, ..good.clone() }, "--block-size is 0"),
        (Options { profile: "gpt@tpu".to_owned(), ..good.clone() }, "llama-3.1-8b"),
        (Options { temperature: 3.0, ..good.clone() }, "add it to --policy"),
        (Options { temperature: f64::NAN, ..good.clone() }, "--temperature"),
        (Options { world: at(3, Change::Leave), ..good.clone() }, "worker 3 is not present"),
        (Options { world: at(0, Change::Join), ..good.clone() }, "worker 0 is present already"),
        (Options { world: at(0, Change::Slow(0.0)), ..good.clone() }, "--slow"),
        (Options { world: World { loss: 1.5, ..World::default() }, ..good.clone() }, "--loss is 1.5"),
        (workload(|workload| workload.models = 4), "more than the 3 workers"),
        (workload(|workload| workload.requests = Some(0)), "--requests is 0"),
        (workload(|workload| workload.rate = Some(-1.0)), "--rate is -1"),
        (workload(|workload| (workload.speedup, workload.rate) = (Some(2.0), Some(1.0))), "--speedup"),
        (workload(|workload| workload.sessions = Some(Sessions::Closed)), "session_id"),
        (
            workload(|workload| workload.bursts = Some(Bursts { on: Duration::ZERO, off: Duration::ZERO })),
            "--burst is 0",
        ),
        (
            workload(|workload| workload.source = Source::Trace { path: "no/such.jsonl".into(), block_size: 4 }),
            "no/such.jsonl",
        ),
    ];
    for (options, says) in cases {
        let error = play(options).expect_err(says).to_string();
        assert!(error.contains(says), "{error:?} does not say {says:?}");
    }
    let error = Options::policy("best").unwrap_err().to_string();
    assert!(error.contains("round-robin") && error.contains("cost"), "{error}");
    for vary in ["lag", "lag=", "lag=x", "colour=1", "policy=best", "policy="] {
        assert!(vary.parse::<Vary>().is_err(), "{vary}");
    }
    // The second cell is impossible, so the first is not played either.
    let vary: Vary = "blocks=8,7".parse().unwrap();
    let played = run(&Experiment::new("grid", good, [vary]).unwrap(), |at| panic!("{at:?} was played"));
    assert!(matches!(played, Err(SimError::TooLong { request: 2, blocks: 8, capacity: 7 })));
}

fn worlds() -> impl Strategy<Value = World> {
    let incident = (0..4000_u64, 0..3_u32, prop_oneof![Just(Change::Restart), Just(Change::Slow(2.5))]);
    let incident = incident.prop_map(|(ms, worker, change)| Incident { at: Duration::from_millis(ms), worker, change });
    let incidents = prop::collection::vec(incident, 0..5);
    let part = || prop_oneof![2 => Just(0.0), 1 => Just(0.3)];
    let time = || prop_oneof![2 => Just(0), 1 => 1..900_u64].prop_map(Duration::from_millis);
    (incidents, part(), part(), time(), time(), 0..3_u32, any::<bool>()).prop_map(
        |(mut incidents, loss, duplication, delay, jitter, retries, leaves)| {
            if leaves {
                let at = Duration::from_secs(4);
                incidents.push(Incident { at, worker: 2, change: Change::Leave });
                incidents.push(Incident { at: 2 * at, worker: 3, change: Change::Join });
            }
            World { delay, jitter, loss, duplication, incidents, retries: Some(retries) }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: RngSeed::Fixed(6), ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_lost_and_all_figures_add_up(
        rows in traces::random_rows(60, 4),
        world in worlds(),
        blocks in 21..40_u32,
        closed in any::<bool>(),
        knowledge in prop_oneof![Just(Knowledge::Events), Just(Knowledge::Predictions), Just(Knowledge::Decisions)],
    ) {
        let scratch = Scratch::new("laws");
        let path = scratch.file_path("trace.jsonl", traces::text(&rows));
        let policies = kvleap::route::policy::NAMES.to_vec();
        let mut options = Options { world: world.clone(), blocks: Some(blocks), policies, knowledge, ..small(&path) };
        if closed && rows.iter().any(|row| row.session_id.is_some()) {
            options.workload.sessions = Some(Sessions::Closed);
        }
        let report = play(options.clone()).unwrap();
        for policy in &report.policies {
            prop_assert_eq!(policy.requests, rows.len() as u64);
            prop_assert_eq!(policy.requests, policy.finished + policy.rejected);
            prop_assert_eq!(policy.requests_per_worker.iter().sum::<u64>(), policy.finished);
            let Blocks { asked, reused, computed, recomputed, predicted } = policy.blocks;
            if policy.preempted == 0 && policy.retried == 0 && policy.rejected == 0 {
                prop_assert_eq!(asked, reused + computed);
                prop_assert_eq!(recomputed, 0);
            }
            let PredictionAccuracy { exact, over, under, over_blocks, under_blocks } = policy.prediction;
            prop_assert_eq!(exact + over + under, policy.finished);
            prop_assert_eq!(predicted + under_blocks, reused + over_blocks);
            for bins in [&policy.latency_bins, &policy.match_blocks] {
                prop_assert_eq!(bins.counts.iter().sum::<u64>(), policy.finished);
                prop_assert_eq!(bins.edges.len(), bins.counts.len() + 1);
            }
            let over_time = policy.over_time.iter().fold((0, 0, 0), |sum, interval| {
                (sum.0 + interval.requests, sum.1 + interval.asked, sum.2 + interval.reused)
            });
            prop_assert_eq!(over_time, (policy.finished, asked, reused));
            // No worker is busy for longer than the simulation lasts.
            let longest = policy.busy_s_per_worker.iter().fold(0.0_f64, |most, &busy| most.max(busy));
            prop_assert!(policy.rejected > 0 || longest <= policy.span_s + 1e-9, "{} of {}", longest, policy.span_s);
            prop_assert!((policy.busy_s_per_worker.iter().sum::<f64>() - policy.busy_gpu_s).abs() < 1e-9);
            let steady = world.incidents.iter().all(|incident| !matches!(incident.change, Change::Slow(_)));
            if steady && policy.preempted == 0 && policy.retried == 0 && policy.rejected == 0 {
                // Besides prompts and their blocks, workers are busy with decoding, which takes at most one step per
                // token.
                let prompts = 0.010 * policy.finished as f64 + 0.005 * computed as f64;
                let tokens: u32 = rows.iter().map(|row| row.output_length.max(1) - 1).sum();
                let decoding = policy.busy_gpu_s - prompts;
                prop_assert!(decoding >= -1e-9 && decoding <= 0.020 * f64::from(tokens) + 1e-9, "{}", decoding);
            }
        }
        prop_assert_eq!(&report, &play(options).unwrap());
    }
}
