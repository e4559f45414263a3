//! An allowance of memory for the messages of all connections together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which memory is taken.
const UNIT: usize = 1 << 10;

/// An allowance of memory for the messages of all connections together. A connection that needs more than is left waits
/// until others have freed some.
#[derive(Clone, Debug)]
pub(in crate::service) struct Memory {
    units: Arc<Semaphore>,
    most: usize,
    /// For one message that may take what it needs, although there is nothing left. Without it, many messages that have
    /// a part of what they need could wait for each other.
    exempt: Arc<Semaphore>,
}

/// Memory that was taken. It is given back when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Taken {
    units: Option<OwnedSemaphorePermit>,
    exempt: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Creates an allowance of this many bytes, rounded up to whole units of 1 KiB.
    pub(in crate::service) fn new(bytes: usize) -> Self {
        let most = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(most)), most, exempt: Arc::new(Semaphore::new(1)) }
    }

    /// Returns how many bytes are in use.
    pub(in crate::service) fn used(&self) -> usize {
        (self.most - self.units.available_permits()) * UNIT
    }

    /// Takes this many bytes, rounded up to whole units, and adds them to `taken`. Waits while there are not enough.
    /// Nothing is taken if the future is dropped before it is ready.
    pub(super) async fn take(&self, bytes: usize, taken: &mut Taken) {
        if taken.exempt.is_some() {
            return;
        }
        let units = bytes.div_ceil(UNIT).min(self.most) as u32;
        // Neither of them is ever closed.
        tokio::select! {
            biased;
            Ok(more) = Arc::clone(&self.units).acquire_many_owned(units) => taken.add(more),
            Ok(exempt) = Arc::clone(&self.exempt).acquire_owned() => taken.exempt = Some(exempt),
            else => {}
        }
    }

    /// Like [`Memory::take`], but takes nothing if there is not enough.
    pub(super) fn try_take(&self, bytes: usize, taken: &mut Taken) {
        let units = bytes.div_ceil(UNIT) as u32;
        if let Ok(more) = Arc::clone(&self.units).try_acquire_many_owned(units) {
            taken.add(more);
        }
    }
}

impl Taken {
    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.units {
            Some(taken) => taken.merge(more),
            None => self.units = Some(more),
        }
    }
}
