//! No index at all, to measure what the harness itself costs.
//!
//! It frees every event, and reads a query's length without looking anything up. The reports subtract its times from
//! those of the other systems.

use std::hint::black_box;

use super::{Fleet, Open, Reader, System, Writer};

pub struct Null;

impl System for Null {
    type Writer = Self;
    type Reader = Self;

    fn open(_: Fleet) -> Open<Self, Self> {
        Open { encode: Box::new(|event| event), writer: Self, reader: Self }
    }
}

impl Writer for Null {
    type Event = kvleap::Event;

    fn apply(&mut self, event: kvleap::Event) {
        black_box(event);
    }

    fn flush(&mut self) {}
}

impl Reader for Null {
    type Query = Vec<u64>;

    fn query(&self, hashes: &[u64]) -> Vec<u64> {
        hashes.to_vec()
    }

    fn all(&mut self, query: &Vec<u64>, _: impl FnMut(u32, u32)) {
        black_box(query.len());
    }
}
