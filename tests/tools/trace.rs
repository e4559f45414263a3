//! Traces are read exactly, and errors say what is wrong and where.

use flate2::write::GzEncoder;
use kvleap::trace::{Compression, ExpandError, Expansion, MAX_LINE, Reason, Row, Rows, TraceError, open};
use proptest::prelude::*;
use std::collections::HashSet;
use std::io::{self, Cursor, Read, Write as _};

use crate::common::{shared, traces};

const ROW: &str = r#"{"timestamp": 3, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}"#;

fn row(input_length: u32, hash_ids: &[u64]) -> Row {
    Row { timestamp: 3, input_length, output_length: 5, hash_ids: hash_ids.to_vec(), session_id: None }
}

fn rows(text: impl Into<Vec<u8>>) -> Rows {
    Rows::from_reader("given", Cursor::new(text.into())).expect("readable memory")
}

fn read(text: impl Into<Vec<u8>>) -> Result<Vec<Row>, TraceError> {
    rows(text).collect()
}

/// Returns the error that reading `text` ends with, as printed.
fn complaint(text: impl Into<Vec<u8>>) -> String {
    read(text).expect_err("a malformed trace").to_string()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory")
}

#[test]
fn rows_are_read_in_order() {
    let with_session = ROW.replace('}', r#", "session_id": "a", "unknown": [1.5]}"#);
    let text = format!("\n{ROW}\r\n  \n{with_session}");
    let expected = [row(1100, &[0, 1, 2]), Row { session_id: Some("a".into()), ..row(1100, &[0, 1, 2]) }];
    assert_eq!(read(text.clone()).unwrap(), expected);
    assert_eq!(read(gzip(text.as_bytes())).unwrap(), expected);

    let members = [gzip(format!("{ROW}\n").as_bytes()), gzip(with_session.as_bytes())].concat();
    assert_eq!(read(members).unwrap(), expected, "concatenated gzip members");

    let mut lines = rows(text);
    assert_eq!(lines.line(), 0);
    lines.next();
    assert_eq!(lines.line(), 2);
}

#[test]
fn rows_survive_writing() {
    for row in [row(0, &[]), Row { session_id: Some("\"\n\u{1f980}".into()), ..row(u32::MAX, &[u64::MAX, 0]) }] {
        assert_eq!(read(serde_json::to_vec(&row).unwrap()).unwrap(), [row]);
    }
}

#[test]
fn errors_name_the_malformed_line_and_column() {
    for (line, column, why) in [
        ("timestamp,input_length", 2, "expected ident"),
        ("[]", 2, "invalid length 0"),
        (r#"{"timestamp": 3"#, 15, "EOF while parsing"),
        (&ROW.replace("output_length", "outputs"), 75, "missing field `output_length`"),
        (&ROW.replace('3', "-3"), 16, "invalid value: integer `-3`, expected u64"),
        (&ROW.replace("1100", "-1"), 35, "invalid value: integer `-1`, expected u32"),
        (&ROW.replace("1100", "4294967296"), 43, "invalid value: integer `4294967296`, expected u32"),
        (&ROW.replace('3', "0.5"), 17, "invalid type: floating point `0.5`"),
        (&ROW.replace("[0, ", "[null, "), 76, "invalid type: null"),
        (&format!("{ROW} {ROW}"), 83, "trailing characters"),
    ] {
        let text = complaint(format!("{ROW}\n\n{line}\n{ROW}\n"));
        assert!(text.starts_with(&format!("given:3:{column}: not a row of a trace ({why}")), "{line}: {text}");
        assert!(!text.contains(" at line "), "{text}");
    }
    let text = complaint(b"\xff\xfe\n");
    assert!(text.starts_with("given:1:1: not a row"), "{text}");
}

#[test]
fn reading_continues_after_a_malformed_line() {
    let results: Vec<_> = rows(format!("{ROW}\nnonsense\n{ROW}")).map(|row| row.is_ok()).collect();
    assert_eq!(results, [true, false, true]);
}

#[test]
fn a_trace_without_rows_is_an_error() {
    for text in ["", "\n \r\n\t"] {
        let mut plain = rows(text);
        let error = plain.next().expect("an error").expect_err("no row");
        assert!(matches!(error, TraceError { line: None, column: None, reason: Reason::Empty, .. }), "{error}");
        assert!(plain.next().is_none());
        assert!(complaint(gzip(text.as_bytes())).starts_with("given: no rows"));
    }
}

#[test]
fn truncated_and_damaged_gzip_is_reported() {
    let whole = gzip(format!("{ROW}\n").repeat(50).as_bytes());
    for length in 2..whole.len() {
        let error = read(&whole[..length]).expect_err("a truncated file");
        assert!(matches!(error.reason, Reason::Truncated(Compression::Gzip)), "{length} bytes: {error}");
        assert!(error.line.is_some() && error.column.is_none(), "{length} bytes: {error}");
    }
    let mut damaged = whole.clone();
    let checksum = whole.len() - 8;
    damaged[checksum] ^= 1;
    let error = read(damaged).expect_err("a wrong checksum");
    assert!(matches!(error.reason, Reason::Corrupt(Compression::Gzip, _)), "{error}");
    assert_eq!(error.line, Some(51), "{error}");
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 1).expect("memory")
}

#[test]
fn zstd_is_read_frame_by_frame() {
    let text = format!("{ROW}\n").repeat(50);
    let expected = vec![row(1100, &[0, 1, 2]); 50];
    let whole = zstd(text.as_bytes());
    assert_eq!(read(whole.clone()).unwrap(), expected);

    let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
    let (first, second) = text.split_at(700);
    let frames = [&skipped, &zstd(first.as_bytes())[..], &skipped, &zstd(second.as_bytes())].concat();
    assert_eq!(read(frames).unwrap(), expected, "skippable frames are skipped");
    assert!(complaint(zstd(b" \n")).starts_with("given: no rows"));

    for length in 4..whole.len() {
        let error = read(&whole[..length]).expect_err("a truncated file");
        assert!(matches!(error.reason, Reason::Truncated(Compression::Zstd)), "{length} bytes: {error}");
        assert!(error.line.is_some() && error.column.is_none(), "{length} bytes: {error}");
    }
    let error = read(&skipped[..9]).expect_err("a truncated skippable frame");
    assert!(matches!(error.reason, Reason::Truncated(Compression::Zstd)), "{error}");

    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = read(damaged).expect_err("a wrong checksum");
    assert!(matches!(error.reason, Reason::Corrupt(Compression::Zstd, _)), "{error}");
    assert!(error.to_string().contains("the zstd data is damaged"), "{error}");
}

/// Draws lines that are mostly rows of a trace, in the many ways that JSON can be written.
fn line() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        6 => (0..5000_u32).prop_map(|n| n.to_string()),
        1 => prop_oneof![
            Just("4294967295"), Just("4294967296"), Just("18446744073709551615"), Just("18446744073709551616"),
            Just("007"), Just("-1"), Just("1.0"), Just("2e1"), Just(""), Just("null"), Just("+1"), Just("0"),
        ].prop_map(str::to_owned),
    ];
    let space = prop_oneof![4 => Just(""), 2 => Just(" "), 1 => Just("\t \r"), 1 => Just("\u{a0}")];
    let ids = (prop::collection::vec(number.clone(), 0..4), space.clone(), 0..30_u8).prop_map(|(ids, space, slip)| {
        format!("[{space}{}{}]", ids.join(&format!("{space},{space}")), if slip == 0 { "," } else { "" })
    });
    let text = prop_oneof![
        4 => Just("\"a\""), 1 => Just("\"\""), 1 => Just("\"\\u0041\\n\""), 1 => Just("\"\u{e9}\u{1f980}\""),
        1 => Just("null"), 1 => Just("\"\t\""), 1 => Just("7"),
    ];
    let field = prop_oneof![
        number.clone().prop_map(|n| ("timestamp", n)),
        number.clone().prop_map(|n| ("input_length", n)),
        number.clone().prop_map(|n| ("output_length", n)),
        ids.clone().prop_map(|ids| ("hash_ids", ids)),
        text.prop_map(|text| ("session_id", text.to_owned())),
        number.clone().prop_map(|n| ("other", n)),
        number.clone().prop_map(|n| ("time\\u0073tamp", n)),
    ];
    let usual = (number.clone(), number.clone(), number, ids).prop_map(|(time, input, output, ids)| {
        vec![("timestamp", time), ("input_length", input), ("output_length", output), ("hash_ids", ids)]
    });
    let fields = (usual, prop::collection::vec(field, 0..2)).prop_map(|(usual, more)| [usual, more].concat());
    (fields.prop_shuffle(), space, 0..40_u8, any::<prop::sample::Index>()).prop_map(|(fields, space, slip, place)| {
        let fields = fields.iter().map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}"));
        let mut line = format!("{{{}{space}}}", fields.collect::<Vec<_>>().join(&format!("{space},")));
        if slip == 0 {
            let ends: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
            line.truncate(*place.get(&ends));
        }
        line
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// The reader has a fast path for rows, which must agree with serde.
    #[test]
    fn lines_are_read_as_serde_reads_them(line in line()) {
        let expected: Result<Row, _> = serde_json::from_str(&line);
        let got = rows(format!("{ROW}\n{line}\n{ROW}")).nth(1).expect("a line");
        match expected {
            Ok(expected) => prop_assert_eq!(got.unwrap(), expected),
            Err(expected) if line.trim_ascii().is_empty() => prop_assert!(expected.is_eof()),
            Err(expected) => prop_assert_eq!(got.unwrap_err().column, Some(expected.column())),
        }
    }
}

#[test]
fn lines_beyond_the_limit_are_refused() {
    let padding = " ".repeat(MAX_LINE - ROW.len());
    assert_eq!(read(format!("{ROW}{padding}\n{ROW}")).unwrap().len(), 2);

    let mut lines = rows(format!("{ROW}{padding} \n{ROW}"));
    let error = lines.next().expect("an error").expect_err("a long line");
    assert!(matches!(error, TraceError { line: Some(1), reason: Reason::LineTooLong, .. }), "{error}");
    assert!(lines.next().is_none());

    let endless = Rows::from_reader("endless", io::repeat(b'[')).expect("a reader that never fails");
    assert_eq!(endless.map(|row| row.is_err()).collect::<Vec<_>>(), [true]);
}

/// A reader that gives its bytes one at a time and then fails.
struct Failing(&'static [u8]);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (first, rest) = self.0.split_first().ok_or_else(|| io::Error::other("the disk is gone"))?;
        self.0 = rest;
        buffer[0] = *first;
        Ok(1)
    }
}

#[test]
fn read_errors_name_the_file() {
    let text = Rows::from_reader("disk", Failing(b"")).expect_err("nothing to read").to_string();
    assert!(text.starts_with("disk: cannot be read (the disk is gone)"), "{text}");

    let mut lines = Rows::from_reader("disk", Failing(b"\n{\"times")).expect("two bytes can be read");
    let text = lines.next().expect("an error").expect_err("half a line").to_string();
    assert!(text.starts_with("disk:2: cannot be read (the disk is gone)"), "{text}");
    assert!(lines.next().is_none());

    for path in ["/nowhere/trace.jsonl", env!("CARGO_MANIFEST_DIR")] {
        let error = Rows::open(path).expect_err("no file");
        assert!(matches!(error.reason, Reason::Unreadable(_)), "{error}");
        assert_eq!((error.name.as_str(), error.line), (path, None));
    }
}

#[test]
fn blocks_are_cut_from_trace_blocks() {
    let expand = |row: &Row, trace_block_size, block_size| {
        let mut hashes = vec![9];
        let result = Expansion::new(trace_block_size, block_size).and_then(|it| it.expand(row, &mut hashes));
        assert_eq!(hashes.remove(0), 9, "earlier hashes stay");
        assert!(result.is_ok() || hashes.is_empty(), "nothing is appended on failure");
        result.map(|()| hashes)
    };
    let four = expand(&row(16, &[5, 6]), 8, 4).unwrap();
    assert_eq!(four.len(), 4);
    assert_eq!(four.iter().collect::<HashSet<_>>().len(), 4, "distinct blocks");
    assert_eq!(expand(&row(16, &[7, 6]), 8, 4).unwrap()[2..], four[2..], "equal ids give equal blocks");

    let bytes = [5_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    assert_eq!(four[1], twox_hash::XxHash3_64::oneshot_with_seed(1337, &bytes), "the documented formula");

    for (input_length, blocks) in [(0, 0), (3, 0), (4, 1), (15, 3), (16, 4), (19, 4), (20, 4), (23, 4)] {
        assert_eq!(expand(&row(input_length, &[5, 6]), 8, 4).unwrap(), four[..blocks], "{input_length} tokens");
    }
    assert_eq!(
        expand(&row(24, &[5, 6]), 8, 4),
        Err(ExpandError::TooFewIds { input_length: 24, ids: 2, trace_block_size: 8 })
    );
    assert_eq!(expand(&row(8, &[5]), 8, 8).unwrap().len(), 1);
    assert_eq!(
        expand(&row(u32::MAX, &[5]), u32::MAX, 1),
        Err(ExpandError::TooManyBlocks { input_length: u32::MAX, block_size: 1 })
    );
    for (trace_block_size, block_size) in [(8, 3), (8, 16), (8, 0), (0, 8), (0, 0)] {
        let error = ExpandError::BlockSizes { trace_block_size, block_size };
        assert_eq!(Expansion::new(trace_block_size, block_size), Err(error));
    }
}

#[test]
fn published_traces_are_read_completely() {
    for (name, block_size, expected_rows, expected_ids, last_timestamp, sessions) in [
        ("conversation_trace.jsonl", 512, 12_031, 288_500, 3_536_999, 0),
        ("mooncake_trace_1000.jsonl", 512, 1_000, 19_686, 177_098, 0),
        ("agentic_dev.jsonl.gz", 64, 955, 2_006_787, 56_677_994, 17),
    ] {
        let Some(path) = shared::shared(&format!("traces/{name}")) else { continue };
        let mut lines = Rows::open(&path).expect("a readable trace");
        let progress = lines.progress();
        assert_eq!(progress.total(), Some(path.metadata().expect("a file").len()));
        assert!(progress.read() < progress.total().unwrap(), "{name}: it was read too early");

        let rows: Vec<_> = lines.by_ref().collect::<Result<_, _>>().expect("a well-formed trace");
        assert_eq!(Some(progress.read()), progress.total(), "{name}");
        assert_eq!(rows.len(), expected_rows, "{name}");
        assert_eq!(rows.iter().map(|row| row.hash_ids.len()).sum::<usize>(), expected_ids, "{name}");
        assert_eq!(rows.last().map(|row| row.timestamp), Some(last_timestamp), "{name}");
        let distinct: HashSet<_> = rows.iter().filter_map(|row| row.session_id.as_ref()).collect();
        assert_eq!(distinct.len(), sessions, "{name}");

        let mut hashes = Vec::new();
        for smaller in [block_size, block_size / 4] {
            hashes.clear();
            let expansion = Expansion::new(block_size, smaller).expect("a quarter divides the whole");
            let expand = |row: &Row| expansion.expand(row, &mut hashes);
            rows.iter().try_for_each(expand).expect("ids for every token");
            let full = |row: &Row| (row.input_length / smaller) as usize;
            let ids = |row: &Row| row.hash_ids.len() * (block_size / smaller) as usize;
            assert_eq!(hashes.len(), rows.iter().map(|row| full(row).min(ids(row))).sum::<usize>(), "{name}");
        }
        let wrong = Expansion::new(block_size / 2, block_size / 2).expect("equal sizes");
        let mut expand = |row: &Row| wrong.expand(row, &mut hashes);
        let error = rows.iter().try_for_each(&mut expand).expect_err("half the ids");
        assert!(error.to_string().contains("the trace block size is wrong"), "{name}: {error}");
    }
}

#[test]
fn a_wrong_block_size_is_refused_with_the_right_one() {
    for (name, right) in
        [("conversation_trace.jsonl", 512), ("mooncake_trace_1000.jsonl", 512), ("agentic_dev.jsonl.gz", 64)]
    {
        let Some(path) = shared::shared(&format!("traces/{name}")) else { continue };
        let read = |size| open(&path, size).expect("a readable trace").collect::<Result<Vec<Row>, _>>();
        assert!(read(right).is_ok(), "{name}");
        for wrong in (0..14).map(|power| 1 << power).chain([right - 1, right + 1]).filter(|&wrong| wrong != right) {
            let text = read(wrong).expect_err("a wrong block size").to_string();
            let advice = format!("the block size is wrong; blocks of {right} tokens fit all of the first");
            assert!(text.contains(name) && text.contains(&advice), "{wrong}: {text}");
        }
        assert!(open(&path, 0).expect_err("no block size").to_string().contains("must be at least 1"));
    }
}

#[test]
fn partial_last_blocks_have_an_id_in_all_rows_or_in_none() {
    let read = |rows: &[Row], size| traces::reader(rows, size).collect::<Result<Vec<Row>, _>>();
    let (with, without, whole) = (row(9, &[1, 2, 3]), row(9, &[1, 2]), row(8, &[1, 2]));
    for rows in [[&with, &whole, &with], [&without, &whole, &without]].map(|rows| rows.map(Row::clone)) {
        assert_eq!(read(&rows, 4).expect("a sound trace"), rows);
    }
    for (rows, why) in [
        ([&with, &whole, &without], "given:3: 2 ids without one for the partial last block, which has an id in"),
        ([&without, &whole, &with], "given:3: 3 ids with one for the partial last block, which has no id in"),
        (
            [&whole, &row(8, &[1, 2, 3]), &whole],
            "given:2: 3 ids are too many for 8 tokens in blocks of 4: no block size",
        ),
        ([&whole, &row(8, &[1]), &whole], "given:2: 1 ids are too few for 8 tokens in blocks of 4: no block size"),
    ] {
        let mut reader = traces::reader(&rows.map(Row::clone), 4);
        let error = reader.find_map(Result::err).expect("an unsound trace").to_string();
        assert!(error.starts_with(why), "{error}");
        assert!(reader.next().is_none(), "an error ends the rows");
    }
}
