//! The cores that a measurement runs on, and how busy other processes keep them meanwhile. Unpinned threads change their
//! cores as the system likes, and figures then differ by which of them met.

use core_affinity::{CoreId, get_core_ids, set_for_current};

use usage::Usage;

#[path = "../../src/sweep/usage.rs"]
#[allow(unused_imports, reason = "its tests run elsewhere")]
mod usage;

/// The share of the cores' time from which on other processes spoil a measurement.
pub(crate) const SPOILS: f64 = 0.05;

/// The cores of a measurement with two threads; the same one twice if there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    /// The core on which lookups run.
    pub(crate) asking: usize,
    /// The core on which events are applied, if a thread of their own does that.
    pub(crate) applying: usize,
}

impl Cores {
    /// Reads `ASKING` or `ASKING,APPLYING`, and returns the first two cores of this process by default.
    ///
    /// # Errors
    /// The text is not that, or this process may not use such a core.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let usable: Vec<usize> = get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
        let named: Vec<usize> = match text {
            None => usable.iter().copied().take(2).collect(),
            Some(text) => text.split(',').map_while(|core| core.trim().parse().ok()).collect(),
        };
        let whole = text.is_none_or(|text| text.split(',').count() == named.len());
        match named[..] {
            [asking] | [asking, _] if whole && named.iter().all(|core| usable.contains(core)) => {
                Ok(Self { asking, applying: named[named.len() - 1] })
            }
            _ => Err(format!("--cores takes one or two of the cores {usable:?}, such as {}", example(&usable))),
        }
    }

    /// Whether applying has a core of its own.
    pub(crate) fn are_two(self) -> bool {
        self.asking != self.applying
    }

    /// Runs `start` on the core where events are applied, so that the threads that it starts stay there, and moves this
    /// thread to the core where lookups run.
    pub(crate) fn start<T>(self, start: impl FnOnce() -> T) -> T {
        pin(self.applying);
        let started = start();
        pin(self.asking);
        started
    }
}

fn example(usable: &[usize]) -> String {
    usable.iter().take(2).map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Pins this thread to a core. Threads that it starts from now on begin on the same one.
pub(crate) fn pin(core: usize) {
    assert!(set_for_current(CoreId { id: core }), "this process may use core {core}");
}

/// Watches the cores while something runs.
#[derive(Debug)]
pub(crate) struct Watch {
    cores: Vec<usize>,
    begin: Option<Usage>,
}

impl Watch {
    /// Begins to watch these cores.
    pub(crate) fn begin(cores: Cores) -> Self {
        let mut cores = vec![cores.asking, cores.applying];
        cores.dedup();
        Self { begin: Usage::now(&cores), cores }
    }

    /// Returns the share of the cores' time that other processes have taken since, 0 to 1; `None` where the system does
    /// not say.
    pub(crate) fn others(&self) -> Option<f64> {
        let begin = self.begin?;
        Some(begin.others(&Usage::now(&self.cores)?))
    }
}
