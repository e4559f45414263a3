//! Metrics of the process, under the names that all services use. They come from `/proc`; elsewhere there are none.

use std::fs;

use super::exposition::{Exposition, Kind};

/// The kernel counts time in these units in `/proc`: hundredths of a second, whatever its own are.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds what `/proc` says.
pub(super) fn put(text: &mut Exposition) {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (status, stat, limits) = (read("/proc/self/status"), read("/proc/self/stat"), read("/proc/self/limits"));
    let mut put = |kind: Kind, name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(kind, name, help).value(value);
        }
    };
    let bytes = |name: &str| Some(field(&status, name)? * 1024.0);
    put(Kind::Gauge, "process_resident_memory_bytes", "Resident memory size in bytes", bytes("VmRSS:"));
    put(Kind::Gauge, "process_virtual_memory_bytes", "Virtual memory size in bytes", bytes("VmSize:"));
    put(Kind::Gauge, "process_threads", "Number of OS threads in the process", field(&status, "Threads:"));
    // The directory itself is open while it is listed.
    let files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64);
    put(Kind::Gauge, "process_open_fds", "Number of open file descriptors", files);
    let most = field(&limits, "Max open files");
    put(Kind::Gauge, "process_max_fds", "Maximum number of open file descriptors", most);
    let spent = Some(ticks(&stat, 14).unwrap_or(0.0) + ticks(&stat, 15).unwrap_or(0.0)).filter(|_| !stat.is_empty());
    let help = "Total user and system CPU time spent in seconds";
    put(Kind::Counter, "process_cpu_seconds_total", help, spent);
    let began = field(&read("/proc/stat"), "btime").zip(ticks(&stat, 22)).map(|(boot, since)| boot + since);
    let help = "Start time of the process since unix epoch in seconds";
    put(Kind::Gauge, "process_start_time_seconds", help, began);
}

/// Returns the number behind this name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns a time of `/proc/self/stat` in seconds, by the number of the field in proc(5).
fn ticks(stat: &str, number: usize) -> Option<f64> {
    // The second field is the name of the command in brackets, and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: f64 = rest.split_whitespace().nth(number - 3)?.parse().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}
