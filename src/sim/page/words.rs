//! A summary of the results in words.

use super::cells;
use super::measures::{BLOCK_HITS, Better, IMBALANCE, LATENCY, LATENCY_P99, Measure, REJECTED, TTFT, TTFT_P99};
use crate::sim::report::fastest;
use crate::sim::{ExperimentAxis, PolicyReport, Report};

/// Policies that ignore caches, which the others are compared with.
const BLIND: [&str; 4] = ["random", "round-robin", "least-loaded", "power-of-two"];

/// What else is compared, and its name.
const RESPECTS: [(Measure, &str); 6] = [
    (BLOCK_HITS, "share of blocks reused"),
    (TTFT_P99, "p99 of the time to first token"),
    (LATENCY, "mean latency"),
    (LATENCY_P99, "p99 of the latency"),
    (IMBALANCE, "imbalance"),
    (REJECTED, "rejected requests"),
];

/// Says in a few paragraphs where the best policies win, where they do not, and what a varied setting changes. Policies
/// that [tie](Report::TIE) are named together.
pub fn summary(report: &Report) -> Vec<String> {
    match &cells(report)[..] {
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

/// Writes names: `a`, `a and b`, `a, b and c`.
fn all(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn names<'a>(policies: &[&'a PolicyReport]) -> Vec<&'a str> {
    policies.iter().map(|it| &*it.name).collect()
}

/// Writes a measure of several policies, each value once: `16.5 ms with a and b, 16.7 ms with c`.
fn measured(measure: &Measure, policies: &[&PolicyReport]) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for policy in policies {
        let value = measure.text(policy);
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, names)) => names.push(&policy.name),
            None => groups.push((value, vec![&policy.name])),
        }
    }
    let groups: Vec<String> =
        groups.into_iter().map(|(value, names)| format!("{value} with {}", all(&names))).collect();
    groups.join(", ")
}

fn of_cell(cell: &[PolicyReport]) -> Vec<String> {
    if cell.iter().all(|it| it.finished == 0) {
        return vec!["No request was finished.".to_owned()];
    }
    if let [only] = cell {
        // There is nothing to win.
        let (name, first, hits) = (&only.name, TTFT.text(only), BLOCK_HITS.text(only));
        return vec![format!(
            "With {name}, the first token comes after {first} on average, and {hits} of the blocks are reused."
        )];
    }
    let all: Vec<&PolicyReport> = cell.iter().collect();
    let best = fastest(&all);
    let others: Vec<&PolicyReport> =
        cell.iter().filter(|it| it.finished > 0 && best.iter().all(|best| best.name != it.name)).collect();
    [Some(wins(&best, &others)), differences(&best), limits(&best, &others)].into_iter().flatten().collect()
}

/// Says how far the best policies are ahead of those that ignore caches. If they ignore them themselves, they are
/// compared with those that do not.
fn wins(best: &[&PolicyReport], others: &[&PolicyReport]) -> String {
    let lead = match best {
        [best] if others.is_empty() => {
            return format!(
                "Only {} finished requests; its first token comes after {} on average.",
                best.name,
                TTFT.text(best)
            );
        }
        [best] => format!("{} is the fastest: the first token takes {} on average", best.name, TTFT.text(best)),
        _ => format!(
            "{} tie, less than {:.0}% apart: on average, the first token takes {}",
            all(&names(best)),
            100.0 * Report::TIE,
            measured(&TTFT, best)
        ),
    };
    let is_blind = |it: &PolicyReport| BLIND.contains(&&*it.name);
    let blind = is_blind(best[0]);
    if best.iter().any(|it| is_blind(it) != blind) {
        return format!("{lead}. For this traffic, it does not matter whether a policy looks at caches.");
    }
    let unlike: Vec<&PolicyReport> = others.iter().copied().filter(|it| is_blind(it) != blind).collect();
    let rivals = fastest(if unlike.is_empty() { others } else { &unlike });
    let Some(rival) = rivals.iter().map(|it| it.ttft_ms.mean).reduce(f64::min) else { return lead + "." };
    let own = best.iter().map(|it| it.ttft_ms.mean).fold(f64::INFINITY, f64::min);
    let rank = match (unlike.is_empty(), blind) {
        (true, _) => "the next best",
        (false, true) => "the best of the policies that look at caches",
        (false, false) => "the best of the policies that ignore caches",
    };
    let takes = if rivals.len() == 1 { "takes" } else { "take" };
    let pays = if blind && !unlike.is_empty() { " For this traffic, looking at caches does not pay." } else { "" };
    format!(
        "{lead}, compared to {}, {rank}, which {takes} {:.2} times as long.{pays}",
        measured(&TTFT, &rivals),
        rival / own
    )
}

/// Returns the best value of a measure.
fn best_of(measure: &Measure, policies: &[&PolicyReport]) -> Option<f64> {
    let values = policies.iter().map(|it| (measure.get)(it)).filter(|value| !value.is_nan());
    values.reduce(if measure.better == Better::More { f64::max } else { f64::min })
}

/// Returns how far a value is ahead of another one, if it is by more than a tie.
fn is_ahead(measure: &Measure, value: f64, other: f64) -> bool {
    let ahead = if measure.better == Better::More { value - other } else { other - value };
    ahead > Report::TIE * other.abs()
}

/// Says in which respects policies that tie differ.
fn differences(best: &[&PolicyReport]) -> Option<String> {
    let differ = RESPECTS.iter().filter(|(measure, _)| {
        let most = best_of(measure, best);
        best.iter().any(|it| most.is_some_and(|most| is_ahead(measure, most, (measure.get)(it))))
    });
    let differ: Vec<String> =
        differ.map(|(measure, respect)| format!("{respect} ({})", measured(measure, best))).collect();
    (!differ.is_empty()).then(|| format!("They differ in: {}.", differ.join("; ")))
}

/// Says in which respects another policy is better.
fn limits(best: &[&PolicyReport], others: &[&PolicyReport]) -> Option<String> {
    let better = RESPECTS.iter().filter_map(|(measure, respect)| {
        let (own, value) = (best_of(measure, best)?, best_of(measure, others)?);
        let written = (measure.write)(value);
        let rivals: Vec<&PolicyReport> = others.iter().copied().filter(|it| measure.text(it) == written).collect();
        let written = || format!("{respect} ({}, compared to {})", measured(measure, &rivals), (measure.write)(own));
        is_ahead(measure, value, own).then(written)
    });
    let better: Vec<String> = better.collect();
    let (names, share) = (all(&names(best)), format!("{:.0}%", 100.0 * Report::TIE));
    let are = if best.len() == 1 { "is" } else { "are" };
    (!others.is_empty()).then(|| {
        if better.is_empty() {
            format!(
                "No other policy is ahead of {names} by more than {share} in hit rate, latency, balance or rejected \
                 requests."
            )
        } else {
            format!(
                "{names} {are} not the best in every respect. Another policy is ahead by more than {share} in: {}.",
                better.join("; ")
            )
        }
    })
}

/// Says which policies are the fastest in which cells, and what the varied setting changes.
fn of_experiment(report: &Report, cells: &[&[PolicyReport]]) -> Vec<String> {
    let mut paragraphs: Vec<String> = winners(report, cells).into_iter().chain(effect(report, cells)).collect();
    for cell in [cells.first(), cells.last()].into_iter().flatten().filter(|cell| cell.len() > 1) {
        let sentences = of_cell(cell).join(" ");
        paragraphs.push(format!("With {}: {sentences}", place(report, cell)));
    }
    paragraphs
}

/// Says which policies are the fastest in which cells, unless there is only one policy.
fn winners(report: &Report, cells: &[&[PolicyReport]]) -> Option<String> {
    let mut winners: Vec<(Vec<&str>, Vec<&[PolicyReport]>)> = Vec::new();
    for cell in cells {
        let all: Vec<&PolicyReport> = cell.iter().collect();
        let best = if all.len() > 1 { names(&fastest(&all)) } else { Vec::new() };
        match winners.iter_mut().find(|(names, _)| *names == best) {
            Some((_, won)) => won.push(cell),
            None => winners.push((best, vec![cell])),
        }
    }
    winners.retain(|(best, _)| !best.is_empty());
    winners.sort_by_key(|(_, won)| std::cmp::Reverse(won.len()));
    let ((best, won), rest) = winners.split_first()?;
    let win = |best: &[&str]| format!("{} {}", all(best), if best.len() == 1 { "is the fastest" } else { "tie" });
    let mut sentences =
        vec![format!("By the mean time to first token, {} in {} of {} cells.", win(best), won.len(), cells.len())];
    for (best, won) in rest {
        let places: Vec<String> = won.iter().map(|cell| place(report, cell)).collect();
        sentences.push(format!("{} with {}.", win(best), places.join("; with ")));
    }
    Some(sentences.join(" "))
}

/// Says what changes for each policy from the least to the greatest value of the only axis.
fn effect(report: &Report, cells: &[&[PolicyReport]]) -> Option<String> {
    let [axis] = &report.axes[..] else { return None };
    let place = |cell: &&&[PolicyReport]| cell.first().and_then(|it| it.at.first().copied()).unwrap_or(0.0);
    let by_place = |a: &&&[PolicyReport], b: &&&[PolicyReport]| place(a).total_cmp(&place(b));
    let (least, most) = (cells.iter().min_by(by_place)?, cells.iter().max_by(by_place)?);
    let pairs = least.iter().filter_map(|from| Some((from, most.iter().find(|to| to.name == from.name)?)));
    let pairs = pairs.filter(|(from, to)| from.finished > 0 && to.finished > 0);
    let changes: Vec<String> = pairs
        .map(|(from, to)| {
            let instead = |measure: &Measure| match (measure.text(to), measure.text(from)) {
                (to, from) if to == from => format!("{to} in both cases"),
                (to, from) => format!("{to} instead of {from}"),
            };
            let (hits, first) = (instead(&BLOCK_HITS), instead(&TTFT));
            format!("with {}, the share of blocks reused is {hits}, and the mean time to first token {first}", to.name)
        })
        .collect();
    let (from, to) = (at(axis, place(&least)), at(axis, place(&most)));
    let changes = changes.join("; ");
    (!changes.is_empty()).then(|| format!("{} At {} {to} instead of {from}: {changes}.", axis.about, axis.name))
}
