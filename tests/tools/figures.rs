//! The six figures: their marks, labels and captions agree with their data, and files that are not data are refused.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kvleap::baseline::Design;
use kvleap::figures::density::{Cell, Density, TimeUnit};
use kvleap::figures::flow::{Flow, Quantiles, ShardFigures};
use kvleap::figures::search::Search;
use kvleap::figures::structure::{Node, Structure};
use kvleap::figures::timeline::{Activity, Lookup, Timeline, Totals, Work};
use kvleap::figures::{Data, FiguresError, Options, Source, Topic};
use kvleap::index::{Found, Holding, Probe, Run as Array};
use kvleap::mock::Config;
use kvleap::report::Theme;
use kvleap::sweep::{self, Load, Partition, System, Threads, Workload};

use crate::common::scratch::Scratch;
use crate::common::svg::{assert_apart, rectangles, texts};

pub(crate) fn shown(data: &Data) -> Vec<String> {
    let svg = data.svg(Theme::Light).expect("there is something to draw");
    assert_apart(&svg);
    texts(&svg).0.into_iter().map(|(text, _)| text).collect()
}

fn assert_shows(data: &Data, texts: &[&str]) {
    let shown = shown(data);
    for text in texts {
        assert!(shown.iter().any(|shown| shown.contains(text)), "{text:?} is missing from {shown:?}");
    }
}

fn assert_says(data: &Data, texts: &[&str]) {
    let caption = data.caption();
    for text in texts {
        assert!(caption.contains(text), "{text:?} is missing from {caption:?}");
    }
}

pub(crate) fn density() -> Density {
    let cell = |column, worker, [stored, removed, cleared]: [u64; 3]| Cell { column, worker, stored, removed, cleared };
    let cells = vec![
        cell(0, 0, [10, 0, 0]),
        cell(1, 0, [1_234, 0, 0]),
        cell(1, 2, [5, 3, 0]),
        cell(7, 1, [0, 2, 777]),
        cell(7, 2, [0, 4, 0]),
    ];
    let workers = vec![(3, 0), (3, 1), (9, 0)];
    Density {
        source: "a test".to_owned(),
        clock: TimeUnit::Seconds,
        step: 5.0,
        workers,
        requests: 4321,
        events: 88,
        cells,
    }
}

fn flow() -> Flow {
    let spread = |p50, p99, max| Quantiles { p50, p99, max };
    let shard = |events, lag_ns| ShardFigures {
        events,
        blocks: 10 * events,
        waiting: spread(1, 22, 333),
        apply_seconds: 0.5,
        publish_seconds: 0.125,
        generation: events / 4,
        lag_ns,
        runs: 17,
        indexed_blocks: 1_717,
        held_blocks: 2_727,
        bytes: 5 << 20,
    };
    Flow {
        seconds: 2.0,
        virtual_seconds: 63.0,
        engines: 6,
        blocks_per_engine: 2_048,
        block_size: 16,
        publishers: 2,
        events: 10_000,
        blocks: 100_000,
        mailbox: 999,
        shards: vec![shard(6_000, spread(15_000, 2_500_000, 31_000_000)), shard(4_000, spread(900, 7_000, 8_000))],
        readers: 3,
        lookups: 2_468,
        lookup_ns: spread(1_250, 6_000, 70_000),
        cores: 4,
    }
}

pub(crate) fn structure() -> Structure {
    let holding = |cutoff, workers: &[u64]| Holding { cutoff, workers: workers.iter().map(|&id| (id, 0)).collect() };
    let run = |start, len, parent, holdings| Array { start, len, parent, holdings };
    let node = |start, len, parent, workers: &[u64]| Node {
        start,
        len,
        parent,
        workers: workers.iter().map(|&id| (id, 0)).collect(),
    };
    Structure {
        workers: 3,
        requests: 12,
        events: 34,
        block_size: 64,
        blocks_per_worker: 50,
        runs: vec![
            run(0, 10, None, vec![holding(10, &[1]), holding(4, &[0, 2])]),
            run(3, 2, Some(0), vec![holding(2, &[0])]),
            run(7, 6, Some(0), vec![]),
        ],
        nodes: vec![
            node(0, 3, None, &[0, 1, 2]),
            node(3, 1, Some(0), &[0, 1, 2]),
            node(4, 6, Some(1), &[1]),
            node(3, 2, Some(0), &[0]),
        ],
    }
}

pub(crate) fn timeline() -> Timeline {
    let work = |from_ns, to_ns, what| Work { from_ns, to_ns, what };
    let lookup = |from_ns, generation| Lookup { from_ns, to_ns: from_ns + 700, generation, events: generation };
    Timeline {
        // The run is no longer than the enlarged part, so both charts show everything.
        length_ns: 50_000,
        beside: 2,
        cores: 2,
        writer: vec![
            work(10_000, 12_000, Activity::Apply(5)),
            work(12_100, 15_000, Activity::Apply(9)),
            work(15_100, 17_000, Activity::Publish(41)),
            work(30_000, 31_000, Activity::Publish(42)),
        ],
        readers: vec![vec![lookup(5_000, 40), lookup(11_000, 40), lookup(20_000, 41)], vec![lookup(40_000, 42)]],
        run: Totals {
            length_ns: 5_000_000,
            events: 1_111,
            publications: 222,
            lookups: 3_333,
            lookup_p50_ns: 444,
            lookup_max_ns: 55_500,
            beside: 66,
            beside_p50_ns: 77,
            backwards: 0,
        },
    }
}

pub(crate) fn search() -> Search {
    let probe = |position, found| Probe { position, found };
    Search {
        query: 1_000,
        depth: 601,
        probes: vec![
            probe(0, Found::Head),
            probe(300, Found::NoHead),
            probe(999, Found::Other),
            probe(596, Found::Same),
            probe(628, Found::Other),
            probe(600, Found::Same),
            probe(601, Found::Other),
        ],
        scan: 602,
        lookups: 5_555,
        probes_p50: 3,
        probes_max: 7,
        scan_p50: 123,
        held_blocks: 98_765,
    }
}

pub(crate) fn throughput() -> sweep::Report {
    let defaults = Partition::default();
    let engine = Config { blocks: 1200, ..defaults.engine.clone() };
    let partition = Partition { requests: Some(80), requests_per_second: 2, workers: 2, engine, ..defaults };
    let load = Load::new(partition.schedule(|_, _| ()).unwrap()).unwrap();
    let options = sweep::Options {
        systems: vec![System::Kvleap, System::Design(Design::Null)],
        threads: Threads { query: 1, event: 1, writers: 1, pin: false },
        window: Duration::from_millis(20),
        answers: Duration::ZERO,
        patience: Duration::ZERO,
        ..sweep::Options::quick()
    };
    let workload = Workload::new("test".to_owned(), (16, 2, 1200), &load);
    sweep::run(&load, workload, &options, |job| job.perform(load.clone()), |_| ()).unwrap()
}

fn all() -> [Data; 6] {
    [
        Data::EventDensity(density()),
        Data::EventFlow(flow()),
        Data::PrefixStructure(structure()),
        Data::Concurrency(timeline()),
        Data::JumpSearch(search()),
        Data::Throughput(throughput()),
    ]
}

#[test]
fn a_heat_map_has_a_cell_for_everything_that_happened() {
    let data = Data::EventDensity(density());
    let svg = data.svg(Theme::Light).unwrap();
    let classes =
        shown(&data).iter().filter(|text| text.contains(" blocks") && text.starts_with(char::is_numeric)).count();
    // Three cells with stores, three with removals and one with a clear, the background, and a sample of every class.
    let boxes = rectangles(&svg, "1");
    assert_eq!(boxes.len(), 7 + 1 + classes);
    let cleared = boxes.last().unwrap();
    let widths: Vec<f64> = boxes[1 + classes..].iter().map(|cell| cell.2).collect();
    assert!(widths.iter().all(|width| (width - cleared.2).abs() <= 0.2), "columns are equally wide: {widths:?}");
    assert_shows(&data, &["Stored", "Removed", "Cleared", "in 5 s of virtual time", "a test", "virtual time (s)"]);
    assert_says(
        &data,
        &["4,321 requests", "88 events of 3 workers", "1,249 blocks stored", "9 removed", "777 cleared"],
    );
    assert_says(&data, &["1,234 blocks, after 5 s", "removed after 5 s", "1 reset cleared"]);
    let never = Density { cells: vec![Cell { stored: 1, ..Cell::default() }], ..density() };
    let never = Data::EventDensity(never);
    assert!(
        !shown(&never).iter().any(|text| text == "Removed" || text == "Cleared"),
        "there is no chart of what never happened"
    );
    assert!(never.caption().contains("nothing was removed"));
}

#[test]
fn the_event_flow_has_the_figures_of_the_run() {
    let data = Data::EventFlow(flow());
    assert_shows(
        &data,
        &["5,000 events/s", "50,000 blocks/s", "3,000 events/s", "2,000 events/s", "room for 999 events"],
    );
    assert_shows(&data, &["1 waiting (median)", "22 at p99, 333 at most", "applying 25.0%", "publishing 6.2%"]);
    assert_shows(
        &data,
        &["750 publications/s", "4.0 events each", "generation 1,500", "1,717 blocks indexed, 2,727 held"],
    );
    assert_shows(&data, &["visible after 15.0 µs (median)", "2.50 ms at p99, 31.0 ms at most", "visible after 900 ns"]);
    assert_shows(&data, &["3 threads, 1,234 lookups/s", "1.25 µs per lookup (median), 6.00 µs at p99"]);
    assert_says(
        &data,
        &["10,000 events", "50,000 blocks per second", "2,468 prompts", "at most 333", "15.0 µs", "2.50 ms"],
    );
}

#[test]
fn arrays_and_nodes_are_drawn_to_scale() {
    let (structure, data) = (structure(), Data::PrefixStructure(structure()));
    let svg = data.svg(Theme::Light).unwrap();
    let boxes = rectangles(&svg, "1");
    let (runs, nodes) = boxes[1..].split_at(structure.runs.len());
    assert_eq!(nodes.len(), structure.nodes.len());
    let drawn = |boxes: &[(f64, f64, f64, f64)], lens: Vec<u32>| {
        let mut widths: Vec<f64> = boxes.iter().map(|bar| bar.2).collect();
        widths.sort_by(f64::total_cmp);
        let mut lens = lens;
        lens.sort_unstable();
        let block = widths[0] / f64::from(lens[0]);
        let fits = |(width, len): (&f64, &u32)| (width - block * f64::from(*len)).abs() < 0.1 * block;
        assert!(widths.iter().zip(&lens).all(fits), "{widths:?} for {lens:?}");
    };
    drawn(runs, structure.runs.iter().map(|run| run.len).collect());
    drawn(nodes, structure.nodes.iter().map(|node| node.len).collect());
    assert_shows(&data, &["10 by w1; 4 by w0, w2", "2 by w0", "nobody, kept for its children", "w0, w1, w2"]);
    assert_shows(&data, &["run 3", "node 4", "position (blocks)"]);
    assert_says(&data, &["12 requests", "34 events", "3 runs", "crosses 2 of them", "4 nodes", "crosses 3"]);
    assert_says(&data, &["20 blocks held"]);
}

#[test]
fn the_index_and_the_tree_of_a_run_hold_the_same() {
    let Ok(Data::PrefixStructure(structure)) = Topic::Structure.collect(&Options::default(), |_| ()) else { panic!() };
    assert!(structure.runs.len() < structure.nodes.len(), "the figure is about this difference");
    assert!(
        structure.runs.iter().any(|run| run.parent.is_some())
            && structure.runs.iter().any(|run| run.holdings.len() > 2)
    );
    for worker in (0..4).map(|id| (id, 0)) {
        let holds = |workers: &[(u64, u32)]| workers.contains(&worker);
        let holdings = structure.runs.iter().flat_map(|run| &run.holdings).filter(|holding| holds(&holding.workers));
        let nodes = structure.nodes.iter().filter(|node| holds(&node.workers));
        let (arrays, tree): (u32, u32) =
            (holdings.map(|holding| holding.cutoff).sum(), nodes.map(|node| node.len).sum());
        assert_eq!(arrays, tree, "{worker:?}");
        assert!(arrays > 0 && arrays <= structure.blocks_per_worker);
    }
    assert_apart(&Data::PrefixStructure(structure).svg(Theme::Dark).unwrap());
}

#[test]
fn a_timeline_has_a_bar_for_every_task_and_lookup() {
    let data = Data::Concurrency(timeline());
    let svg = data.svg(Theme::Light).unwrap();
    // The background, and in each of two charts four tasks of the writer and four lookups.
    assert_eq!(rectangles(&svg, "1").len(), 1 + 2 * (4 + 4));
    assert_eq!(shown(&data).iter().filter(|text| *text == "41" || *text == "42").count(), 2 * 2, "generations");
    assert_shows(
        &data,
        &["reader 1", "reader 2", "writer", "50.0 µs of a run of 5.00 ms", "the most lookups (2) started"],
    );
    assert_says(&data, &["2 of 4 lookups", "4 tasks", "1,111 events", "222 snapshots", "3,333 lookups", "444 ns"]);
    assert_says(&data, &["55.5 µs", "The 66 that started", "77 ns", "None saw an older"]);
    let back = Timeline { run: Totals { backwards: 8, ..timeline().run }, ..timeline() };
    assert_says(&Data::Concurrency(back), &["8 saw an older"]);
}

#[test]
fn a_search_has_a_ring_for_every_place_it_looked_at() {
    let data = Data::JumpSearch(search());
    let svg = data.svg(Theme::Light).unwrap();
    // Seven places, the last four of them a second time in the enlarged part, and a sample of each of four kinds.
    assert_eq!(svg.matches("<circle").count(), 7 + 4 + 4);
    assert_shows(&data, &["601 blocks match", "the most probes of 5,555 lookups: 7. A scan needs 602"]);
    assert_says(&data, &["98,765 held", "1,000 blocks, of which 601", "7 probes", "2 in the table", "1 found a run"]);
    assert_says(&data, &["5 in arrays", "needs 602", "5,555", "median is 3 for", "123 for scans"]);
}

#[test]
fn a_watched_workload_looks_at_few_places() {
    let Ok(Data::JumpSearch(search)) = Topic::Search.collect(&Options::default(), |_| ()) else { panic!() };
    assert_eq!(search.probes.len() as u32, search.probes_max);
    assert_eq!(search.probes[0], Probe { position: 0, found: Found::Head });
    assert!(search.probes.iter().all(|probe| probe.position < search.query));
    assert!(search.probes_max < search.scan && search.scan == search.depth + 1);
    let beyond = |probe: &Probe| probe.found == Found::Same && probe.position >= search.depth;
    assert!(!search.probes.iter().any(beyond), "positions that agree are within the match");
    assert_apart(&Data::JumpSearch(search).svg(Theme::Dark).unwrap());
}

#[test]
fn the_caption_of_the_throughput_has_every_threshold() {
    let report = throughput();
    let data = Data::Throughput(report.clone());
    let caption = data.caption().replace(',', "");
    let column = |row: &str, number: usize| row.split('|').nth(number).unwrap().trim().to_owned();
    for backend in &report.backends {
        let row = caption.lines().find(|line| column(&format!("{line}||"), 1) == backend.name.name()).unwrap();
        let threshold = backend.threshold_block_ops_per_s.map_or("none".to_owned(), |rate| format!("{rate:.0}"));
        assert!(column(row, 2).starts_with(&threshold), "{row} for {threshold}");
        let wrong = if backend.name.answers() { backend.wrong().to_string() } else { "no answers".to_owned() };
        assert_eq!(column(row, 4), wrong);
    }
    assert_shows(&data, &["kvleap", "null", "Throughput", "Latency of lookups", "offered (block operations/s)"]);
}

#[test]
fn a_run_with_threads_is_consistent() {
    let Ok(Data::EventFlow(flow)) = Topic::Flow.collect(&Options::default(), |_| ()) else { panic!() };
    assert_eq!(flow.shards.iter().map(|shard| shard.events).sum::<u64>(), flow.events);
    assert_eq!(flow.shards.iter().map(|shard| shard.blocks).sum::<u64>(), flow.blocks);
    assert!(flow.shards.iter().all(|shard| shard.generation > 0 && shard.waiting.max <= flow.mailbox));
    assert!(flow.lookups > 0 && flow.lookup_ns.p50 <= flow.lookup_ns.p99);
    assert_apart(&Data::EventFlow(flow).svg(Theme::Light).unwrap());
}

#[test]
fn recorded_events_are_counted_by_request() {
    let scratch = Scratch::new("record");
    let lines = [
        r#"{"op":"query","hashes":[5,6],"scores":[]}"#,
        r#"{"op":"stored","worker":3,"dp_rank":1,"event_id":1,"parent":null,"blocks":[[10,5],[11,6]]}"#,
        r#"{"op":"query","hashes":[5],"scores":[[3,1,1]]}"#,
        r#"{"op":"removed","worker":3,"dp_rank":1,"event_id":2,"blocks":[11]}"#,
        r#"{"op":"cleared","worker":3,"dp_rank":1,"event_id":3}"#,
    ];
    let path = scratch.file_path("record.jsonl", lines.join("\n"));
    let collect = |path: &Path| {
        Topic::Density.collect(&Options { source: Source::Record(path.to_owned()), ..Options::default() }, |_| ())
    };
    let Ok(Data::EventDensity(density)) = collect(&path) else { panic!() };
    assert_eq!(
        (density.clock, density.requests, density.events, density.totals()),
        (TimeUnit::Requests, 2, 3, [2, 1, 1])
    );
    assert_eq!(density.workers, [(3, 1)]);
    assert_shows(&Data::EventDensity(density), &["requests so far", "record.jsonl"]);

    let bad = scratch.file_path("bad.jsonl", [lines[0], r#"{"op":"stored"}"#].join("\n"));
    let why = collect(&bad).unwrap_err().to_string();
    assert!(why.contains("bad.jsonl:2:") && why.contains("worker"), "{why}");
    let quiet = scratch.file_path("quiet.jsonl", lines[0]);
    assert!(matches!(collect(&quiet), Err(FiguresError::Empty { topic: Topic::Density, .. })));
    assert!(matches!(collect(&scratch.file_path("empty.jsonl", "")), Err(FiguresError::Record(_))));
    assert!(collect(Path::new("no/such/record.jsonl")).unwrap_err().to_string().contains("no/such/record.jsonl"));
}

#[test]
fn a_trace_is_played_and_an_empty_one_is_refused() {
    let scratch = Scratch::new("trace");
    let row = |at: u32, ids: &str| {
        format!(r#"{{"timestamp": {at}, "input_length": 1000, "output_length": 9, "hash_ids": [{ids}]}}"#) + "\n"
    };
    let collect =
        |path| Topic::Density.collect(&Options { source: Source::Trace(path, 512), ..Options::default() }, |_| ());
    let Ok(Data::EventDensity(density)) = collect(scratch.file_path("a.jsonl", row(0, "1, 2") + &row(900, "1, 3")))
    else {
        panic!()
    };
    assert_eq!((density.clock, density.requests), (TimeUnit::Seconds, 2));
    assert!(density.totals()[0] >= 62 && density.source.starts_with("a.jsonl on 16 simulated engines"), "{density:?}");
    assert!(matches!(collect(scratch.file_path("b.jsonl", "")), Err(FiguresError::Fleet(_))));
}

#[test]
fn a_figure_drawn_from_saved_data_has_equal_bytes() {
    let scratch = Scratch::new("saved");
    for data in all() {
        let files = data.write(&scratch.0, &[Theme::Light]).unwrap();
        assert!(files.iter().all(|file| file.exists()) && files.len() == 4, "{files:?}");
        let again = data.topic().load(&data.topic().data_file(&scratch.0.join("data"))).unwrap();
        assert_eq!(again.svg(Theme::Light).unwrap(), data.svg(Theme::Light).unwrap());
        assert_eq!((again.caption(), again.json()), (data.caption(), data.json()));
        let svg = fs::read_to_string(scratch.path(&format!("{}-light.svg", data.topic().stem()))).unwrap();
        assert_eq!(svg, data.svg(Theme::Light).unwrap());
        assert_ne!(svg, data.svg(Theme::Dark).unwrap());
        assert_apart(&svg);
    }
    assert_eq!(scratch.names().len(), 6 * 3 + 1);
}

#[test]
fn files_that_are_not_data_are_refused() {
    let scratch = Scratch::new("refused");
    let refused = |text: &str, why: &str| {
        let error = Topic::Search.load(&scratch.file_path("5-jump-search.json", text)).unwrap_err().to_string();
        assert!(error.contains("5-jump-search.json") && error.contains(why), "{error}");
    };
    let good = Data::JumpSearch(search()).json();
    refused("", "is not the data of a figure");
    refused("{}", "version");
    refused(&good.replace("\"version\":1", "\"version\":2"), "has version 2 of the format, and this program reads 1");
    refused(&good[..good.len() / 2], "is not the data of a figure");
    refused(&good.replace("\"depth\"", "\"deep\""), "depth");
    refused(&Data::EventFlow(flow()).json(), "event-flow, not of jump-search");
    let missing = Topic::Search.load(Path::new("no/such.json")).unwrap_err().to_string();
    assert!(missing.contains("no/such.json") && missing.contains("cannot be read"), "{missing}");
    assert!("9".parse::<Topic>().unwrap_err().to_string().contains("choose from 1 (event-density), 2 (event-flow)"));
    for topic in Topic::ALL {
        assert_eq!(
            (topic.name().parse::<Topic>().unwrap(), topic.number().to_string().parse::<Topic>().unwrap()),
            (topic, topic)
        );
    }

    let sweep = |text: &str| {
        let options = Options { sweep: Some(scratch.file_path("sweep.json", text)), ..Options::default() };
        Topic::Throughput.collect(&options, |_| ())
    };
    let report = serde_json::to_string(&throughput()).unwrap();
    assert!(sweep(&report).is_ok());
    let other = sweep(&report.replacen("\"version\":1", "\"version\":7", 1)).unwrap_err().to_string();
    assert!(other.contains("sweep.json") && other.contains("version 7"), "{other}");
    assert!(sweep("[]").unwrap_err().to_string().contains("is not the JSON of a sweep"));
}

/// People may edit the files by hand.
#[test]
fn odd_data_are_refused_or_drawn_and_never_half_written() {
    let scratch = Scratch::new("odd");
    let empty = [
        Data::EventDensity(Density { cells: vec![], ..density() }),
        Data::EventFlow(Flow { shards: vec![], ..flow() }),
        Data::PrefixStructure(Structure { runs: vec![], nodes: vec![], ..structure() }),
        Data::Concurrency(Timeline { writer: vec![], readers: vec![], ..timeline() }),
        Data::Throughput(sweep::Report { backends: vec![], ..throughput() }),
    ];
    for data in empty {
        let refused = data.write(&scratch.0, &Theme::ALL);
        assert!(matches!(refused, Err(FiguresError::Drawing(_))), "{:?}", data.topic());
    }
    assert!(scratch.names().is_empty());

    let mut loops = structure();
    loops.runs[0].parent = Some(2);
    loops.nodes[1].parent = Some(99);
    let odd = [
        Data::EventDensity(Density { step: -1.0, ..density() }),
        Data::PrefixStructure(loops),
        Data::Concurrency(Timeline { length_ns: u64::MAX, ..timeline() }),
        Data::Concurrency(Timeline { length_ns: 0, ..timeline() }),
        Data::JumpSearch(Search { probes: vec![], depth: 0, scan: u32::MAX, ..search() }),
        Data::EventFlow(Flow { seconds: 0.0, ..flow() }),
    ];
    for data in odd {
        // Drawing may fail, but must not panic.
        let _ = (data.svg(Theme::Light), data.caption());
    }
    let data = Data::JumpSearch(search());
    let folder = scratch.file_path("file", "");
    assert!(matches!(data.write(&folder, &Theme::ALL), Err(FiguresError::File { .. })));
}
