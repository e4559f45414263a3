//! Measures every system in fresh processes, in rounds, so that no system gains from what another one left in caches,
//! on the heap or in the processor's frequency.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::cores::{Cores, Watch};
use crate::figures::{Figures, Outcome};
use crate::systems::{Mode, Name as System};
use crate::workload::{Name, mix};

/// One system on one workload, over all rounds.
pub struct Row {
    pub system: System,
    pub mode: Mode,
    pub workload: Name,
    /// The median of each figure.
    pub figures: Figures,
    /// The least and the greatest value of each figure, in the shape of [`Figures`].
    range: Value,
    /// How many answers differ from the exact ones; `None` if no exact system ran or this one gives no answers.
    pub wrong_scores: Option<u64>,
    checksum: u64,
    rounds: usize,
    /// The greatest share of the cores' time that other processes took in a round; `None` if the system does not say.
    pub others: Option<f64>,
}

impl Row {
    /// Returns the row as `--json` prints it.
    pub fn json(&self) -> Value {
        let mut row = object(serde_json::to_value(&self.figures).expect("figures are numbers"));
        row.insert("system".into(), json!(self.system.text()));
        row.insert("mode".into(), json!(self.mode.text()));
        row.insert("workload".into(), json!(self.workload.text()));
        row.insert("wrong_scores".into(), json!(self.wrong_scores));
        row.insert("checksum".into(), json!(format!("{:016x}", self.checksum)));
        row.insert("rounds".into(), json!(self.rounds));
        row.insert("others".into(), json!(self.others));
        row.insert("range".into(), self.range.clone());
        Value::Object(row)
    }

    /// Returns whether the system promises exact answers and did not give them.
    pub fn is_broken(&self) -> bool {
        self.system.is_exact() && self.wrong_scores.is_some_and(|wrong| wrong > 0)
    }
}

/// What is measured, and how often.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    pub workload: Name,
    /// The file in which the workload is stored.
    pub file: &'a Path,
    pub mode: Mode,
    pub cores: Cores,
    /// Rounds that do not count, and those that do.
    pub warm_up: usize,
    pub rounds: usize,
}

/// Measures every system in fresh processes.
///
/// # Errors
/// If a process cannot be started, fails, or prints anything but its figures.
pub fn run(plan: Plan<'_>, systems: &[System]) -> io::Result<Vec<Row>> {
    let mut order = systems.to_vec();
    let mut outcomes = HashMap::<&str, (Vec<Outcome>, Option<f64>)>::new();
    let rounds = plan.warm_up + plan.rounds;
    for round in 0..rounds {
        for &system in &order {
            let (workload, mode) = (plan.workload.text(), plan.mode.text());
            eprintln!("{workload}, {mode}: round {} of {rounds}: {}", round + 1, system.text());
            let watch = Watch::begin(plan.cores);
            let outcome = child(plan, system)?;
            if round >= plan.warm_up {
                let (all, others) = outcomes.entry(system.text()).or_default();
                all.push(outcome);
                *others = watch.others().map(|now| others.unwrap_or(0.0).max(now));
            }
        }
        // So that no system always runs right after the same other one.
        order.rotate_left(1);
    }
    let truth = systems
        .iter()
        .filter(|system| system.is_exact())
        .max_by_key(|&&system| (system == System::Reference, system.is_peer()))
        .map(|system| outcomes[system.text()].0[0].answers.clone());
    let row = |&system| {
        let (outcomes, others) = &outcomes[System::text(system)];
        Row { others: *others, ..row(plan, system, outcomes, truth.as_deref()) }
    };
    Ok(systems.iter().map(row).collect())
}

fn row(plan: Plan<'_>, system: System, outcomes: &[Outcome], truth: Option<&[u64]>) -> Row {
    let figures: Vec<_> =
        outcomes.iter().map(|outcome| serde_json::to_value(&outcome.figures).expect("figures are numbers")).collect();
    let medians = fold(&figures, &|sorted| json!(median(sorted)));
    let wrong = |truth: &[u64]| {
        let wrong = |outcome: &Outcome| outcome.answers.iter().zip(truth).filter(|(a, b)| a != b).count() as u64;
        outcomes.iter().map(wrong).max().unwrap_or(0)
    };
    Row {
        system,
        mode: plan.mode,
        workload: plan.workload,
        figures: serde_json::from_value(medians).expect("medians of figures are figures"),
        range: fold(&figures, &|sorted| json!([sorted[0], sorted[sorted.len() - 1]])),
        wrong_scores: if system == System::Null { None } else { truth.map(wrong) },
        checksum: outcomes[0].answers.iter().fold(0, |sum, &answer| mix(sum ^ answer)),
        rounds: outcomes.len(),
        others: None,
    }
}

/// Measures one system in its own process.
fn child(plan: Plan<'_>, system: System) -> io::Result<Outcome> {
    let output = Command::new(std::env::current_exe()?)
        .arg("--child")
        .arg(plan.file)
        .args(["--systems", system.text(), "--mode", plan.mode.text()])
        .args(["--cores", &format!("{},{}", plan.cores.asking, plan.cores.applying)])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        let what = format!("{} on {}: {}", system.text(), plan.workload.text(), output.status);
        return Err(io::Error::other(what));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Folds records of the same shape into one, by applying `pick` to the sorted values of each number.
fn fold(records: &[Value], pick: &impl Fn(&[f64]) -> Value) -> Value {
    if let Value::Object(first) = &records[0] {
        let field = |name: &String| {
            let values: Vec<Value> = records.iter().map(|record| record[name].clone()).collect();
            (name.clone(), fold(&values, pick))
        };
        return Value::Object(first.keys().map(field).collect());
    }
    let mut numbers: Vec<f64> = records.iter().filter_map(Value::as_f64).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    if numbers.is_empty() { Value::Null } else { pick(&numbers) }
}

fn median(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
