//! Where threads run: set once, before anything is measured.

use std::sync::OnceLock;

use crate::cores::{Cores, pin};
use crate::systems::{Fleet, Mode, Open, System};

static PLACE: OnceLock<(Cores, Mode)> = OnceLock::new();

/// Pins this thread to the core where lookups run, and sets where indexes are opened.
pub fn set(cores: Cores, mode: Mode) {
    pin(cores.asking);
    PLACE.set((cores, mode)).expect("it is set once");
}

/// Opens an empty index. If events are applied on a core of their own, the threads that it starts are on that core.
pub fn open<S: System>(fleet: Fleet) -> Open<S::Writer, S::Reader> {
    match PLACE.get() {
        Some((cores, Mode::Separated)) => cores.start(|| S::open(fleet)),
        _ => S::open(fleet),
    }
}

/// Returns the core where events are applied, if that is a core of their own.
pub fn applying() -> Option<usize> {
    PLACE.get().filter(|(_, mode)| *mode == Mode::Separated).map(|(cores, _)| cores.applying)
}
