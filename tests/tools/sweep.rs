//! The sweep: what trials play and count, which answers are compared, and what a report says. No test depends on times.

use std::io::ErrorKind;
use std::time::Duration;

use kvleap::baseline::reference::Reference;
use kvleap::baseline::{Collisions, Design};
use kvleap::mock::Config;
use kvleap::report::Theme;
use kvleap::sweep::{
    Job, Load, Op, Options, Partition, Report, Schedule, Spec, SweepError, System, Threads, What, Workload, check,
    figure, perform, play,
};
use kvleap::{Block, Event, EventData, Worker};

fn schedule() -> Schedule {
    let defaults = Partition::default();
    let engine = Config { blocks: 1200, ..defaults.engine.clone() };
    // The rate is low enough for the workers to have served most requests when the last one comes.
    let partition = Partition { requests: Some(160), requests_per_second: 2, workers: 3, engine, ..defaults };
    partition.schedule(|_, _| ()).expect("the defaults are valid")
}

fn load() -> Load {
    Load::new(schedule()).expect("both halves have lookups and events")
}

fn threads() -> Threads {
    Threads { query: 2, event: 2, writers: 2, pin: false }
}

fn lookups(load: &Load) -> Vec<&[u64]> {
    fn query(op: &Op) -> Option<&[u64]> {
        if let What::Lookup(query) = &op.what { Some(query) } else { None }
    }
    load.ops.iter().filter_map(query).collect()
}

#[test]
fn a_load_begins_with_the_state_that_the_first_half_leaves() {
    let (schedule, load) = (schedule(), load());
    let asked = lookups(&load).len();
    assert_eq!(asked, 80, "half of the requests");
    let is_lookup = |op: &Op| matches!(op.what, What::Lookup(_));
    let last = schedule.ops.iter().rposition(is_lookup).expect("there are lookups");
    let half = last + 1 - load.ops.len();
    assert_eq!(schedule.ops[..half].iter().filter(|op| is_lookup(op)).count(), 80);
    let begin = schedule.ops[half].at_ns;
    let same = |(a, b): (&Op, &Op)| a.what == b.what && a.at_ns == b.at_ns - begin;
    assert!(load.ops.iter().zip(&schedule.ops[half..=last]).all(same));

    let (mut played, mut warmed) = (Reference::new(), Reference::new());
    for op in &schedule.ops[..half] {
        if let What::Event(event) = &op.what {
            played.apply(event).expect("an engine's events are accepted");
        }
    }
    for event in &load.warm {
        warmed.apply(event).expect("an export is accepted");
    }
    let held: usize = (0..3).map(|id| warmed.held(Worker::new(id, 0))).sum();
    assert_eq!(load.held(), held as u64);
    assert!(held > 1000, "the caches are in use: {held}");
    for query in lookups(&load) {
        assert_eq!(played.find(query), warmed.find(query));
    }
    let removes = |event: &Event| matches!(event.data, EventData::Removed { .. });
    let evictions = load.ops.iter().filter(|op| matches!(&op.what, What::Event(event) if removes(event))).count();
    assert!(evictions > 10, "the caches are full: {evictions}");
}

#[test]
fn workers_are_reset_in_turn() {
    let every = 5_000_000_000;
    let partition = Partition { requests: Some(160), requests_per_second: 2, workers: 3, ..Partition::default() };
    let schedule = Partition { reset_every_ns: Some(every), ..partition.clone() }.schedule(|_, _| ()).unwrap();
    let clear = |op: &Op| match &op.what {
        What::Event(event) if event.data == EventData::Cleared => Some((op.at_ns / every, event.worker.id)),
        _ => None,
    };
    let cleared: Vec<(u64, u64)> = schedule.ops.iter().filter_map(clear).collect();
    let expected: Vec<(u64, u64)> = (1..).zip([0, 1, 2].into_iter().cycle()).take(cleared.len()).collect();
    assert_eq!(cleared, expected);
    assert!(cleared.len() as u64 >= 70_000_000_000 / every, "about 80 s of requests: {cleared:?}");
    assert!(schedule.ops.is_sorted_by_key(|op| op.at_ns));
    let mut model = Reference::new();
    let rejected =
        schedule.ops.iter().filter(|op| matches!(&op.what, What::Event(event) if model.apply(event).is_err()));
    assert_eq!(rejected.count(), 0, "no event after a reset continues a chain from before");
    let never = partition.schedule(|_, _| ()).unwrap();
    assert!(never.ops.iter().all(|op| clear(op).is_none()));
    assert!(Partition { reset_every_ns: Some(0), ..partition }.schedule(|_, _| ()).is_err());
}

#[test]
fn a_load_is_read_as_it_was_written() {
    let worker = Worker::new(u64::MAX, 7);
    let events = [
        EventData::Stored { parent: None, blocks: vec![Block { sequence: 1, local: u64::MAX }] },
        EventData::Stored { parent: Some(u64::MAX), blocks: Vec::new() },
        EventData::Removed { blocks: vec![3, 4] },
        EventData::Cleared,
        EventData::WorkerRemoved,
        EventData::WorkerAdded,
        EventData::CopiesCounted,
    ];
    let event = |(data, id): (&EventData, u64)| Event { worker, id, data: data.clone() };
    let warm: Vec<Event> = events.iter().zip(1..).map(event).collect();
    let mut ops: Vec<Op> =
        warm.iter().zip(10..).map(|(event, at_ns)| Op { at_ns, what: What::Event(event.clone()) }).collect();
    ops.push(Op { at_ns: u64::MAX, what: What::Lookup([5, 6].into()) });
    for load in [Load { warm, ops }, load()] {
        let mut bytes = Vec::new();
        load.write(&mut bytes).unwrap();
        assert_eq!(Load::read(&*bytes, usize::MAX).unwrap(), load);
        let first = Load::read(&*bytes, 2).unwrap();
        assert_eq!(
            (first.warm, &first.ops[..]),
            (load.warm, &load.ops[..2]),
            "a limit stops after that many operations"
        );

        for missing in [1, bytes.len() / 2, bytes.len()] {
            let cut = Load::read(&bytes[..bytes.len() - missing], usize::MAX);
            assert_eq!(cut.expect_err("it is cut off").kind(), ErrorKind::InvalidData);
        }
    }
}

#[test]
fn a_trial_plays_every_operation_once() {
    let load = load();
    let blocks = *load.blocks().last().unwrap();
    let asked = lookups(&load).len() as u64;
    for system in System::ALL {
        let spec = Spec { system, threads: threads(), operations: load.ops.len(), window_ns: 400_000_000 };
        let trial = play(load.clone(), &spec).unwrap();
        assert_eq!((trial.operations, trial.block_operations), (load.ops.len() as u64, blocks));
        assert!((trial.offered_block_ops - blocks as f64 / 0.4).abs() < 1.0);
        assert!(trial.left_in_queue <= trial.operations && (0.0..=1.0).contains(&trial.left_share), "{trial:?}");
        assert_eq!(trial.staleness_us.is_some(), system.answers());
        if trial.given_up {
            // The machine is busy, or the backend is slow. What the trial completed is then only an estimate.
            assert!(!trial.kept_up && trial.rejected.is_none());
            continue;
        }
        assert_eq!(trial.lookup_ns.map(|times| times.count), Some(asked), "{system}");
        assert_eq!(trial.response_ns.map(|times| times.count), Some(asked), "{system}");
        assert_eq!(trial.rejected, Some(0), "{system}");
        let rate = |count: f64| count / trial.done_after;
        assert!((trial.achieved_ops / rate(trial.operations as f64) - 1.0).abs() < 1e-9, "{trial:?}");
        assert!((trial.achieved_block_ops / rate(blocks as f64) - 1.0).abs() < 1e-9, "{trial:?}");
        assert!(trial.done_after >= trial.issued_after && trial.issued_after >= trial.window, "{trial:?}");
        assert_eq!(trial.kept_up, trial.done_after <= 1.1 * trial.window);
    }
}

#[test]
fn a_trial_gives_up_on_a_backend_that_cannot_keep_up() {
    let load = load();
    // All operations come at once, to a backend that searches all blocks for each removal.
    let system = System::Design(Design::Inverted);
    let spec = Spec { system, threads: threads(), operations: load.ops.len(), window_ns: 1_000 };
    let trial = play(load, &spec).unwrap();
    assert!(trial.given_up && !trial.passes() && !trial.kept_up && !trial.valid, "{trial:?}");
    assert!(trial.left_in_queue > 0 && trial.achieved_ops < trial.offered_ops, "{trial:?}");
}

#[test]
fn a_trial_without_events_has_finite_rates() {
    let load = load();
    let lookups = load.ops.iter().take_while(|op| matches!(op.what, What::Lookup(_))).count();
    assert!(lookups > 0, "the load begins with a lookup");
    for system in [System::Kvleap, System::Design(Design::Null)] {
        let trial = play(load.clone(), &Spec { system, operations: lookups, window_ns: 2_000_000, ..spec() }).unwrap();
        assert_eq!((trial.left_in_queue, trial.left_share), (0, 0.0));
        for rate in [trial.issued_ops, trial.achieved_ops, trial.achieved_block_ops] {
            assert!(rate.is_finite() && rate >= 0.0, "{trial:?}");
        }
        // A trial is handed over as JSON, which has no infinity.
        serde_json::from_str::<kvleap::sweep::Trial>(&serde_json::to_string(&trial).unwrap()).unwrap();
    }
}

#[test]
fn answers_are_compared_with_the_reference() {
    let load = load();
    let asked = lookups(&load).len() as u64;
    let answers = |system| check(&load, system, Duration::from_secs(3600)).unwrap();
    for system in [System::Kvleap, System::Design(Design::Reference)] {
        let answers = answers(system);
        assert_eq!((answers.checked, answers.wrong, answers.collisions_wrong), (asked, 0, 0), "{system}");
        assert_eq!(answers.collisions_checked, Collisions::new().queries.len() as u64);
    }
    for design in [Design::Nested, Design::Positional] {
        let answers = answers(System::Design(design));
        assert!(answers.collisions_wrong > 0, "{design}: {answers:?}");
    }
    let null = answers(System::Design(Design::Null));
    assert!(null.wrong > 0 && null.collisions_wrong > 0, "an empty answer is wrong: {null:?}");

    let hurried = check(&load, System::Design(Design::Inverted), Duration::ZERO).unwrap();
    assert_eq!(hurried.checked, 1, "at least one lookup is compared");
    assert!(hurried.collisions_wrong > 0);
}

/// Runs a sweep of two systems in this process. Trials are not played: kvleap keeps up with less than 10^6 block
/// operations per second, and the null design with any rate. Only this many jobs are done before it is interrupted.
fn swept(jobs: usize) -> Report {
    let load = load();
    let options = Options {
        systems: vec![System::Kvleap, System::Design(Design::Null)],
        threads: threads(),
        window: Duration::from_millis(1),
        answers: Duration::ZERO,
        ..Options::quick()
    };
    let workload = Workload::new("test".to_owned(), (16, 3, 1200), &load);
    let typical = play(load.clone(), &Spec { operations: 100, window_ns: 10_000_000, ..spec() }).unwrap();
    let mut announced = 0;
    let mut left = jobs;
    let launch = |job: &Job| match job {
        _ if left == 0 => Err(SweepError::Interrupted),
        Job::Answers { .. } => {
            left -= 1;
            job.perform(load.clone())
        }
        Job::Trial(spec) => {
            left -= 1;
            let offered = load.blocks()[spec.operations] as f64 / (spec.window_ns as f64 / 1e9);
            let mut trial = typical.clone();
            let passes = offered < 1e6 || spec.system == System::Design(Design::Null);
            (trial.valid, trial.kept_up, trial.left_share, trial.others) = (true, passes, 0.0, Some(0.0));
            trial.offered_block_ops = offered;
            trial.achieved_block_ops = offered.min(1e6);
            Ok(kvleap::sweep::Reply::Trial(Box::new(trial)))
        }
    };
    let report = kvleap::sweep::run(&load, workload, &options, launch, |progress| {
        assert!(progress.thousandths <= 1000);
        announced += 1;
    });
    let report = report.unwrap();
    let trials: usize = report.backends.iter().map(|backend| backend.trials.len()).sum();
    assert!(report.interrupted || announced == trials + 2, "each trial and each comparison is announced");
    report
}

fn spec() -> Spec {
    Spec { system: System::Kvleap, threads: threads(), operations: 1, window_ns: 1 }
}

#[test]
fn a_report_has_thresholds_trials_and_the_machine() {
    let report = swept(usize::MAX);
    let [ours, null] = &report.backends[..] else { panic!("two backends") };
    let threshold = ours.threshold_block_ops_per_s.expect("there is one");
    assert!(threshold < 1e6 && 1e6 < threshold * 1.1, "{threshold}");
    assert!(!ours.threshold_is_a_bound && ours.threshold_ops_per_s.is_some());
    assert!(null.threshold_is_a_bound, "it keeps up with all that the load can offer");
    assert_eq!((ours.wrong(), ours.answers.checked), (0, 1));
    assert_eq!(report.others(), Some(0.0));

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["backends"][0]["name"], "kvleap");
    for field in ["threshold_block_ops_per_s", "threshold_ops_per_s", "lookup_ns", "staleness_us", "wrong_answers"] {
        assert!(!json["backends"][0][field].is_null(), "{field}");
    }
    for field in ["p50", "p99", "p999"] {
        assert!(json["backends"][0]["lookup_ns"][field].is_number(), "{field}");
    }
    for field in ["offered_ops", "issued_ops", "achieved_ops", "valid", "kept_up", "left_in_queue"] {
        assert!(!json["backends"][0]["trials"][0][field].is_null(), "{field}");
    }
    assert!(json["machine"]["cores"].is_number() && json["workload"]["block_operations"].is_number());
    let again: Report = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(again).unwrap(), json);
}

#[test]
fn an_interrupted_sweep_has_the_trials_until_then_and_says_so() {
    let whole = swept(usize::MAX);
    assert!(!whole.interrupted && whole.backends.iter().all(|backend| !backend.interrupted));
    let [ours, null] = &whole.backends[..] else { panic!("two backends") };
    let (first, second) = (1 + ours.trials.len(), 1 + null.trials.len());
    for jobs in 0..first + second {
        let report = swept(jobs);
        assert!(report.interrupted, "{jobs}");
        let trials: Vec<usize> = report.backends.iter().map(|backend| backend.trials.len()).collect();
        let expected = match jobs {
            0 | 1 => vec![],
            _ if jobs < first => vec![jobs - 1],
            _ if jobs < first + 2 => vec![first - 1],
            _ => vec![first - 1, jobs - first - 1],
        };
        assert_eq!(trials, expected, "{jobs}");
        for (backend, complete) in report.backends.iter().zip([ours, null]) {
            let found = backend.trials.len() == complete.trials.len();
            assert_eq!((backend.interrupted, backend.threshold_ops_per_s.is_some()), (!found, found), "{jobs}");
        }
        let drawn = figure(&report).svg(Theme::Light);
        assert_eq!(drawn.is_ok_and(|svg| svg.contains("interrupted")), jobs > 1, "{jobs}: there is something to draw");
    }
}

#[test]
fn the_chart_shows_every_rate_and_rings_the_thresholds() {
    let report = swept(usize::MAX);
    let svg = figure(&report).svg(Theme::Light).unwrap();
    let rings = svg.lines().filter(|line| line.starts_with("<circle") && line.contains(r#"fill="none""#)).count();
    assert_eq!(rings, 4, "two backends on two charts");
    let mut rates: Vec<f64> = report.backends[0].trials.iter().map(|trial| trial.offered_block_ops).collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup_by(|a, b| *a / *b < 1.001);
    // Only kvleap has round markers: one in the legend, and one for each rate on each chart.
    let markers = svg.lines().filter(|line| line.starts_with("<circle") && !line.contains(r#"fill="none""#)).count();
    assert_eq!(markers, 1 + 2 * rates.len(), "{rates:?}");
    for text in ["kvleap", "null", "offered (block operations/s)", "keeps up"] {
        assert!(svg.lines().any(|line| line == text), "{text}");
    }
}

#[test]
fn loads_and_options_that_cannot_be_swept_are_refused() {
    let load = load();
    let workload = || Workload::new("test".to_owned(), (16, 3, 1200), &load);
    let refused = |options: Options| {
        let launch = |_: &Job| panic!("nothing runs");
        kvleap::sweep::run(&load, workload(), &options, launch, |_| ()).expect_err("it cannot be swept").to_string()
    };
    let none = Threads { query: 0, ..threads() };
    assert!(refused(Options { threads: none, ..Options::quick() }).starts_with("--query-threads is 0"));
    assert!(refused(Options { systems: Vec::new(), ..Options::quick() }).starts_with("--backends is 0"));
    assert!(refused(Options { in_a_row: 0, ..Options::quick() }).starts_with("--runs is 0"));
    assert!(refused(Options { window: Duration::ZERO, ..Options::quick() }).starts_with("--window is 0"));

    let silent = Schedule {
        ops: schedule().ops.into_iter().filter(|op| matches!(op.what, What::Lookup(_))).collect(),
        ..schedule()
    };
    assert!(matches!(Load::new(silent), Err(SweepError::EmptySchedule)));
    assert!(matches!(play(load.clone(), &Spec { operations: 0, ..spec() }), Err(SweepError::EmptySchedule)));
    assert!("kvleapp".parse::<System>().expect_err("an unknown name").to_string().contains("kvleap, nested,"));
    assert!(matches!(perform("{}", &b""[..]), Err(SweepError::Load(_))));
    let job = serde_json::to_string(&Job::Trial(spec())).unwrap();
    assert!(matches!(perform(&job, &b"short"[..]), Err(SweepError::Load(_))));
}
