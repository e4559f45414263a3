//! Reading request traces.
