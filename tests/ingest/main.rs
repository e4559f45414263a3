//! What engines publish, and what the service makes of it: wire formats, doubts, gaps, restarts and floods.
#![cfg(feature = "service")]

#[path = "../common"]
mod common {
    pub(crate) mod encode;
    #[cfg(feature = "cli")]
    pub(crate) mod engine;
    pub(crate) mod engine_events;
    #[cfg(feature = "cli")]
    pub(crate) mod judge;
    pub(crate) mod model;
    pub(crate) mod peer;
    pub(crate) mod scratch;
    pub(crate) mod service;
    pub(crate) mod shared;
    pub(crate) mod until;
    pub(crate) mod zmtp;
}

mod copies;
mod exactness;
mod hostile;
#[cfg(feature = "cli")]
mod limits;
#[cfg(feature = "cli")]
mod publishers;
#[cfg(feature = "cli")]
mod soak;
mod stream;
mod wire;
