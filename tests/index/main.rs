//! The embeddable core, which is the index and the router, compared with a reference that follows the contract to the
//! letter.

#[path = "../common"]
mod common {
    #[cfg(feature = "baseline")]
    pub(crate) mod fleet;
    #[cfg(feature = "baseline")]
    pub(crate) mod random;
    #[cfg(feature = "trace")]
    pub(crate) mod shared;
}

#[cfg(feature = "baseline")]
mod baseline;
#[cfg(feature = "baseline")]
mod batch;
#[cfg(feature = "baseline")]
mod concurrency;
#[cfg(feature = "baseline")]
mod contract;
mod corners;
mod fingerprint;
#[cfg(feature = "baseline")]
mod left_out;
mod route;
mod route_predict;
mod route_tiers;
mod status;
mod tail;
#[cfg(feature = "trace")]
mod vectors;
