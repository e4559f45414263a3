//! What a simulation says of itself: each cell is described as it was run, a tie is called a tie, one policy wins
//! nothing, a varied setting is explained, and a policy looks the same in every report.

use kvleap::report::Theme;
use kvleap::sim::{Dimension, Experiment, Options, PolicyReport, Report, Times, Vary, Workload, page, run};

fn options(policies: &[&'static str]) -> Options {
    let workload = Workload { requests: Some(150), ..Workload::default() };
    Options { workload, workers: 4, policies: policies.to_vec(), ..Options::default() }
}

fn play(policies: &[&'static str], vary: impl IntoIterator<Item = Vary>) -> Report {
    run(&Experiment::new("grid", options(policies), vary).expect("valid options"), |_| {}).expect("it runs")
}

/// Sets the mean times to the first token of all results, and makes everything else equal.
fn with_means(report: Report, means: &[f64]) -> Report {
    let like = report.policies[0].clone();
    assert_eq!(report.policies.len(), means.len());
    let policies = report.policies.iter().zip(means).map(|(policy, &mean)| {
        let ttft_ms = Times { mean, ..like.ttft_ms };
        PolicyReport { name: policy.name.clone(), at: policy.at.clone(), ttft_ms, ..like.clone() }
    });
    Report { policies: policies.collect(), ..report }
}

#[test]
fn every_cell_is_described_as_it_was_run() {
    let along = |dimension, values: &[f64]| Vary::Along(dimension, values.to_vec());
    let report = play(
        &["cost"],
        [
            along(Dimension::Rate, &[5.0, 20.0]),
            along(Dimension::Workers, &[2.0, 3.0]),
            along(Dimension::Lag, &[0.0, 9.0]),
        ],
    );
    let described = report.cells.iter().map(|cell| {
        let setting = &cell.setting;
        let rate = setting.arrivals.split(['n', ' ', ',']).find_map(|word| word.parse::<f64>().ok()).expect("a rate");
        let lag = if setting.world.is_empty() { 0.0 } else { 9.0 };
        vec![rate, f64::from(setting.workers), lag]
    });
    assert_eq!(described.collect::<Vec<_>>(), report.cells.iter().map(|cell| cell.at.clone()).collect::<Vec<_>>());
    assert_eq!(report.cells.len(), 8);
    for (cell, policy) in report.cells.iter().zip(&report.policies) {
        assert_eq!((&cell.at, cell.setting.requests), (&policy.at, policy.requests));
        assert_eq!(cell.setting.workers as usize, policy.busy_s_per_worker.len());
    }
    let html = page::html(&report).expect("it can be drawn");
    let svg = page::figure(&report).svg(Theme::Light).expect("it can be drawn");
    for text in ["Poisson, 5 requests/s", "Poisson, 20 requests/s", "none, or events arrive after 9s"] {
        assert!(html.contains(text), "{text}");
    }
    assert!(svg.contains("2, or 3 workers"), "the figure does not describe one cell as if it were all");
}

#[test]
fn a_default_that_follows_the_fleet_is_that_of_each_cell() {
    let report = play(&["random"], [Vary::Along(Dimension::Workers, vec![1.0, 5.0])]);
    let rates = report.settings(|setting| setting.arrivals.split(';').next().unwrap_or("").to_owned());
    assert_eq!(rates, ["Poisson, 4 requests/s", "Poisson, 20 requests/s"]);
    assert_eq!(
        report.settings(|setting| setting.seed.to_string()),
        ["0"],
        "what is the same in all cells is said once"
    );
}

#[test]
fn a_tie_is_called_a_tie() {
    let names = ["round-robin", "longest-prefix", "cost"];
    let report = play(&names, []);
    let words = |means: &[f64]| page::summary(&with_means(report.clone(), means));
    let all = words(&[100.0, 100.0, 100.0]);
    assert!(
        all[0].starts_with("round-robin, longest-prefix and cost tie") && all[0].contains("does not matter"),
        "{all:?}"
    );
    assert_eq!(all.len(), 1, "there is no other policy: {all:?}");
    let two = words(&[300.0, 101.0, 100.0]);
    assert!(two[0].starts_with("longest-prefix and cost tie, less than 2% apart"), "{two:?}");
    assert!(two[0].contains("101 ms with longest-prefix, 100 ms with cost"), "{two:?}");
    assert!(two[0].contains("300 ms with round-robin") && two[0].contains("3.00 times as long"), "{two:?}");
    assert!(words(&[300.0, 103.0, 100.0])[0].starts_with("cost is the fastest"), "more than 2% is no tie");
    // Nor is the second place given to the first of those that share it.
    let second = words(&[100.0, 200.0, 201.0]);
    assert!(second[0].contains("200 ms with longest-prefix, 201 ms with cost"), "{second:?}");

    let mut differ = with_means(report, &[300.0, 100.0, 100.0]);
    differ.policies[2].load_imbalance = 5.0;
    let says = page::summary(&differ);
    let own = format!("{:.2} with longest-prefix, 5.00 with cost", differ.policies[1].load_imbalance);
    assert!(says[1].starts_with("They differ in: imbalance") && says[1].contains(&own), "{says:?}");
}

#[test]
fn ties_are_in_the_json_and_counted_as_ties() {
    // With one worker, there is nothing to choose.
    let names = ["round-robin", "cost"];
    let report = play(&names, [Vary::Along(Dimension::Workers, vec![1.0, 4.0])]);
    let json = serde_json::to_value(&report).expect("numbers and text");
    assert_eq!(json["cells"][0]["fastest"], serde_json::json!(names));
    assert_eq!(json["cells"][1]["fastest"], serde_json::json!(["cost"]));
    let words = page::summary(&with_means(report, &[7.0, 7.0, 9.0, 7.0]));
    assert!(
        words[0].contains("round-robin and cost tie in 1 of 2 cells. cost is the fastest with workers 4."),
        "{words:?}"
    );
}

#[test]
fn a_single_policy_wins_nothing() {
    let report = play(&["cost"], [Vary::Along(Dimension::Rate, vec![5.0, 20.0, 40.0])]);
    let words = page::summary(&report).join(" ");
    assert!(!words.contains("fastest") && !words.contains("cells"), "{words}");
    assert!(report.cells.iter().all(|cell| cell.fastest.is_empty()));
}

#[test]
fn it_is_said_what_lag_is_and_what_it_costs_against_none() {
    for values in [[0.0, 1.0, 10.0], [10.0, 1.0, 0.0]] {
        let mut report = play(&["round-robin", "cost"], [Vary::Along(Dimension::Lag, values.to_vec())]);
        for policy in &mut report.policies {
            let costs = policy.name == "cost" && policy.at == [10.0];
            (policy.block_hit_rate, policy.ttft_ms.mean) = if costs { (0.25, 80.0) } else { (0.5, 20.0) };
        }
        let words = page::summary(&report);
        let about = words.iter().find(|text| text.starts_with("The lag is the time")).expect("an explanation");
        assert!(about.contains("At lag 10 s instead of 0 s: "), "{about}");
        let cost = "with cost, the share of blocks reused is 25.0% instead of 50.0%, and the mean time to first token \
                    80.0 ms instead of 20.0 ms";
        assert!(about.contains(cost), "{about}");
        assert!(about.contains("with round-robin, the share of blocks reused is 50.0% in both cases"), "{about}");
    }
}

#[test]
fn a_number_of_nothing_is_a_dash_and_never_the_best() {
    let mut report = play(&["round-robin", "cost"], []);
    let idle = &mut report.policies[0];
    *idle = PolicyReport {
        finished: 0,
        rejected: idle.requests,
        ttft_ms: Times::default(),
        latency_ms: Times::default(),
        block_hit_rate: 0.0,
        blocks: kvleap::sim::Blocks::default(),
        ..idle.clone()
    };
    let html = page::html(&report).expect("it can be drawn");
    let row = |key: &str| html.lines().find(|line| line.contains(&format!("data-measure=\"{key}\""))).expect("a row");
    for key in ["ttft_ms.mean", "latency_ms.p99", "block_hit_rate"] {
        assert!(row(key).contains("<td>-</td>") && !row(key).contains("data-value=\"0\""), "{}", row(key));
    }
    assert!(page::summary(&report)[0].starts_with("Only cost finished requests"));
}

#[test]
fn a_policy_has_one_colour_whatever_else_is_in_the_report() {
    let colour = |policies: &[&'static str], name: &str| {
        let svg = page::figure(&play(policies, [])).svg(Theme::Light).expect("it can be drawn");
        // In the legend, the text of a name follows its sample.
        let lines: Vec<&str> = svg.lines().collect();
        let at = lines.iter().position(|line| line.trim() == name).expect("it is in the legend");
        let sample = lines[..at].iter().rev().find(|line| line.contains("stroke=\"#")).expect("a line before it");
        let (_, after) = sample.split_once("stroke=\"").expect("it has a colour");
        after[..7].to_owned()
    };
    let alone = colour(&["cost", "longest-prefix"], "cost");
    assert_eq!(alone, colour(&["round-robin", "cost"], "cost"));
    assert_eq!(alone, colour(&kvleap::route::policy::NAMES, "cost"));
    assert_ne!(alone, colour(&kvleap::route::policy::NAMES, "random"));
}

#[test]
fn the_points_over_time_stand_for_all_requests() {
    let mut report = play(&["cost"], []);
    // 60 intervals of one request each: the last ones would not fill a twenty-fourth of their own.
    report.policies[0].over_time = (0..61)
        .map(|second| kvleap::sim::Interval {
            start_s: f64::from(second),
            requests: 1,
            asked: 1,
            reused: u64::from(second == 60),
        })
        .collect();
    let html = page::html(&report).expect("it can be drawn");
    let chart = html.split("<figure>").find(|figure| figure.contains("Hit rate over time")).expect("the chart");
    let line =
        chart.lines().filter(|line| line.starts_with("<polyline")).max_by_key(|line| line.len()).expect("a line");
    let heights: Vec<f64> = line
        .split("points=\"")
        .nth(1)
        .expect("points")
        .split('"')
        .next()
        .expect("its end")
        .split_whitespace()
        .map(|point| point.split(',').nth(1).expect("y").parse().expect("a number"))
        .collect();
    assert_eq!(heights.len(), 24);
    assert!(heights[23] < heights[22], "the only hit is in the last interval: {heights:?}");
}

#[test]
fn nothing_is_varied_or_compared_twice() {
    let twice = Experiment::new("grid", options(&["cost"]), [Vary::Along(Dimension::Lag, vec![1.0, 0.0, 1.0])]);
    assert!(twice.unwrap_err().to_string().contains("lag has the value 1 twice"));
    let twice = Experiment::new("grid", options(&["cost", "random", "cost"]), []).expect("checked later");
    assert!(run(&twice, |_| {}).unwrap_err().to_string().contains("names cost twice"));
}
