//! The standalone service: its routes, its page, hostile clients, snapshots, peers, and what it keeps when it is
//! killed.
#![cfg(feature = "service")]

#[path = "../common"]
mod common {
    pub(crate) mod browser;
    #[cfg(feature = "cli")]
    pub(crate) mod engine;
    #[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "only the tests of peers remove and clear blocks"))]
    pub(crate) mod engine_events;
    #[cfg(feature = "cli")]
    pub(crate) mod judge;
    #[cfg(feature = "cli")]
    pub(crate) mod peer;
    #[allow(dead_code, reason = "snapshots need single events only")]
    pub(crate) mod random;
    pub(crate) mod scratch;
    #[cfg(feature = "cli")]
    pub(crate) mod serve;
    pub(crate) mod service;
    pub(crate) mod until;
}

mod bounds;
mod door;
mod http;
mod metrics;
mod page;
#[cfg(feature = "cli")]
mod peers;
mod restore;
mod safety;
mod settings;
mod snapshot;
#[cfg(feature = "cli")]
mod survival;
