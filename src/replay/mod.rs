//! Driving an index with a trace.
