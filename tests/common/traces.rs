//! Random traces in which requests share many prefixes.

use std::collections::HashMap;
use std::io::Cursor;

use kvleap::trace::{CheckedRows, Row, Rows};
use proptest::prelude::*;

/// Draws rows over short sequences of few different blocks, sorted by time. Their ids are numbered by first appearance,
/// or in another order.
pub(crate) fn random_rows(most: usize, block_size: u32) -> impl Strategy<Value = Vec<Row>> {
    let blocks = prop::collection::vec(prop_oneof![3 => Just(0_u8), 2 => Just(1), 1 => Just(2)], 0..7);
    let row = (blocks, 1..=block_size, 0..50_u32, 0..4_u64, prop::option::of(0..3_u8));
    (prop::collection::vec(row, 1..most), prop_oneof![Just(0_u64), Just(5)]).prop_map(move |(drawn, order)| {
        let mut ids: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut now = 0;
        let rows = drawn.into_iter().map(|(blocks, tail, output_length, gap, session)| {
            now += gap * 700;
            let hash_ids: Vec<u64> = (1..=blocks.len())
                .map(|end| {
                    let next = ids.len() as u64;
                    *ids.entry(blocks[..end].to_vec()).or_insert(next) ^ order
                })
                .collect();
            let input_length = (hash_ids.len() as u32).checked_sub(1).map_or(0, |full| full * block_size + tail);
            Row { timestamp: now, input_length, output_length, hash_ids, session_id: session.map(|s| s.to_string()) }
        });
        rows.collect()
    })
}

/// Returns the trace as the text of a file.
pub(crate) fn text(rows: &[Row]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).expect("memory");
        text.push(b'\n');
    }
    text
}

pub(crate) fn reader(rows: &[Row], block_size: u32) -> CheckedRows {
    let rows = Rows::from_reader("given", Cursor::new(text(rows))).expect("readable memory");
    rows.checked(block_size).expect("a block size")
}
