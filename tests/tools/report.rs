//! Figures: no text is cut or overlaps, equal figures have equal bytes, marks show their data, and bad data are
//! refused.

use std::fs;

use kvleap::report::{Axis, Chart, Diagram, Figure, FigureError, Series, Shades, Theme, Unit, dark_css};

use crate::common::scratch::Scratch;
use crate::common::svg::{assert_apart, rectangles, texts};

fn count(label: &str) -> Axis {
    Axis::linear(label, Unit::Of(String::new()))
}

/// Returns a figure with every kind of mark, long labels, and more series than colours.
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
        .vertical(390.0, "max 390");
    let powers = |share: f64| (0..12).map(|power| (2_f64.powi(power), f64::from(power) * share)).collect();
    let scattered = (0..400).map(|dot| (1.0 + f64::from(dot * dot % 1999), f64::from(dot * 7 % 100) / 100.0)).collect();
    let cache = Axis::log("cache", Unit::Of("blocks".into()));
    let hits = Chart::new("Hit rate by size", cache, Axis::linear("hit rate", Unit::Share).covering(0.0, 1.0))
        .series(Series::steps("steps", powers(0.08)))
        .series(Series::line("line", powers(0.05)))
        .series(Series::rings("rings", scattered));
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

/// Returns a figure as small as on a phone, with as many names as there are routing policies.
fn small(row: u32) -> Figure {
    let share = Axis::linear("a label of some length", Unit::Share).covering(0.0, 1.0);
    let chart = Chart::new("A title of some length", Axis::log("from arrival to last token", Unit::Seconds), share);
    let names = ["random", "round-robin", "least-loaded", "power-of-two", "session-affinity", "longest-prefix", "cost"];
    let line = |name: &str| Series::marked(name, vec![(1e-3, 0.0), (0.1, 0.4), (20.0, 1.0)]);
    let chart = names.into_iter().fold(chart, |chart, name| chart.series(line(name)));
    Figure::new("").size(420, row).chart(chart)
}

/// Returns a diagram with boxes side by side and alone, with long lines and with none.
fn diagram() -> Diagram {
    let lines = |text: &[&str]| text.iter().map(|&line| line.to_owned()).collect::<Vec<String>>();
    let node = |title: &str, text: &[&str]| (title.to_owned(), lines(text));
    Diagram::new(
        "A diagram with a title that is so long that it does not fit into a line of a figure of the usual width",
    )
    .note("A note.")
    .stage([], [node("first", &[])])
    .stage(
        [lines(&["a label of the first arrow, in one line"]), lines(&["another", "in two"]), lines(&[])],
        [node("left", &["one line"]), node("middle", &["two", "lines"]), node("a title longer than its lines", &[])],
    )
    .stage(
        [lines(&["together"])],
        [node("last", &["a line that is much longer than the box would otherwise be wide, by far"])],
    )
}

fn bars() -> Figure {
    let systems = Axis::names("system", ["alpha", "beta", "gamma delta"]);
    let heights = vec![(-0.35, 0.35, 12e6), (0.65, 1.35, 4e6), (1.65, 2.35, 7.7e6)];
    let rate = Axis::linear("threshold", Unit::Of("operations/s".into()));
    Figure::new("Bars").chart(Chart::new("", systems, rate).series(Series::bars("", heights)))
}

fn names(svg: &str) -> Vec<String> {
    texts(svg).0.into_iter().map(|(text, _)| text).collect()
}

#[test]
fn no_text_is_cut_or_overlaps_another() {
    for figure in [everything(), bars(), bars().size(420, 300), small(300)] {
        let svg = figure.svg(Theme::Light).unwrap();
        assert!(texts(&svg).0.len() > 8);
        assert_apart(&svg);
    }
}

#[test]
fn a_figure_says_what_it_shows() {
    let shown = names(&everything().svg(Theme::Dark).unwrap());
    for text in ["Throughput", "offered (block operations/s)", "lookup p99", "keeps up", "median 41", "Another note."] {
        assert!(shown.iter().any(|shown| shown == text), "{text:?} is missing from {shown:?}");
    }
    for name in ["kvleap", "a rather long name 10", "requests", "rings"] {
        assert!(shown.iter().any(|shown| shown == name), "{name:?} is missing from {shown:?}");
    }
    let single = names(&bars().svg(Theme::Light).unwrap());
    assert!(["alpha", "gamma delta", "12 M"].iter().all(|text| single.iter().any(|shown| shown == text)), "{single:?}");
}

#[test]
fn points_are_where_their_values_say() {
    let points = vec![(0.0, 0.0), (10.0, 10.0), (5.0, 2.5)];
    let svg = Figure::new("").chart(Chart::new("", count("x"), count("y")).series(Series::rings("", points)));
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
fn a_diagram_has_room_for_all_of_its_text() {
    let svg = diagram().svg(Theme::Dark).unwrap();
    assert_apart(&svg);
    let shown = names(&svg);
    for text in ["first", "in two", "a title longer than its lines", "together", "A note."] {
        assert!(shown.iter().any(|shown| shown == text), "{text:?} is missing from {shown:?}");
    }
    let empty = Diagram::new("D").stage([], []);
    assert!(matches!(empty.svg(Theme::Light), Err(FigureError::Empty { title }) if title == "D"));
    assert!(matches!(Diagram::new("D").svg(Theme::Light), Err(FigureError::Empty { .. })));
    assert_eq!(svg, diagram().svg(Theme::Dark).unwrap());
}

#[test]
fn every_cell_of_at_least_one_is_drawn_between_its_corners() {
    let cell = |x: f64, y: f64, value| ((x, y), (x + 2.0, y + 1.0), value);
    let cells = [cell(0.0, 0.0, 1.0), cell(2.0, 0.0, 3.0), cell(4.0, 1.0, 30.0), cell(6.0, 1.0, 0.0)];
    let series = Shades::up_to(30.0, "blocks").series(cells);
    let classes = series.len();
    let chart = series.into_iter().fold(Chart::new("", count("x"), count("y")), Chart::series);
    let svg = Figure::new("").chart(chart).svg(Theme::Light).unwrap();
    let boxes = rectangles(&svg, "1");
    // The background, and a sample of each class.
    let drawn = &boxes[boxes.len() - 3..];
    assert_eq!(boxes.len(), 1 + classes + 3, "nothing is drawn for less than 1: {boxes:?}");
    assert!((drawn[0].0 + drawn[0].2 - drawn[1].0).abs() <= 0.2, "side by side: {drawn:?}");
    assert!((drawn[2].0 - drawn[1].0 - drawn[1].2).abs() <= 0.2 && drawn[2].1 < drawn[1].1, "above: {drawn:?}");
    assert_apart(&svg);
}

#[test]
fn labels_stay_inside_the_chart() {
    let points = vec![(0.0, 1.0), (100.0, 2.0)];
    let chart = Chart::new("", count("x"), count("y")).series(Series::rings("", points));
    let chart = chart.label((0.0, 1.0), "the first of the points").label((100.0, 2.0), "the last of the points");
    let svg = Figure::new("").size(500, 300).chart(chart).svg(Theme::Light).unwrap();
    assert_apart(&svg);
    let ((texts, size), dots) = (texts(&svg), svg.matches("<circle").count());
    assert_eq!((dots, size), (2, (500.0, 334.0)));
    let left = |name: &str| texts.iter().find(|(text, _)| text == name).unwrap().1.left();
    assert!(left("the first of the points") < left("the last of the points"));
}

#[test]
fn equal_figures_give_equal_bytes_and_themes_differ() {
    assert_eq!(everything().svg(Theme::Light).unwrap(), everything().svg(Theme::Light).unwrap());
    assert_eq!(bars().png(Theme::Light).unwrap(), bars().png(Theme::Light).unwrap());
    assert_ne!(bars().svg(Theme::Light).unwrap(), bars().svg(Theme::Dark).unwrap());
}

#[test]
fn data_that_cannot_be_shown_are_refused() {
    let chart = |x, points| Figure::new("F").chart(Chart::new("C", x, count("y")).series(Series::rings("s", points)));
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
fn a_figure_is_saved_completely_or_not_at_all() {
    let scratch = Scratch::new("report");
    let folder = &scratch.0;
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
    assert_eq!(scratch.names(), ["figure.png", "figure.svg", "taken.svg"], "no partial file is left");
}
