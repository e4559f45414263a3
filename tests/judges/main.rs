//! Released engines' own publishers and cache managers, as `.ci/engines.py` fetches them, judge the service.
#![cfg(feature = "cli")]

#[path = "../common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod model;
    pub(crate) mod scratch;
    pub(crate) mod serve;
    pub(crate) mod shared;
}

mod caches;
mod publishers;
