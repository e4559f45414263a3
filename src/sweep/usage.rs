//! How busy the machine is with other work: a trial that fails beside it says little.

use std::fs;
use std::time::Instant;

/// Processor time used so far, in seconds, by the whole machine and by this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    machine: f64,
    own: f64,
}

/// Ticks per second in which Linux reports processor time.
const TICKS: f64 = 100.0;

impl Usage {
    /// Reads both; `None` where the system does not say.
    pub(super) fn now() -> Option<Self> {
        let machine = machine(&fs::read_to_string("/proc/stat").ok()?)?;
        let own = own(&fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { at: Instant::now(), machine, own })
    }

    /// Returns the share of the time of `cores` cores that other processes took from `self` to `later`, 0 to 1.
    pub(super) fn others(&self, later: &Self, cores: usize) -> f64 {
        let all = (later.at - self.at).as_secs_f64() * cores as f64;
        let others = (later.machine - self.machine) - (later.own - self.own);
        if all > 0.0 { (others / all).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// Parses the busy time of all cores, with what a hypervisor took from them.
fn machine(stat: &str) -> Option<f64> {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user, nice, system, idle, iowait, irq, softirq, steal; then guest time, which user includes already.
    let ticks: Vec<f64> = all.split_whitespace().take(8).map_while(|ticks| ticks.parse().ok()).collect();
    let idle: f64 = ticks.get(3..5)?.iter().sum();
    Some((ticks.iter().sum::<f64>() - idle) / TICKS)
}

/// Parses the busy time of a process, with all its threads.
fn own(stat: &str) -> Option<f64> {
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: Vec<f64> = fields.take(2).map_while(|ticks| ticks.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_the_system_writes_them() {
        let stat = "cpu  100 200 300 4000 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(machine(stat), Some(6.21));
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 99 99 20 0 1 0\n";
        assert_eq!(own(stat), Some(2.0));
        assert_eq!((machine("intr 1 2"), own("42 (x) S 1")), (None, None));
    }
}
