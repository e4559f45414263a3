//! A summary of the results in words.

use super::measures::{BLOCK_HITS, Better, IMBALANCE, LATENCY, LATENCY_P99, Measure, REJECTED, TTFT_P99, ms};
use crate::sim::{ExperimentAxis, PolicyReport, Report};

/// Policies that ignore caches, which the others are compared with.
const BLIND: [&str; 4] = ["random", "round-robin", "least-loaded", "power-of-two"];

/// Values that differ by less than this share count as equal.
const ALIKE: f64 = 0.02;

/// What else is compared, and its name.
const RESPECTS: [(Measure, &str); 6] = [
    (BLOCK_HITS, "share of blocks reused"),
    (TTFT_P99, "p99 of the time to first token"),
    (LATENCY, "mean latency"),
    (LATENCY_P99, "p99 of the latency"),
    (IMBALANCE, "imbalance"),
    (REJECTED, "rejected requests"),
];

/// Says where the best policy wins, and where it does not.
pub(super) fn summary(report: &Report, cells: &[&[PolicyReport]]) -> Vec<String> {
    match cells {
        [] => vec!["No simulation was run.".to_owned()],
        [cell] => of_cell(cell),
        cells => of_experiment(report, cells),
    }
}

/// Returns the place of a cell on the axes; empty if there are none.
pub(super) fn place(report: &Report, cell: &[PolicyReport]) -> String {
    cell.first().map_or_else(String::new, |it| values(&report.axes, &it.at))
}

/// Writes values with their axes: `block-size 16 tokens, workers 8`.
pub(super) fn values(axes: &[ExperimentAxis], at: &[f64]) -> String {
    let each = axes.iter().zip(at).map(|(axis, &value)| format!("{} {}", axis.name, self::at(axis, value)));
    each.collect::<Vec<_>>().join(", ")
}

/// Writes a value with its unit, unless the unit repeats the name of the axis.
pub(super) fn at(axis: &ExperimentAxis, value: f64) -> String {
    if axis.unit.is_empty() || axis.unit == axis.name { value.to_string() } else { format!("{value} {}", axis.unit) }
}

/// Returns the policy with the shortest mean time to first token, of those that finished a request.
fn fastest<'a>(policies: impl IntoIterator<Item = &'a PolicyReport>) -> Option<&'a PolicyReport> {
    let served = policies.into_iter().filter(|it| it.finished > 0);
    served.min_by(|a, b| a.ttft_ms.mean.total_cmp(&b.ttft_ms.mean))
}

fn of_cell(cell: &[PolicyReport]) -> Vec<String> {
    let Some(best) = fastest(cell) else { return vec!["No request was finished.".to_owned()] };
    let others: Vec<&PolicyReport> = cell.iter().filter(|it| it.name != best.name).collect();
    if others.is_empty() {
        return vec![format!("With {}, the first token comes after {} on average.", best.name, ms(best.ttft_ms.mean))];
    }
    vec![wins(best, &others), limits(best, &others)]
}

/// Says how far the best policy is ahead of those that ignore caches. If it ignores them itself, it is compared with
/// those that do not.
fn wins(best: &PolicyReport, others: &[&PolicyReport]) -> String {
    let mean = ms(best.ttft_ms.mean);
    let name = &best.name;
    let blind = BLIND.contains(&&**name);
    let rivals: Vec<&&PolicyReport> = others.iter().filter(|it| BLIND.contains(&&*it.name) != blind).collect();
    let rivals = if rivals.is_empty() { others.iter().collect() } else { rivals };
    let Some(second) = fastest(rivals.into_iter().copied()) else {
        return format!("Only {name} finished requests; its first token comes after {mean} on average.");
    };
    let (times, rival) = (second.ttft_ms.mean / best.ttft_ms.mean, &second.name);
    let compared = format!("{} with {rival}", ms(second.ttft_ms.mean));
    let kind = if blind { "that look at caches" } else { "that ignore caches" };
    let lead = if BLIND.contains(&&**rival) == blind {
        "the second best".to_owned()
    } else {
        format!("the best of the policies {kind}")
    };
    if times < 1.0 + ALIKE {
        format!(
            "{name} is the fastest, but barely: the first token takes {mean} on average, compared to {compared}, \
             {lead}. For this traffic it does not matter which of the two is used."
        )
    } else if blind {
        format!(
            "A policy that ignores caches is the fastest: with {name}, the first token takes {mean} on average, \
             compared to {compared}, {lead}. For this traffic, looking at caches does not pay."
        )
    } else {
        format!(
            "{name} is the fastest: the first token takes {mean} on average, compared to {compared}, {lead}, which \
             takes {times:.2} times as long."
        )
    }
}

/// Says in which respects another policy is better.
fn limits(best: &PolicyReport, others: &[&PolicyReport]) -> String {
    let better = RESPECTS.iter().filter_map(|(measure, respect)| {
        let own = (measure.get)(best);
        let of =
            |it: &&&PolicyReport| if measure.better == Better::More { -(measure.get)(it) } else { (measure.get)(it) };
        let served = others.iter().filter(|it| it.finished > 0);
        let rival = served.min_by(|a, b| of(a).total_cmp(&of(b)))?;
        let value = (measure.get)(rival);
        let ahead = if measure.better == Better::More { value - own } else { own - value };
        let written = || {
            format!("{respect} ({} with {}, compared to {})", (measure.write)(value), rival.name, (measure.write)(own))
        };
        (ahead > ALIKE * own.abs()).then(written)
    });
    let better: Vec<String> = better.collect();
    let (name, share) = (&best.name, format!("{:.0}%", ALIKE * 100.0));
    if better.is_empty() {
        format!(
            "No other policy is ahead of {name} by more than {share} in hit rate, latency, balance or rejected requests."
        )
    } else {
        format!(
            "{name} is not the best in every respect. Another policy is ahead by more than {share} in: {}.",
            better.join("; ")
        )
    }
}

/// Says which policy is the fastest in which cells.
fn of_experiment(report: &Report, cells: &[&[PolicyReport]]) -> Vec<String> {
    let mut winners: Vec<(&str, Vec<&[PolicyReport]>)> = Vec::new();
    for cell in cells {
        let Some(best) = fastest(*cell) else { continue };
        match winners.iter_mut().find(|(name, _)| *name == best.name) {
            Some((_, won)) => won.push(cell),
            None => winners.push((&best.name, vec![cell])),
        }
    }
    winners.sort_by_key(|(_, won)| std::cmp::Reverse(won.len()));
    let Some(((first, won), rest)) = winners.split_first() else { return vec!["No request was finished.".to_owned()] };
    let mut sentences = vec![format!(
        "By the mean time to first token, {first} is the fastest in {} of {} cells.",
        won.len(),
        cells.len()
    )];
    for (name, won) in rest {
        let places: Vec<String> = won.iter().map(|cell| place(report, cell)).collect();
        sentences.push(format!("{name} is the fastest with {}.", places.join("; with ")));
    }
    let mut paragraphs = vec![sentences.join(" ")];
    for cell in [cells.first(), cells.last()].into_iter().flatten() {
        let sentences = of_cell(cell).join(" ");
        paragraphs.push(format!("With {}: {sentences}", place(report, cell)));
    }
    paragraphs
}
