//! The tools, called as a library: traces, simulated engines and fleets, the sweep, pages and figures.
#![cfg(any(feature = "trace", feature = "mock", feature = "report"))]

#[path = "../common"]
mod common {
    #[cfg(any(feature = "trace", feature = "report"))]
    pub(crate) mod scratch;
    #[cfg(feature = "trace")]
    pub(crate) mod shared;
    #[cfg(feature = "report")]
    pub(crate) mod svg;
    #[cfg(feature = "trace")]
    pub(crate) mod traces;
}

#[cfg(all(feature = "figures", feature = "sim"))]
mod figure_data;
#[cfg(feature = "report")]
mod figure_edges;
#[cfg(feature = "figures")]
mod figures;
#[cfg(all(feature = "mock", feature = "baseline"))]
mod mock;
#[cfg(feature = "report")]
mod report;
#[cfg(feature = "sweep")]
mod schedule;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "sim")]
mod sim_page;
#[cfg(feature = "sim")]
mod sim_words;
#[cfg(feature = "sweep")]
mod sweep;
#[cfg(feature = "trace")]
mod trace;
#[cfg(feature = "trace")]
mod trace_analyze;
#[cfg(feature = "tokenizer")]
mod trace_convert;
#[cfg(feature = "trace")]
mod trace_synth;
