//! Reads arbitrary bytes as a trace, analyses it, learns from it and expands its rows, none of which may panic. Rows
//! must be the same after they are written and read, and lines must be read as serde reads them.
#![no_main]

use arbitrary::Arbitrary;
use flate2::Compression;
use flate2::write::GzEncoder;
use kvleap::trace::synth::{self, Model};
use kvleap::trace::{Expansion, Row, Rows, analyze};
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Write as _};

#[derive(Arbitrary, Debug)]
struct Input {
    block_size: u32,
    /// Blocks per block of the trace.
    ratio: u32,
    rows: Vec<(u64, u32, u32, Vec<u64>, Option<String>)>,
    /// Bytes that follow the rows.
    tail: Vec<u8>,
    gzip: bool,
    /// The fields of a line, and their values.
    fields: Vec<(u8, u8)>,
    /// Places in the file and the bytes that overwrite them.
    noise: Vec<(u16, u8)>,
}

const FIELDS: [(&str, &str); 6] = [
    ("timestamp", "9999999999999999999"),
    ("input_length", "4294967295"),
    ("output_length", " 0"),
    ("hash_ids", "[1 , 2]"),
    ("session_id", "\"s\""),
    ("other", "{}"),
];
/// What a field may have in place of a value that it takes.
const VALUES: [&str; 15] = [
    "7",
    "18446744073709551615",
    "01",
    "-1",
    "1.0",
    "1e2",
    "18446744073709551616",
    "4294967296",
    "\"\\u0041\"",
    "\"\t\"",
    "null",
    "[]",
    "[1,]",
    "[01]",
    "[-0]",
];

/// Returns a line with the five fields of a row, and with these in place of them or beside them.
fn line(fields: &[(u8, u8)]) -> Vec<u8> {
    let mut all: Vec<(&str, &str)> = FIELDS[..5].to_vec();
    for &(field, value) in fields.iter().take(4) {
        let (name, good) = FIELDS[usize::from(field) % FIELDS.len()];
        let value = if value < 64 { good } else { VALUES[usize::from(value) % VALUES.len()] };
        // Half of them stand beside the field that has this name.
        if field < 128 {
            all.retain(|(other, _)| *other != name);
        }
        all.insert(usize::from(field) % (all.len() + 1), (name, value));
    }
    let fields: Vec<_> = all.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

fn text(rows: &[Row]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).unwrap();
        text.push(b'\n');
    }
    text
}

fn read(bytes: Vec<u8>) -> impl Iterator<Item = Option<Row>> {
    Rows::from_reader("fuzzed", Cursor::new(bytes)).unwrap().map(|row| {
        // Every error has a message.
        row.inspect_err(|error| assert!(!error.to_string().is_empty())).ok()
    })
}

/// Analyses the rows, whose figures must agree with each other, and synthesises requests, which must be valid rows.
fn tools(rows: &[Row], block_size: u32) {
    let raw = |rows: &[Row]| Rows::from_reader("fuzzed", Cursor::new(text(rows))).unwrap();
    if block_size == 0 {
        assert!(raw(rows).checked(0).is_err());
        return;
    }
    let open = |rows: &[Row]| raw(rows).checked(block_size).unwrap();
    let options = analyze::Options { workers: vec![1, 2], window_ms: 7 };
    if let Ok(analysis) = analyze::analyze(open(rows), &options, |_| {}) {
        assert_eq!(analysis.requests, rows.len() as u64);
        let rates: Vec<f64> = analysis.curves.iter().map(|curve| curve.hit_rate(u64::MAX)).collect();
        assert_eq!(rates.first().copied(), analysis.block_weighted_hit_rate);
        assert!(rates.is_empty() || rates[1] <= rates[0]);
        assert!(analysis.repeated_hash_ids <= analysis.unique_hash_ids);
    }
    let Ok(model) = Model::learn(open(rows), |_| {}) else { return };
    let options = synth::Options { num_requests: 20, prefix_root_multiplier: 2, ..synth::Options::default() };
    let drawn: Vec<Row> = model.requests(&options).unwrap().map(Result::unwrap).collect();
    assert!(Model::learn(open(&drawn), |_| {}).is_ok());
}

fuzz_target!(|input: Input| {
    let rows: Vec<_> = input
        .rows
        .into_iter()
        .map(|(timestamp, input_length, output_length, hash_ids, session_id)| Row {
            timestamp,
            input_length,
            output_length,
            hash_ids,
            session_id,
        })
        .collect();
    let mut bytes = [text(&rows), input.tail.clone()].concat();
    if input.gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
    }
    for &(place, byte) in &input.noise {
        if let Some(there) = bytes.get_mut(usize::from(place)) {
            *there = byte;
        }
    }
    let intact = input.tail.is_empty() && input.noise.is_empty() && !rows.is_empty();
    let found: Vec<_> = read(bytes).collect();
    if intact {
        assert_eq!(found, rows.into_iter().map(Some).collect::<Vec<_>>());
    }

    let parsed: Vec<_> = found.into_iter().flatten().collect();
    if !parsed.is_empty() {
        assert_eq!(read(text(&parsed)).collect::<Option<Vec<_>>>(), Some(parsed.clone()));
    }
    tools(&parsed, input.block_size);
    let line = line(&input.fields);
    let lines = input.tail.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for line in lines.chain([&line[..]]) {
        let expected: Option<Row> = serde_json::from_slice(line).ok();
        assert_eq!(read([b" ", line].concat()).next().flatten(), expected);
    }
    let trace_block_size = input.block_size.wrapping_mul(input.ratio);
    let Ok(expansion) = Expansion::new(trace_block_size, input.block_size) else { return };
    let mut hashes = Vec::new();
    for row in &parsed {
        hashes.clear();
        if expansion.expand(row, &mut hashes).is_ok() {
            let given = row.hash_ids.len() * (trace_block_size / input.block_size) as usize;
            assert_eq!(hashes.len(), given.min((row.input_length / input.block_size) as usize));
            assert!(hashes.len() <= Expansion::MAX_BLOCKS);
        }
    }
});
