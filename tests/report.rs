//! Figures: nothing in them is cut or overlaps, they repeat, they show what they were given, and they refuse the rest.

use std::{env, fs, process};

use kvleap::report::{Axis, Chart, Figure, FigureError, Series, Theme, Unit, dark_css};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Group, Node, Options, Rect, Tree};

fn count(label: &str) -> Axis {
    Axis::linear(label, Unit::Of(String::new()))
}

/// Every kind of mark, long labels, more series than colours.
fn everything() -> Figure {
    let rate = |label: &str| Axis::log(label, Unit::Of("block operations/s".into()));
    let offered: Vec<f64> = (0..9).map(|step| 1e4 * 10_f64.powf(f64::from(step) * 0.5)).collect();
    let mut throughput = Chart::new("Throughput", rate("offered"), rate("achieved")).identity("keeps up");
    let mut latency = Chart::new("Latency", rate("offered"), Axis::log("lookup p99", Unit::Seconds));
    for number in 0..11 {
        let name = if number == 0 { "kvleap".to_owned() } else { format!("a rather long name {number}") };
        let limit = 1e8 / 3_f64.powi(number);
        let slow = |rate: f64| 2e-7 * f64::from(number + 1) * (1.0 + (rate / limit).powi(2)).min(1e5);
        let emphasis = |series: Series| if number == 0 { series.strong() } else { series };
        let achieved = offered.iter().map(|&rate| (rate, rate.min(limit) * 0.98)).collect();
        throughput = throughput.series(emphasis(Series::marked(&name, achieved)));
        throughput = throughput.series(emphasis(Series::rings(&name, vec![(limit, limit)])));
        latency =
            latency.series(emphasis(Series::marked(&name, offered.iter().map(|&rate| (rate, slow(rate))).collect())));
    }
    let bins = (0..40).map(f64::from).map(|bin| (bin * 10.0, bin * 10.0 + 10.0, 1e3 * (-bin / 9.0).exp())).collect();
    let lengths = Chart::new("Prompt lengths", Axis::linear("length", Unit::Of("blocks".into())), count("requests"))
        .series(Series::bars("requests", bins))
        .vertical(62.0, "mean 62")
        .vertical(41.0, "median 41")
        .vertical(390.0, "max 390")
        .horizontal(500.0, "half");
    let powers = |share: f64| (0..12).map(|power| (2_f64.powi(power), f64::from(power) * share)).collect();
    let scattered = (0..400).map(|dot| (1.0 + f64::from(dot * dot % 1999), f64::from(dot * 7 % 100) / 100.0)).collect();
    let cache = Axis::log("cache", Unit::Of("blocks".into()));
    let hits = Chart::new("Hit rate by size", cache, Axis::linear("hit rate", Unit::Share).covering(0.0, 1.0))
        .series(Series::steps("steps", powers(0.08)))
        .series(Series::line("line", powers(0.05)))
        .series(Series::dots("dots", scattered));
    Figure::new("Achieved against offered load, and the latency of lookups")
        .columns(2)
        .note("A note that is so long that it must go on in another line, because it says what to see, what the rings are, on which machine and in which run all of it was measured, and with how many threads.")
        .note("Another note.")
        .chart(throughput)
        .chart(latency)
        .chart(lengths)
        .chart(hits)
}

#[test]
fn the_dark_rules_turn_a_light_figure_into_the_dark_one() {
    let mut turned = String::new();
    let light = everything().svg(Theme::Light).unwrap();
    let mut pieces = light.split('#');
    turned.push_str(pieces.next().unwrap());
    let rules = dark_css("figure svg");
    for piece in pieces {
        let (colour, rest) = piece.split_at(6);
        let rule = |paint: &str| format!("figure svg [{paint}=\"#{colour}\"] {{ {paint}: #");
        let dark = ["fill", "stroke"].map(|paint| {
            let (_, dark) = rules.split_once(&rule(paint)).expect("a rule for every colour");
            &dark[..6]
        });
        assert_eq!(dark[0], dark[1]);
        turned.extend(["#", dark[0], rest]);
    }
    assert_eq!(turned, everything().svg(Theme::Dark).unwrap());
}

#[test]
fn a_figure_has_the_size_that_was_asked_for() {
    let size = |row| texts(&small(row).svg(Theme::Light).unwrap()).1;
    assert_eq!(size(300).0.to_bits(), 420_f32.to_bits());
    assert_eq!((size(400).1 - size(300).1).to_bits(), 100_f32.to_bits());
}

/// As small as a figure on a phone, with as many names as there are routing policies.
fn small(row: u32) -> Figure {
    let share = Axis::linear("a label of some length", Unit::Share).covering(0.0, 1.0);
    let chart = Chart::new("A title of some length", Axis::log("from arrival to last token", Unit::Seconds), share);
    let names = ["random", "round-robin", "least-loaded", "power-of-two", "session-affinity", "longest-prefix", "cost"];
    let line = |name: &str| Series::marked(name, vec![(1e-3, 0.0), (0.1, 0.4), (20.0, 1.0)]);
    let chart = names.into_iter().fold(chart, |chart, name| chart.series(line(name)));
    Figure::new("").size(420, row).chart(chart)
}

fn bars() -> Figure {
    let systems = Axis::names("system", ["alpha", "beta", "gamma delta"]);
    let heights = vec![(-0.35, 0.35, 12e6), (0.65, 1.35, 4e6), (1.65, 2.35, 7.7e6)];
    let rate = Axis::linear("threshold", Unit::Of("operations/s".into()));
    Figure::new("Bars").chart(Chart::new("", systems, rate).series(Series::bars("", heights)))
}

/// Every text of an SVG with the box that it covers in the built-in font, in pixels, and the size of the whole.
fn texts(svg: &str) -> (Vec<(String, Rect)>, (f32, f32)) {
    fn walk(group: &Group, found: &mut Vec<(String, Rect)>) {
        for node in group.children() {
            match node {
                Node::Group(group) => walk(group, found),
                Node::Text(text) => {
                    let words = text.chunks().iter().map(|chunk| chunk.text().trim()).collect();
                    found.push((words, text.abs_bounding_box()));
                }
                Node::Path(_) | Node::Image(_) => {}
            }
        }
    }
    let mut fonts = Database::new();
    fonts.load_font_data(ttf_noto_sans::REGULAR.to_vec());
    fonts.load_font_data(ttf_noto_sans::BOLD.to_vec());
    let tree = Tree::from_str(svg, &Options { fontdb: fonts.into(), ..Options::default() }).unwrap();
    let mut found = Vec::new();
    walk(tree.root(), &mut found);
    (found, (tree.size().width(), tree.size().height()))
}

fn names(svg: &str) -> Vec<String> {
    texts(svg).0.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn no_text_is_cut_or_overlaps_another() {
    for figure in [everything(), bars(), bars().size(420, 300), small(300)] {
        let (texts, (width, height)) = texts(&figure.svg(Theme::Light).unwrap());
        assert!(texts.len() > 8, "{texts:?}");
        for (place, (text, shape)) in texts.iter().enumerate() {
            let inside =
                shape.left() >= 0.0 && shape.top() >= 0.0 && shape.right() <= width && shape.bottom() <= height;
            assert!(inside, "{text:?} at {shape:?} leaves {width} x {height}");
            for (other, theirs) in &texts[place + 1..] {
                let apart = shape.right() <= theirs.left() || theirs.right() <= shape.left();
                let above = shape.bottom() <= theirs.top() || theirs.bottom() <= shape.top();
                assert!(apart || above, "{text:?} at {shape:?} overlaps {other:?} at {theirs:?}");
            }
        }
    }
}

#[test]
fn a_figure_says_what_it_shows() {
    let shown = names(&everything().svg(Theme::Dark).unwrap());
    for text in ["Throughput", "offered (block operations/s)", "lookup p99", "keeps up", "median 41", "Another note."] {
        assert!(shown.iter().any(|shown| shown == text), "{text:?} is missing from {shown:?}");
    }
    for name in ["kvleap", "a rather long name 10", "requests", "dots"] {
        assert!(shown.iter().any(|shown| shown == name), "{name:?} is missing from {shown:?}");
    }
    let single = names(&bars().svg(Theme::Light).unwrap());
    assert!(["alpha", "gamma delta", "12 M"].iter().all(|text| single.iter().any(|shown| shown == text)), "{single:?}");
}

#[test]
fn points_are_where_their_values_say() {
    let points = vec![(0.0, 0.0), (10.0, 10.0), (5.0, 2.5)];
    let svg = Figure::new("").chart(Chart::new("", count("x"), count("y")).series(Series::dots("", points)));
    let svg = svg.svg(Theme::Light).unwrap();
    let centre = |line: &str| -> (f64, f64) {
        let value = |name: &str| line.split(name).nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        (value("cx=\""), value("cy=\""))
    };
    let dots: Vec<(f64, f64)> = svg.lines().filter(|line| line.starts_with("<circle")).map(centre).collect();
    let [low, high, middle] = dots[..] else { panic!("{dots:?}") };
    assert!((middle.0 - f64::midpoint(low.0, high.0)).abs() <= 1.0, "{dots:?}");
    assert!((middle.1 - (low.1 + (high.1 - low.1) / 4.0)).abs() <= 1.0, "{dots:?}");
    assert!(high.0 > low.0 && high.1 < low.1, "up and to the right: {dots:?}");
}

#[test]
fn equal_figures_are_equal_bytes_and_themes_differ() {
    assert_eq!(everything().svg(Theme::Light).unwrap(), everything().svg(Theme::Light).unwrap());
    assert_eq!(bars().png(Theme::Light).unwrap(), bars().png(Theme::Light).unwrap());
    assert_ne!(bars().svg(Theme::Light).unwrap(), bars().svg(Theme::Dark).unwrap());
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let chart = |x, points| Figure::new("F").chart(Chart::new("C", x, count("y")).series(Series::dots("s", points)));
    let log = || Axis::log("x", Unit::Seconds);
    assert!(matches!(Figure::new("F").svg(Theme::Light), Err(FigureError::Empty { title }) if title == "F"));
    assert!(matches!(chart(log(), vec![]).svg(Theme::Light), Err(FigureError::Empty { title }) if title == "C"));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = chart(log(), vec![(1.0, 1.0), (bad, 1.0)]).svg(Theme::Light);
        assert!(matches!(refused, Err(FigureError::Value { .. })), "{bad}");
    }
    assert!(chart(count("x"), vec![(0.0, 0.0)]).svg(Theme::Light).is_ok(), "a single point at the origin");
    assert!(chart(log(), vec![(1e-300, 0.0), (1e300, 0.0)]).svg(Theme::Light).is_ok());
    assert!(chart(count("x"), vec![(-1e300, 0.0), (1e300, 0.0)]).svg(Theme::Light).is_ok());
}

#[test]
fn files_are_complete_or_not_there() {
    let folder = env::temp_dir().join(format!("kvleap-report-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let svg = folder.join("figure.svg");
    bars().save(&svg, Theme::Light).unwrap();
    assert_eq!(fs::read_to_string(&svg).unwrap(), bars().svg(Theme::Light).unwrap());
    let png = folder.join("figure.png");
    bars().save(&png, Theme::Dark).unwrap();
    assert!(fs::read(&png).unwrap().starts_with(b"\x89PNG"));

    assert!(matches!(bars().save(&folder.join("figure.jpg"), Theme::Light), Err(FigureError::UnknownFormat { .. })));
    let taken = folder.join("taken.svg");
    fs::create_dir(&taken).unwrap();
    assert!(matches!(bars().save(&taken, Theme::Light), Err(FigureError::File { .. })));
    assert!(matches!(bars().save(&folder.join("no/such.svg"), Theme::Light), Err(FigureError::File { .. })));
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["figure.png", "figure.svg", "taken.svg"], "nothing half-written stays");
    fs::remove_dir_all(folder).unwrap();
}
