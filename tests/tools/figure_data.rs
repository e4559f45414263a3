//! Each of the figures and charts at the edges of its data: what goes on beyond a panel is cut and counted, what is at
//! the end of an axis is drawn, what is left out is named, and the figures of the documents are those of their data.

use std::fs;
use std::path::Path;

use kvleap::figures::density::{Cell, Density};
use kvleap::figures::search::Search;
use kvleap::figures::structure::Structure;
use kvleap::figures::timeline::{Activity, Lookup, Timeline, Work};
use kvleap::figures::{Data, Topic};
use kvleap::index::{Found, Holding, Probe, Run as Array};
use kvleap::report::Theme;
use kvleap::sim::{self, Experiment, Workload, page};
use kvleap::sweep::{Report, figure};
use kvleap::trace::Row;
use kvleap::trace::analyze::{self, analyze};

use crate::common::svg::{assert_apart, marks, panels, rectangles, texts};
use crate::common::traces;
use crate::figures::{density, search, shown, structure, throughput, timeline};

fn svg(data: &Data) -> String {
    let svg = data.svg(Theme::Light).expect("there is something to draw");
    assert_apart(&svg);
    svg
}

fn says(svg: &str, what: &str) -> bool {
    let words: Vec<String> = texts(svg).0.into_iter().map(|(text, _)| text).collect();
    words.join(" ").contains(what)
}

#[test]
fn a_task_that_goes_on_beyond_a_panel_is_cut_at_its_edge_and_counted() {
    let work = |from_ns, to_ns| Work { from_ns, to_ns, what: Activity::Apply(1) };
    let lookup = |from_ns, to_ns| Lookup { from_ns, to_ns, generation: 1, events: 1 };
    // The enlarged part is 50 µs around the two lookups that start while the writer is working.
    let long = Timeline {
        length_ns: 200_000,
        beside: 2,
        writer: vec![work(-9_000, 4_000), work(60_000, 140_000), work(190_000, 230_000)],
        readers: vec![vec![lookup(99_000, 101_000), lookup(101_000, 161_000)], vec![lookup(10_000, 90_000)]],
        ..timeline()
    };
    let svg = svg(&Data::Concurrency(long));
    let [whole, part] = panels(&svg)[..] else { panic!("two panels: {:?}", panels(&svg)) };
    let bars = |panel: [f64; 4]| -> Vec<[f64; 2]> {
        let inside = rectangles(&svg, "1").into_iter().filter(|bar| bar.1 > panel[1] && bar.1 + bar.3 < panel[3]);
        inside.map(|(x, _, wide, _)| [x, x + wide]).collect()
    };
    let at = |a: f64, b: f64| (a - b).abs() <= 0.2;
    let all = bars(whole);
    assert_eq!(all.len(), 6, "three tasks and three lookups: {all:?}");
    assert!(at(all[0][0], whole[0]) && at(all[2][1], whole[2]), "the first and the last task reach the edges: {all:?}");
    let close = bars(part);
    assert_eq!(close.len(), 4, "the writer is working through it, and two of three lookups go on beyond it: {close:?}");
    assert!(at(close[0][0], part[0]) && at(close[0][1], part[2]), "{close:?} in {part:?}");
    assert_eq!(close.iter().filter(|bar| at(bar[0], part[0])).count(), 2, "a lookup has begun before");
    assert_eq!(close.iter().filter(|bar| at(bar[1], part[2])).count(), 2, "a lookup ends after");
    assert!(says(&svg, "The whole excerpt; 2 bars go on beyond it"));
    assert!(says(&svg, "while the writer was working; 3 bars go on beyond it"));
}

#[test]
fn a_publication_is_a_line_wherever_it_began() {
    let publish = |from_ns, to_ns, generation| Work { from_ns, to_ns, what: Activity::Publish(generation) };
    let data = Timeline {
        length_ns: 40_000,
        writer: vec![publish(-5_000, 0, 7), publish(39_000, 40_000, 8), publish(40_000, 41_000, 9)],
        ..timeline()
    };
    let svg = svg(&Data::Concurrency(data));
    let upright = |around: &[f64; 4]| around[2] - around[0] < 0.1 && around[3] - around[1] > 9.0;
    let lines = marks(&svg).into_iter().filter(|(colour, around)| colour == "#D55E00" && upright(around));
    assert_eq!(lines.count(), 2 * 2, "at both ends of both panels, and none for what is not visible within them");
}

#[test]
fn a_heat_map_shows_its_first_and_last_worker_and_time() {
    let cell = |column, worker, stored| Cell { column, worker, stored, ..Cell::default() };
    for cells in [vec![cell(0, 0, 1), cell(119, 2, 9)], vec![cell(0, 0, 5), cell(119, 2, 5)], vec![cell(7, 1, 1)]] {
        let count = cells.len();
        let data = Data::EventDensity(Density { cells, ..density() });
        let svg = svg(&data);
        let [panel] = panels(&svg)[..] else { panic!("only stores") };
        let bars = rectangles(&svg, "1");
        let drawn: Vec<_> = bars.into_iter().filter(|bar| bar.0 >= panel[0] - 0.2 && bar.1 >= panel[1] - 0.2).collect();
        assert_eq!(drawn.len(), count, "{drawn:?}");
        assert!(
            drawn.iter().all(|bar| bar.0 + bar.2 <= panel[2] + 0.2 && bar.1 + bar.3 <= panel[3] + 0.2),
            "{drawn:?}"
        );
    }
}

#[test]
fn a_search_shows_probes_at_both_ends_of_the_query_and_a_single_one() {
    let probe = |position| Probe { position, found: Found::Same };
    let rings = |search: Search| {
        let svg = svg(&Data::JumpSearch(search));
        let whole = panels(&svg)[0];
        let point = |[x, y, right, bottom]: [f64; 4]| (right - x).max(bottom - y) < 0.1;
        let inside = |[x, y, ..]: [f64; 4]| x >= whole[0] && x <= whole[2] && y >= whole[1] && y <= whole[3];
        // The colour of the fifth series: what looked into an array and found the same prefix.
        let rings = marks(&svg).into_iter().filter(|(colour, _)| colour == "#332288");
        rings.filter(|&(_, around)| point(around) && inside(around)).count()
    };
    assert_eq!(rings(Search { probes: vec![probe(0), probe(999), probe(1_000)], ..search() }), 3);
    assert_eq!(rings(Search { probes: vec![probe(0)], depth: 1, scan: 2, ..search() }), 1);
    assert_eq!(rings(Search { probes: vec![probe(5); 4], depth: 6, scan: 7, ..search() }), 4);
}

#[test]
fn a_run_of_one_block_and_one_that_nobody_holds_have_their_bars() {
    let holding = Holding { cutoff: 1, workers: vec![(1, 0)] };
    let run = |start, len, parent, holdings| Array { start, len, parent, holdings };
    let runs = vec![run(0, 1_000, None, vec![]), run(999, 1, Some(0), vec![holding])];
    let svg = svg(&Data::PrefixStructure(Structure { runs, ..structure() }));
    let [arrays, nodes] = panels(&svg)[..] else { panic!("two panels") };
    let bars =
        |panel: [f64; 4]| rectangles(&svg, "1").into_iter().filter(|bar| bar.1 > panel[1] && bar.1 < panel[3]).count();
    assert_eq!((bars(arrays), bars(nodes)), (2, 4));
    assert!(says(&svg, "nobody, kept for its children"));
}

#[test]
fn the_chart_of_a_sweep_says_what_it_cannot_show_and_what_not_to_trust() {
    let drawn = |change: fn(&mut Report)| {
        let mut report = throughput();
        report.backends.truncate(1);
        let backend = &mut report.backends[0];
        backend.threshold_is_a_bound = false;
        backend.trials.truncate(1);
        (backend.trials[0].others, backend.trials[0].achieved_block_ops) = (Some(0.01), 1e6);
        change(&mut report);
        figure(&report).svg(Theme::Light)
    };
    let quiet = drawn(|_| ()).expect("one trial");
    for silent in ["Other processes", "No higher load", "not shown"] {
        assert!(!says(&quiet, silent), "{silent}");
    }
    assert!(says(
        &drawn(|it| it.backends[0].trials[0].others = Some(0.31)).expect("one"),
        "Other processes took 31.0%"
    ));
    assert!(says(&drawn(|it| it.backends[0].threshold_is_a_bound = true).expect("one"), "No higher load could be"));
    let stuck = |report: &mut Report| {
        let mut none = report.backends[0].trials[0].clone();
        none.achieved_block_ops = 0.0;
        report.backends[0].trials.push(none);
    };
    assert!(says(&drawn(stuck).expect("the other trial"), "are not shown: 1."));
    drawn(|it| it.backends[0].trials.clear()).expect_err("nothing to show");
}

#[test]
fn the_working_set_does_not_fall_because_the_trace_ends() {
    let row = |timestamp, id: u64| Row {
        timestamp,
        input_length: 4,
        output_length: 1,
        hash_ids: vec![id % 2],
        session_id: None,
    };
    let drawn = |times: &[u64]| {
        let rows: Vec<Row> = times.iter().zip(0..).map(|(&timestamp, id)| row(timestamp, id)).collect();
        let options = analyze::Options { workers: vec![1], window_ms: 1000 };
        let analysis = analyze(traces::reader(&rows, 4), &options, |_| {}).expect("a sound trace");
        analyze::figure(&analysis).svg(Theme::Light).expect("there is something to draw")
    };
    let steps = |svg: &str| -> Vec<f64> {
        let panel = panels(svg)[1];
        let inside = |around: &[f64; 4]| around[0] >= panel[0] && around[1] >= panel[1] && around[3] <= panel[3];
        let lines = marks(svg).into_iter().filter(|(colour, around)| colour == "#D55E00" && inside(around));
        lines.flat_map(|(_, around)| [panel[3] - around[1], panel[3] - around[3]]).collect()
    };
    // Two windows with two requests each, and one of 0.1 s with one.
    let whole = drawn(&[0, 500, 1000, 1500, 2000, 2100]);
    let line = steps(&whole);
    assert!(line.len() == 2 && (line[0] - line[1]).abs() < 0.1 && line[0] > 50.0, "an even line: {line:?}");
    assert!(says(&whole, "The last window is cut short by the end of the trace"));
    assert!(says(&drawn(&[1500, 2000, 2500, 3000]), "The first and the last window are cut short"));
    // A gap without requests is a working set of nothing.
    let gap = drawn(&[0, 500, 5000, 5500, 6000]);
    let line = steps(&gap);
    assert!(line[0] > 50.0 && line[1] < 0.5, "{line:?}");
    let short = drawn(&[0, 500]);
    assert!(!says(&short, "Working set over time") && says(&short, "No window of 1 s lies within the trace"));
    assert!(says(&drawn(&[1_200, 1_900, 2_100]), "No window of 1 s"), "both windows are cut short");
}

#[test]
fn every_policy_is_seen_in_every_chart_even_of_one_request() {
    let workload = Workload { requests: Some(1), ..Workload::default() };
    let options = sim::Options { workload, workers: 1, policies: vec!["random", "cost"], ..sim::Options::default() };
    let experiment = Experiment::new("compare", options, []).expect("valid options");
    let html = page::html(&sim::run(&experiment, |_| {}).expect("it runs")).expect("it can be drawn");
    let figures: Vec<&str> = html.split("<figure>").skip(1).collect();
    assert!(figures.len() >= 5, "{}", figures.len());
    for figure in figures {
        let (svg, caption) = figure.split_once("<figcaption>").expect("a caption");
        let [panel] = panels(svg)[..] else { panic!("one panel") };
        // A marker at the edge of the panel goes beyond it by half its size.
        let inside = |around: &[f64; 4]| around[1] >= panel[1] - 6.0 && around[3] <= panel[3] + 6.0;
        for colour in ["#D55E00", "#882255"] {
            let visible = |(of, around): &(String, [f64; 4])| of == colour && inside(around);
            assert!(marks(svg).iter().any(visible), "{colour} in the chart with the caption {caption}");
        }
    }
}

#[test]
fn the_figures_of_the_documents_are_those_of_their_data() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/figures"));
    // They are not in the published crate.
    if !folder.join("data").exists() {
        return;
    }
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Throughput) {
        let data = topic.load(&topic.data_file(&folder.join("data"))).expect("the data");
        for theme in Theme::ALL {
            let name = format!("{}-{theme}.svg", topic.stem());
            let saved = fs::read_to_string(folder.join(&name)).expect("the figure");
            assert!(saved == data.svg(theme).expect("good data"), "{name}: draw it again with kvleap figures --data");
        }
        assert!(!shown(&data).is_empty());
    }
}
