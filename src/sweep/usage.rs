//! How busy the machine is with other work: a trial that fails beside it says little.

use std::fs;
use std::time::Instant;

/// Processor time used so far, in seconds, by everybody on some cores, and by this process and those of its children for
/// which it has waited, which run on no others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    cores: usize,
    all: f64,
    own: f64,
}

/// Ticks per second in which Linux reports processor time.
const TICKS: f64 = 100.0;

impl Usage {
    /// Reads both; `None` where the system does not say.
    pub(super) fn now(cores: &[usize]) -> Option<Self> {
        let all = busy(&fs::read_to_string("/proc/stat").ok()?, cores)?;
        let own = own(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { at: Instant::now(), cores: cores.len(), all, own })
    }

    /// Returns the share of the cores' time that other processes took from `self` to `later`, 0 to 1.
    pub(super) fn others(&self, later: &Self) -> f64 {
        let all = (later.at - self.at).as_secs_f64() * self.cores as f64;
        let others = (later.all - self.all) - (later.own - self.own);
        if all > 0.0 { (others / all).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Parses the busy time of these cores, with what a hypervisor took from them. `None` if one of them is not listed.
fn busy(stat: &str, cores: &[usize]) -> Option<f64> {
    let of = |core: &usize| {
        let words = stat.lines().map(str::split_whitespace).find_map(|mut words| {
            let name = words.next()?.strip_prefix("cpu")?;
            (name.parse() == Ok(*core)).then_some(words)
        })?;
        // user, nice, system, idle, iowait, irq, softirq, steal; then guest time, which user includes already.
        let ticks: Vec<f64> = words.take(8).map_while(|ticks| ticks.parse().ok()).collect();
        let idle: f64 = ticks.get(3..5)?.iter().sum();
        Some((ticks.iter().sum::<f64>() - idle) / TICKS)
    };
    cores.iter().map(of).sum()
}

/// Parses the busy time of a process, with all its threads and children.
fn own(stat: &str) -> Option<f64> {
    // The second field is a name in parentheses, which may hold anything. Then utime, stime, cutime and cstime.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: Vec<f64> = fields.take(4).map_while(|ticks| ticks.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_the_system_writes_them() {
        let stat = "cpu  101 202 303 4004 55 12 14 16 18 20\ncpu0 1 2 3 4 5 6 7 8 9 10\n\
                    cpu10 100 200 300 4000 50 6 7 8 9 10\nintr 1 2\n";
        let almost = |busy: Option<f64>, ticks: f64| busy.is_some_and(|busy| (busy - ticks / 100.0).abs() < 1e-9);
        assert!(almost(busy(stat, &[10]), 621.0) && almost(busy(stat, &[0]), 27.0), "only the cores in question");
        assert!(almost(busy(stat, &[0, 10]), 648.0));
        assert_eq!(busy(stat, &[0, 1]), None);
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 70 30 20 0 1 0\n";
        assert_eq!(own(stat), Some(3.0));
        assert_eq!(own("42 (x) S 1"), None);
    }
}
