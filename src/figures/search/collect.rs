//! Records the probes of all lookups of a workload, and keeps the lookup with the most.

use super::Search;
use crate::figures::{FiguresError, Options, Topic};
use crate::index::{Builder, Matches};
use crate::sweep::{Load, Partition, What};

const REQUESTS: u64 = 4_000;

pub(in crate::figures) fn collect(options: &Options) -> Result<Search, FiguresError> {
    let partition = Partition { requests: Some(REQUESTS), seed: options.seed, ..Partition::default() };
    let load = Load::new(partition.schedule(|_, _| ())?)?;
    let (mut writer, reader) = Builder::default().seed(options.seed).build_local()?;
    for event in &load.warm {
        // The events come from an export, so they are accepted.
        let _ = writer.apply(event);
    }
    writer.publish();
    let held_blocks = load.held();
    let mut matches = Matches::new();
    let mut all = Vec::new();
    for op in &load.ops {
        let query = match &op.what {
            What::Event(event) => {
                let _ = writer.apply(event);
                writer.publish();
                continue;
            }
            What::Lookup(query) => query,
        };
        let probes = reader.probes(query, &mut matches);
        let depth = matches.best().map_or(0, |layer| layer.depth());
        let scan = (depth + 1).min(query.len() as u32);
        all.push((probes, query.len() as u32, depth, scan));
    }
    let median = |of: fn(&(Vec<_>, u32, u32, u32)) -> u32| {
        let mut values: Vec<u32> = all.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    let (probes_p50, scan_p50) = (median(|lookup| lookup.0.len() as u32), median(|lookup| lookup.3));
    let lookups = all.len() as u64;
    // The deepest, if there are several.
    let most = all.into_iter().max_by_key(|(probes, _, depth, _)| (probes.len(), *depth));
    let Some((probes, query, depth, scan)) = most.filter(|most| most.2 > 0) else {
        return Err(FiguresError::Empty { topic: Topic::Search, what: "no lookup found anything" });
    };
    let probes_max = probes.len() as u32;
    Ok(Search { query, depth, probes, scan, lookups, probes_p50, probes_max, scan_p50, held_blocks })
}
