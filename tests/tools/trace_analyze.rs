//! The figures of a trace, compared with published ones and with a literal model.
#![allow(clippy::float_cmp, reason = "values that are computed exactly are compared exactly")]
#![allow(clippy::cast_sign_loss, reason = "places in a list are not negative")]

use std::collections::{HashMap, HashSet};
use std::fs;

use kvleap::trace::analyze::{Analysis, Options, Summary, Window, analyze};
use kvleap::trace::{Row, open};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::shared;
use crate::common::traces;

const BLOCK: u32 = 4;

fn options() -> Options {
    Options { workers: vec![1, 2, 3], window_ms: 1000 }
}

fn analysis(rows: &[Row]) -> Analysis {
    analyze(traces::reader(rows, BLOCK), &options(), |_| {}).expect("a sound trace")
}

/// Returns the error that analysing `rows` ends with, as printed.
fn complaint(rows: &[Row]) -> String {
    analyze(traces::reader(rows, BLOCK), &options(), |_| {}).expect_err("an unsound trace").to_string()
}

fn row(timestamp: u64, input_length: u32, hash_ids: &[u64]) -> Row {
    Row { timestamp, input_length, output_length: 1, hash_ids: hash_ids.to_vec(), session_id: None }
}

#[test]
fn published_figures_are_reproduced() {
    let Some(expected) = shared::shared("reference/analyze_expected.json") else { return };
    let expected: Value = serde_json::from_slice(&fs::read(expected).unwrap()).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let Some(path) = shared::shared(&format!("traces/{name}")) else { continue };
        let analysis = analyze(open(path, 512).unwrap(), &Options::default(), |_| {}).unwrap();
        let extra = &expected["extra"];
        assert_eq!(Some(analysis.requests), extra["requests"].as_u64());
        assert_eq!(Some(analysis.unique_hash_ids), extra["unique_keys"].as_u64());
        assert_eq!(Some(analysis.repeated_hash_ids), extra["repeated_keys"].as_u64());
        assert_eq!(Some(analysis.blocks), extra["total_blocks"].as_u64());
        assert_eq!(Some(analysis.hit_blocks), extra["prefix_hit_blocks"].as_u64());
        close(analysis.block_weighted_hit_rate.unwrap(), &extra["block_weighted_hit"], name);

        let table = expected["table"].as_object().unwrap();
        for (metric, figures) in table {
            let summary = serde_json::to_value(analysis.metrics.get(metric).expect(metric)).unwrap();
            for (figure, expected) in figures.as_object().unwrap() {
                close(summary[figure].as_f64().unwrap(), expected, &format!("{name} {metric} {figure}"));
            }
        }
        let order =
            ["Input Length", "Context Length", "Unique Prompt Length", "Output Length", "Theoretical Hit Rates"];
        assert_eq!(analysis.metrics.iter().map(|(name, _)| name).take(5).collect::<Vec<_>>(), order);
        assert_eq!(table.len(), 5);
    }
}

fn close(got: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((got - expected).abs() <= 1e-12 * expected.abs(), "{what}: {got}, not {expected}");
}

#[test]
fn a_trace_whose_tails_have_no_ids_is_analysed() {
    let Some(path) = shared::shared("traces/agentic_dev.jsonl.gz") else { return };
    let analysis = analyze(open(path, 64).unwrap(), &Options::default(), |_| {}).unwrap();
    assert_eq!((analysis.requests, analysis.blocks), (955, 2_006_787));
    let sessions = analysis.sessions.expect("sessions");
    assert_eq!((sessions.sessions, sessions.requests), (17, 955));
    for curve in &analysis.curves {
        let rates: Vec<f64> = curve.points.iter().map(|point| point.hit_rate).collect();
        assert!(rates.is_sorted(), "{} workers", curve.workers);
    }
    let best = analysis.curves[0].points.last().unwrap().hit_rate;
    assert!((best - analysis.block_weighted_hit_rate.unwrap()).abs() < 1e-12);
}

/// Computes the figures of a list of values literally, as numpy defines them.
fn summary(mut values: Vec<f64>) -> Option<Summary> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let at = |part: f64| {
        let place = part * (n - 1.0);
        let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let (min, max) = (values[0], values[values.len() - 1]);
    Some(Summary { mean, std, min, p25: at(0.25), median: at(0.5), p75: at(0.75), max })
}

fn same(got: Option<Summary>, expected: Option<Summary>) -> bool {
    let (Some(got), Some(expected)) = (got, expected) else { return got == expected };
    let figures = |s: Summary| [s.mean, s.std, s.min, s.p25, s.median, s.p75, s.max];
    figures(got).iter().zip(figures(expected)).all(|(got, expected)| (got - expected).abs() < 1e-9)
}

/// Counts hits literally: a cache is a list of ids, the latest used first.
fn hits(rows: &[Row], workers: usize, capacity: usize) -> usize {
    let mut caches: Vec<Vec<u64>> = vec![Vec::new(); workers];
    let mut hits = 0;
    for (number, row) in rows.iter().enumerate() {
        let cache = &mut caches[number % workers];
        hits += row.hash_ids.iter().take_while(|id| cache.contains(id)).count();
        cache.retain(|id| !row.hash_ids.contains(id));
        *cache = [row.hash_ids.as_slice(), cache].concat();
        cache.truncate(capacity);
    }
    hits
}

proptest! {
    #[test]
    fn figures_equal_those_of_a_literal_model(rows in traces::random_rows(40, BLOCK)) {
        let analysis = analysis(&rows);
        let mut counts: HashMap<u64, usize> = HashMap::new();
        rows.iter().flat_map(|row| &row.hash_ids).for_each(|&id| *counts.entry(id).or_default() += 1);
        let block = f64::from(BLOCK);

        let contexts: Vec<f64> = rows.iter().map(|row| {
            let repeated = row.hash_ids.iter().filter(|id| counts[id] > 1).count();
            if repeated == row.hash_ids.len() { row.input_length.into() } else { repeated as f64 * block }
        }).collect();
        let unique = rows.iter().zip(&contexts).map(|(row, context)| f64::from(row.input_length) - context);
        let mut seen: HashSet<u64> = HashSet::new();
        let known: Vec<usize> = rows.iter().map(|row| {
            let known = row.hash_ids.iter().take_while(|id| seen.contains(id)).count();
            seen.extend(&row.hash_ids);
            known
        }).collect();
        let with_ids = || rows.iter().zip(&known).filter(|(row, _)| !row.hash_ids.is_empty());
        let rates = with_ids().map(|(row, &known)| known as f64 / row.hash_ids.len() as f64);
        let causal: Vec<f64> =
            rows.iter().zip(&known).map(|(row, &n)| (n as f64 * block).min(row.input_length.into())).collect();
        let rest = rows.iter().zip(&causal).map(|(row, context)| f64::from(row.input_length) - context);

        for (metric, values) in [
            ("Input Length", rows.iter().map(|row| row.input_length.into()).collect()),
            ("Context Length", contexts.clone()),
            ("Unique Prompt Length", unique.collect()),
            ("Output Length", rows.iter().map(|row| row.output_length.into()).collect()),
            ("Theoretical Hit Rates", rates.collect()),
            ("Causal Context Length", causal.clone()),
            ("Causal Unique Prompt Length", rest.collect()),
        ] {
            let (got, expected) = (analysis.metrics.get(metric).copied(), summary(values));
            prop_assert!(same(got, expected), "{}: {:?}, not {:?}", metric, got, expected);
        }
        let blocks: usize = rows.iter().map(|row| row.hash_ids.len()).sum();
        prop_assert_eq!(analysis.requests, rows.len() as u64);
        prop_assert_eq!(analysis.unique_hash_ids, counts.len() as u64);
        prop_assert_eq!(analysis.repeated_hash_ids, counts.values().filter(|&&n| n > 1).count() as u64);
        prop_assert_eq!(analysis.blocks, blocks as u64);
        prop_assert_eq!(analysis.hit_blocks, known.iter().sum::<usize>() as u64);

        for curve in &analysis.curves {
            for capacity in 0..counts.len() + 3 {
                let hits = hits(&rows, curve.workers as usize, capacity);
                prop_assert_eq!(curve.hit_rate(capacity as u64), hits as f64 / blocks as f64, "{} x {}", curve.workers, capacity);
            }
        }
    }

    #[test]
    fn windows_arrivals_and_sessions_equal_those_of_a_literal_model(rows in traces::random_rows(40, BLOCK)) {
        let analysis = analysis(&rows);
        let mut seen: HashSet<u64> = HashSet::new();
        for window in &analysis.windows {
            let inside: Vec<&Row> =
                rows.iter().filter(|row| row.timestamp / 1000 * 1000 == window.start_ms).collect();
            let ids: Vec<u64> = inside.iter().flat_map(|row| row.hash_ids.clone()).collect();
            let distinct: HashSet<u64> = ids.iter().copied().collect();
            prop_assert_eq!(window.requests, inside.len() as u64);
            prop_assert_eq!(window.blocks, ids.len() as u64);
            prop_assert_eq!(window.distinct_blocks, distinct.len() as u64);
            prop_assert_eq!(window.new_blocks, distinct.difference(&seen).count() as u64);
            seen.extend(distinct);
        }
        prop_assert_eq!(analysis.windows.iter().map(|window| window.requests).sum::<u64>(), rows.len() as u64);
        let [first, last] = [0, rows.len() - 1].map(|row| rows[row].timestamp / 1000 * 1000);
        let starts = |windows: &[Window]| windows.iter().map(|window| window.start_ms).collect::<Vec<_>>();
        let mut whole = starts(&analysis.windows);
        whole.retain(|&start| start != last && (start != first || start == 0));
        prop_assert_eq!(starts(analysis.whole_windows()), whole);

        let arrivals = &analysis.arrivals;
        let gaps = rows.windows(2).map(|pair| (pair[1].timestamp - pair[0].timestamp) as f64).collect();
        prop_assert!(same(arrivals.gap_ms, summary(gaps)));
        prop_assert_eq!(arrivals.duration_ms, rows[rows.len() - 1].timestamp - rows[0].timestamp);
        let busiest = analysis.windows.iter().map(|window| window.requests).max().unwrap();
        prop_assert_eq!(arrivals.busiest_window_requests, busiest);

        let mut sessions: HashMap<&str, Vec<u64>> = HashMap::new();
        for row in &rows {
            if let Some(name) = &row.session_id {
                sessions.entry(name).or_default().push(row.timestamp);
            }
        }
        prop_assert_eq!(analysis.sessions.is_some(), !sessions.is_empty());
        if let Some(summarised) = &analysis.sessions {
            let of = |figure: fn(&Vec<u64>) -> u64| summary(sessions.values().map(|times| figure(times) as f64).collect());
            prop_assert_eq!(summarised.sessions, sessions.len() as u64);
            prop_assert!(same(Some(summarised.requests_per_session), of(|times| times.len() as u64)));
            prop_assert!(same(Some(summarised.duration_ms), of(|times| times[times.len() - 1] - times[0])));
            let gaps = sessions.values().flat_map(|times| times.windows(2).map(|pair| (pair[1] - pair[0]) as f64));
            prop_assert!(same(summarised.gap_ms, summary(gaps.collect())));
        }
    }
}

/// The analysis renumbers requests from time to time, which takes a trace of more than a thousand of them.
#[test]
fn curves_of_long_traces_equal_those_of_a_literal_cache() {
    let rows: Vec<Row> = (0..5000_u64)
        .map(|i| {
            let shared = i * i % 97;
            row(i, 12, &[0, 1 + shared, if i % 3 == 0 { 1000 + i } else { 100 + shared }])
        })
        .collect();
    let analysis = analysis(&rows);
    for curve in &analysis.curves {
        for capacity in [0, 1, 2, 50, 150, 200, 300, 1000, 6000] {
            let expected = hits(&rows, curve.workers as usize, capacity) as f64 / 15_000.0;
            assert_eq!(curve.hit_rate(capacity as u64), expected, "{} x {capacity}", curve.workers);
        }
    }
}

#[test]
fn unsound_rows_are_refused_with_their_reason() {
    let sound = [row(5, 10, &[0, 1, 2]), row(6, 9, &[0, 1, 3])];
    assert_eq!(analysis(&sound).requests, 2);
    for (wrong, why) in [
        (row(4, 10, &[0, 1, 2]), "arrives at 4 ms, before the previous one, at 6 ms"),
        (row(7, 12, &[0, 1]), "2 ids are too few for 12 tokens in blocks of 4: no block size fits all of the first 3"),
        (row(7, 9, &[0, 1]), "2 ids without one for the partial last block, which has an id in earlier rows,"),
        (
            row(7, 8, &[0, 1, 2]),
            "3 ids are too many for 8 tokens in blocks of 4: no block size fits all of the first 3",
        ),
        (row(7, 12, &[0, 2, 3]), "the id 2 has two parents"),
        (row(7, 4, &[1]), "the id 1 has two parents"),
        (row(7, 8, &[8, 8]), "the id 8 has two parents"),
        (row(7, 16, &[0, 1, 2, 3]), "the id 3 has two parents"),
        (row(7, 4, &[3]), "the id 3 has two parents"),
    ] {
        let text = complaint(&[&sound[..], std::slice::from_ref(&wrong)].concat());
        assert!(text.starts_with("given:3: ") && text.contains(why), "{text}");
    }
    let text = complaint(&[row(0, 9, &[0, 1]), row(0, 9, &[0, 1, 2])]);
    assert!(text.starts_with("given:2: 3 ids with one for the partial last block, which has no id in"), "{text}");
}

#[test]
fn options_out_of_range_are_refused() {
    for (options, option) in [
        (Options { window_ms: 0, ..options() }, "--window"),
        (Options { workers: vec![1, 0], ..options() }, "--workers"),
        (Options { workers: vec![Options::MAX_WORKERS + 1], ..options() }, "--workers"),
    ] {
        let error = analyze(traces::reader(&[row(0, 4, &[0])], BLOCK), &options, |_| {}).expect_err(option);
        assert!(error.to_string().starts_with(option), "{error}");
    }
}

#[test]
fn what_was_not_seen_has_no_figure() {
    let alone = analysis(&[row(700, 3, &[])]);
    assert_eq!((alone.block_weighted_hit_rate, alone.curves.len()), (None, 0), "there is no block");
    assert_eq!(alone.metrics.get("Theoretical Hit Rates"), None);
    assert_eq!(alone.metrics.get("Causal Context Length").map(|summary| summary.mean), Some(0.0));
    let arrivals = alone.arrivals;
    assert_eq!((arrivals.requests_per_second, arrivals.gap_ms), (None, None), "there is no second request");
    assert_eq!((arrivals.duration_ms, arrivals.busiest_window_requests), (0, 1));

    let named = |timestamp: u64| Row { session_id: Some(timestamp.to_string()), ..row(timestamp, 4, &[0]) };
    let sessions = analysis(&[named(0), named(250)]);
    assert_eq!(sessions.sessions.map(|sessions| sessions.gap_ms), Some(None), "no session has two requests");
    assert_eq!(sessions.arrivals.requests_per_second, Some(8.0), "two requests in a quarter of a second");
    assert_eq!(sessions.arrivals.busiest_window_requests, 2, "the trace is shorter than a window");
}
