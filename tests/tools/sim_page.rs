//! The page of a simulation: it shows exactly the numbers of the report, and loads nothing from elsewhere.

use kvleap::sim::{
    Bins, Blocks, Dimension, Experiment, Options, PolicyReport, Report, Times, Vary, Workload, page, run,
};
use resvg::usvg::roxmltree::{Document, Node};

const POLICIES: [&str; 3] = ["round-robin", "longest-prefix", "cost"];

fn experiment(name: &str, vary: impl IntoIterator<Item = Vary>) -> Report {
    let workload = Workload { requests: Some(150), ..Workload::default() };
    let options = Options { workload, workers: 4, policies: POLICIES.to_vec(), ..Options::default() };
    run(&Experiment::new(name, options, vary).expect("valid options"), |_| {}).expect("it runs")
}

/// Returns the page without its document type, which the parser does not accept.
fn html(report: &Report) -> String {
    let html = page::html(report).expect("figures of numbers");
    html.strip_prefix("<!DOCTYPE html>\n").expect("it is HTML").to_owned()
}

/// Returns the texts of the page's leading paragraphs.
fn lead(report: &Report) -> Vec<String> {
    let html = html(report);
    let page = Document::parse(&html).expect("well-formed");
    let lead = page.descendants().filter(|node| node.attribute("class") == Some("lead"));
    lead.map(|node| node.text().expect("it says something").to_owned()).collect()
}

fn elements<'a, 'd>(page: &'a Document<'d>, name: &str) -> Vec<Node<'a, 'd>> {
    page.descendants().filter(|node| node.tag_name().name() == name).collect()
}

/// Returns the number that a text shows, in the unit of the report, and how far rounding may have moved it.
fn read(text: &str, key: &str) -> (f64, f64) {
    let (number, unit) = text.trim_end_matches('%').split_once(' ').unwrap_or((text.trim_end_matches('%'), ""));
    let scale = match unit {
        "s" if key.contains("_ms") => 1e3,
        _ if text.ends_with('%') => 0.01,
        _ => 1.0,
    };
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    (
        number.replace(',', "").parse::<f64>().expect("a number") * scale,
        0.5001 * 0.1_f64.powi(i32::try_from(decimals).expect("a few")) * scale,
    )
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_report() {
    let mut report = experiment("compare", []);
    // One number on each side of 10 s.
    report.policies[1].latency_ms.p99 = 12_345.6;
    report.policies[2].latency_ms.p99 = 9_999.9;
    let json = serde_json::to_value(&report).expect("numbers and text");
    let html = html(&report);
    let page = Document::parse(&html).expect("well-formed");
    let head: Vec<_> = elements(&page, "thead").into_iter().flat_map(|head| head.descendants()).collect();
    let heads: Vec<_> = head.iter().filter(|node| node.tag_name().name() == "th").filter_map(Node::text).collect();
    assert_eq!(heads, ["measure", "round-robin", "longest-prefix", "cost"]);

    let mut shown = Vec::new();
    for row in page.descendants().filter(|node| node.has_attribute("data-measure")) {
        let key = row.attribute("data-measure").expect("it has one");
        let cells: Vec<_> = row.children().filter(|node| node.tag_name().name() == "td").collect();
        assert_eq!(cells.len(), POLICIES.len(), "{key}");
        for (place, cell) in cells.into_iter().enumerate() {
            let policy = &json["policies"][place];
            let value =
                key.split('.').fold(policy, |value, part| &value[part]).as_f64().expect("a number of the report");
            let exact: f64 = cell.attribute("data-value").expect("every cell has one").parse().expect("a number");
            assert_eq!(exact.to_bits(), value.to_bits(), "{key} of {}", POLICIES[place]);
            let (read, within) = read(cell.text().expect("every cell has a text"), key);
            assert!((read - value).abs() <= within, "{key}: {read} for {value}");
        }
        shown.push(key.to_owned());
    }
    for key in ["block_hit_rate", "request_hit_rate", "ttft_ms.p99", "latency_ms.mean", "queue_ms.mean", "rejected"] {
        assert!(shown.iter().any(|shown| shown == key), "{key} is missing");
    }
    for key in ["load_imbalance", "evicted_blocks", "prefill_saved_gpu_s", "blocks.predicted", "latency_miss_ms.mean"] {
        assert!(shown.iter().any(|shown| shown == key), "{key} is missing");
    }
    let bold: Vec<_> = page.descendants().filter(|node| node.attribute("class") == Some("best")).collect();
    let hits = bold
        .iter()
        .filter(|cell| cell.parent().and_then(|row| row.attribute("data-measure")) == Some("block_hit_rate"));
    let most = report.policies.iter().map(|it| it.block_hit_rate).fold(0.0, f64::max);
    let hits: Vec<_> = hits.filter_map(|cell| cell.attribute("data-value")).map(str::parse::<f64>).collect();
    assert_eq!(hits, [Ok(most)]);
}

#[test]
fn a_page_loads_nothing_and_equal_reports_give_equal_pages() {
    let report = experiment("compare", []);
    let html = html(&report);
    assert_eq!(html, self::html(&report));
    let page = Document::parse(&html).expect("well-formed");
    for node in page.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe", "object", "image", "use", "base"].contains(&name), "{name}");
        for attribute in node.attributes() {
            assert!(!["href", "src", "srcset", "action"].contains(&attribute.name()), "{attribute:?}");
            assert!(!attribute.name().starts_with("on"), "{attribute:?}");
        }
    }
    let addresses: Vec<_> = html.match_indices("http").map(|(at, _)| html[at..].split('"').next()).collect();
    let namespaces = [Some("http://www.w3.org/1999/xhtml"), Some("http://www.w3.org/2000/svg")];
    assert!(addresses.iter().all(|address| namespaces.contains(address)), "{addresses:?}");
    assert!(!html.contains("url(") && !html.contains("@import"));
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("width=device-width"));
}

#[test]
fn every_figure_has_axes_and_a_caption_and_names_every_policy() {
    let report = experiment("compare", []);
    let html = html(&report);
    let page = Document::parse(&html).expect("well-formed");
    let figures = elements(&page, "figure");
    let mut titles = Vec::new();
    for figure in &figures {
        let texts: Vec<String> =
            figure.descendants().filter_map(|node| node.text()).map(|it| it.trim().to_owned()).collect();
        assert!(POLICIES.iter().all(|policy| texts.iter().any(|text| text == policy)), "{texts:?}");
        let caption = figure.children().find(|node| node.tag_name().name() == "figcaption");
        assert!(caption.and_then(|caption| caption.text()).is_some_and(|text| text.len() > 10));
        titles.extend(texts);
    }
    for title in ["Latency", "Hit rate over time", "Load per worker", "First token by cache status", "Match length"] {
        assert!(titles.iter().any(|text| text == title), "{title} is missing");
    }
    for title in ["Time to first token", "Latency by cache status", "Expected and actual reuse"] {
        assert!(titles.iter().any(|text| text == title), "{title} is missing");
    }
}

#[test]
fn text_in_a_report_is_never_read_as_html() {
    let mut report = experiment("compare", []);
    let evil = "</title></style><script>alert(\"1\")</script>&amp;<b x='";
    report.experiment = evil.to_owned();
    report.cells[0].setting.workload = evil.to_owned();
    report.cells[0].setting.world = vec![evil.to_owned()];
    for policy in &mut report.policies {
        policy.name = format!("{evil}{}", policy.name);
    }
    let html = html(&report);
    let page = Document::parse(&html).expect("well-formed");
    assert!(elements(&page, "script").is_empty() && elements(&page, "b").is_empty());
    let texts = page.descendants().filter(|node| node.tag_name().name() == "dd").filter_map(|node| node.text());
    assert_eq!(texts.filter(|text| *text == evil).count(), 2);
}

#[test]
fn a_page_of_an_experiment_has_curves_and_cells() {
    let rates = Vary::Along(Dimension::Rate, vec![5.0, 50.0]);
    let lags = Vary::Along(Dimension::Lag, vec![0.0, 1.0, 5.0]);
    let report = experiment("grid", [rates, lags]);
    let html = html(&report);
    let page = Document::parse(&html).expect("well-formed");
    let section = page.descendants().find(|node| node.attribute("id") == Some("experiment")).expect("there is one");
    let headings = section.children().filter(|node| node.tag_name().name() == "h3").filter_map(|node| node.text());
    assert_eq!(headings.collect::<Vec<_>>(), ["rate 5 requests/s", "rate 50 requests/s"]);
    assert_eq!(section.descendants().filter(|node| node.tag_name().name() == "figure").count(), 2 * 4);
    for figure in section.descendants().filter(|node| node.tag_name().name() == "figure") {
        let markers = figure.descendants().filter(|node| node.tag_name().name() == "circle").count();
        assert_eq!(markers, 1 + 3, "the first policy in the legend and at each lag");
    }
    let cells: Vec<_> = elements(&page, "summary").into_iter().filter_map(|node| node.text()).collect();
    assert_eq!(cells.len(), 6);
    assert_eq!(cells[1], "By policy, with rate 5 requests/s, lag 1 s");
    assert_eq!(elements(&page, "table").len(), 6);
    assert!(lead(&report)[0].contains("of 6 cells"), "{:?}", lead(&report));

    // Of many cells, the page shows only the first and the last.
    let many = Report {
        policies: (0..20).flat_map(|lag| at(&report.policies[..3], &[5.0, f64::from(lag)])).collect(),
        ..report
    };
    let html = self::html(&many);
    let page = Document::parse(&html).expect("well-formed");
    assert_eq!(elements(&page, "table").len(), 2);
    assert!(html.contains("18 cells between"));
}

fn at(policies: &[PolicyReport], at: &[f64]) -> Vec<PolicyReport> {
    policies.iter().map(|policy| PolicyReport { at: at.to_vec(), ..policy.clone() }).collect()
}

/// Sets the policies' mean times to the first token, and makes everything else equal.
fn with_means(report: &Report, means: [f64; 3]) -> Report {
    let like = &report.policies[0];
    let policies = report.policies.iter().zip(means).map(|(policy, mean)| {
        let mut alike = PolicyReport { name: policy.name.clone(), ..like.clone() };
        alike.ttft_ms.mean = mean;
        alike
    });
    Report { policies: policies.collect(), ..report.clone() }
}

#[test]
fn the_summary_says_which_policy_wins_by_how_much_and_where_it_does_not() {
    let report = experiment("compare", []);
    let words = lead(&with_means(&report, [300.0, 200.0, 100.0]));
    assert!(
        words[0].starts_with("cost is the fastest: the first token takes 100 ms")
            && words[0].contains("300 ms with round-robin"),
        "{words:?}"
    );
    assert!(words[0].contains("3.00 times as long"), "{words:?}");
    assert!(words[1].starts_with("No other policy is ahead of cost"), "{words:?}");

    let mut uneven = with_means(&report, [300.0, 200.0, 100.0]);
    uneven.policies[2].load_imbalance = 2.0;
    uneven.policies[1].load_imbalance = 1.25;
    uneven.policies[0].load_imbalance = 1.5;
    uneven.policies[2].block_hit_rate = 0.2;
    uneven.policies[1].block_hit_rate = 0.5;
    let words = lead(&uneven);
    assert!(words[1].contains("imbalance (1.25 with longest-prefix, compared to 2.00)"), "{words:?}");
    assert!(words[1].contains("share of blocks reused (50.0% with longest-prefix, compared to 20.0%)"), "{words:?}");
    assert!(!words[1].contains("latency"), "{words:?}");

    let words = lead(&with_means(&report, [100.0, 200.0, 300.0]));
    assert!(words[0].starts_with("round-robin is the fastest: the first token takes 100 ms"), "{words:?}");
    assert!(words[0].contains("200 ms with longest-prefix") && words[0].contains("does not pay"), "{words:?}");
}

#[test]
fn a_page_can_be_made_of_a_report_without_finished_requests() {
    let report = experiment("compare", []);
    let nothing = Report { policies: Vec::new(), ..report.clone() };
    assert_eq!(lead(&nothing), ["No simulation was run."]);
    let single = Report { policies: report.policies[..1].to_vec(), ..report.clone() };
    assert!(lead(&single)[0].starts_with("With round-robin, the first token comes after"));
    let mut rejected = report;
    for policy in &mut rejected.policies {
        *policy = PolicyReport {
            requests: 150,
            rejected: 150,
            finished: 0,
            ttft_ms: Times::default(),
            ttft_hit_ms: Times::default(),
            ttft_miss_ms: Times::default(),
            latency_bins: Bins::default(),
            match_blocks: Bins::default(),
            over_time: Vec::new(),
            busy_s_per_worker: vec![0.0; 4],
            span_s: 0.0,
            blocks: Blocks::default(),
            ..policy.clone()
        };
    }
    assert_eq!(lead(&rejected), ["No request was finished."]);
}
