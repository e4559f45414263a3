//! Converting prompts, conversations and recorded sessions to rows, and rows from one block size to another.

use std::collections::HashSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use kvleap::trace::convert::chats::{self, Chat};
use kvleap::trace::convert::sessions::{self, Session};
use kvleap::trace::convert::{Arrivals, Job, Kind, Line, Rechain, Resize, convert};
use kvleap::trace::text::{Prompts, Settings, Tokenizer, hash};
use kvleap::trace::{Reason, Row, ToolError};
use proptest::prelude::*;

use crate::common::scratch::Scratch;
use crate::common::traces;

/// A Hugging Face tokenizer of three words. Its file asks for special tokens, padding and truncation.
const TOKENIZER: &str = r#"{
    "version": "1.0", "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
    "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                "pad_type_id": 0, "pad_token": "[UNK]"},
    "added_tokens": [{"id": 4, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
                      "normalized": false, "special": true}],
    "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                       "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [4], "tokens": ["[CLS]"]}}},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2, "c": 3, "[CLS]": 4}, "unk_token": "[UNK]"}
}"#;

fn hashed(text: &str, tokenizer: &Tokenizer, block_size: u32) -> Result<Vec<Row>, ToolError> {
    let prompts = Prompts::from_reader("given", Cursor::new(text.to_owned()))?;
    let mut rows = Vec::new();
    let settings = Settings { block_size, ..Settings::default() };
    hash(prompts, tokenizer, &settings, |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

/// Returns a file of prompts.
fn prompts(prompts: &[String]) -> String {
    prompts.iter().map(|prompt| format!("{{\"prompt\": \"{prompt}\"}}\n")).collect::<Vec<_>>().concat()
}

fn ids(rows: &[Row]) -> Vec<Vec<u64>> {
    rows.iter().map(|row| row.hash_ids.clone()).collect()
}

#[test]
fn prompts_have_the_published_ids() {
    let text = "{\"prompt\": \"a b c d\"}\n{\"prompt\": \"a b e f\"}\n\n{\"prompt\": \"x y c d\"}\n";
    let rows = hashed(text, &Tokenizer::Whitespace, 2).unwrap();
    assert_eq!(ids(&rows), [[0, 1], [0, 2], [3, 4]]);
    assert!(rows.iter().all(|row| (row.timestamp, row.input_length, row.output_length) == (0, 4, 1)));
}

#[test]
fn prompts_keep_their_tails_and_fields_and_can_be_split_into_bytes() {
    let text = r#"{"prompt": "aé", "timestamp": 5, "output_length": 7, "session_id": "s", "other": []}
{"prompt": "aéx", "timestamp": 5}
{"prompt": "", "timestamp": 6}"#;
    let rows = hashed(text, &Tokenizer::Bytes, 2).unwrap();
    let row = |timestamp, input_length, output_length, hash_ids: &[u64], session: Option<&str>| Row {
        timestamp,
        input_length,
        output_length,
        hash_ids: hash_ids.to_vec(),
        session_id: session.map(str::to_owned),
    };
    let expected = [row(5, 3, 7, &[0, 1], Some("s")), row(5, 4, 1, &[0, 2], None), row(6, 0, 1, &[], None)];
    assert_eq!(rows, expected);
}

#[test]
fn a_hugging_face_tokenizer_does_not_add_pad_or_truncate() {
    let scratch = Scratch::new("tokenizer");
    let path = scratch.file_path("tokenizer.json", TOKENIZER);
    let tokenizer = Tokenizer::load(&path).unwrap();
    let mut tokens = Vec::new();
    tokenizer.tokens("a b zzz c b a", &mut tokens).unwrap();
    assert_eq!(tokens, [1, 2, 0, 3, 2, 1], "no special token, no padding, no truncation");
    assert!(matches!(Tokenizer::load(Path::new("bytes")).unwrap(), Tokenizer::Bytes));

    for (wrong, text) in [("missing.json", None), ("wrong.json", Some("{}"))] {
        let path = text.map_or(scratch.0.join(wrong), |text| scratch.file_path(wrong, text));
        let error = Tokenizer::load(&path).expect_err("no tokenizer").to_string();
        assert!(error.contains(wrong) && error.contains("whitespace"), "{error}");
    }
}

#[test]
fn order_is_kept_over_batches_and_threads() {
    // The prompts fill more than one batch of 8 MiB.
    let prompt = |i: u32| "w ".repeat(i as usize % 7) + &"x".repeat(1000) + &format!(" {i}");
    let text = prompts(&(0..10_000).map(prompt).collect::<Vec<_>>());
    let rows = hashed(&text, &Tokenizer::Whitespace, 1).unwrap();
    assert_eq!(rows.len(), 10_000);
    for (row, i) in rows.iter().zip(0..) {
        assert_eq!(row.input_length, i % 7 + 2, "prompt {i}");
    }
    let last: Vec<u64> = rows.iter().filter_map(|row| row.hash_ids.last().copied()).collect();
    assert!(last.is_sorted(), "ids by first appearance");
    assert_eq!(last.iter().collect::<HashSet<_>>().len(), 10_000);
}

#[test]
fn errors_name_the_bad_prompt() {
    for (line, why) in [
        ("nonsense", "given:2:2: not a prompt (expected ident)"),
        (r#"{"text": "a"}"#, "given:2:13: not a prompt (missing field `prompt`)"),
        (r#"{"prompt": "a", "timestamp": -1}"#, "given:2:31: not a prompt (invalid value: integer `-1`"),
        (r#"{"prompt": 5}"#, "given:2:12: not a prompt (invalid type: integer `5`"),
        (r#"{"prompt": "b", "timestamp": 3}"#, "given:2: the request arrives at 3 ms"),
    ] {
        let text = format!("{{\"prompt\": \"a\", \"timestamp\": 4}}\n{line}\n");
        let error = hashed(&text, &Tokenizer::Bytes, 4).expect_err("a bad prompt").to_string();
        assert!(error.starts_with(why), "{error}");
    }
    assert!(hashed("", &Tokenizer::Bytes, 4).unwrap_err().to_string().starts_with("given: no rows"));
    assert!(hashed("{}", &Tokenizer::Bytes, 0).unwrap_err().to_string().starts_with("--block-size is 0"));
}

proptest! {
    /// The literal model numbers distinct prefixes in the order of their first appearance.
    #[test]
    fn equal_prefixes_have_equal_ids(prompts in prop::collection::vec("[ab]{0,9}", 1..30), block_size in 1..4_u32) {
        let text = self::prompts(&prompts);
        let mut known: Vec<&str> = Vec::new();
        let expected: Vec<Vec<u64>> = prompts.iter().map(|prompt| {
            let ends = (1..=prompt.len().div_ceil(block_size as usize)).map(|n| n * block_size as usize);
            ends.map(|end| {
                let prefix = &prompt[..end.min(prompt.len())];
                let place = known.iter().position(|other| *other == prefix);
                place.unwrap_or_else(|| { known.push(prefix); known.len() - 1 }) as u64
            }).collect()
        }).collect();
        prop_assert_eq!(ids(&hashed(&text, &Tokenizer::Bytes, block_size).unwrap()), expected);
    }

    #[test]
    fn smaller_blocks_share_the_same_tokens(
        rows in traces::random_rows(30, 6),
        to in prop_oneof![Just(1_u32), Just(2), Just(3), Just(6)],
    ) {
        let resize = Resize::new(6, to).unwrap();
        let mut small = rows.clone();
        small.iter_mut().try_for_each(|row| resize.row(row)).unwrap();
        for (a, b) in rows.iter().zip(&small) {
            prop_assert_eq!(b.hash_ids.len() as u32, a.input_length.div_ceil(to));
            for (c, d) in rows.iter().zip(&small) {
                let shared = |x: &Row, y: &Row| x.hash_ids.iter().zip(&y.hash_ids).take_while(|(x, y)| x == y).count();
                let tokens = shared(a, c) * 6;
                let expected = (tokens / to as usize).min(b.hash_ids.len()).min(d.hash_ids.len());
                prop_assert_eq!(shared(b, d), expected);
            }
        }
    }

    #[test]
    fn rechaining_gives_every_prefix_an_id_of_its_own(
        rows in traces::random_rows(30, 4),
        keys in prop::collection::vec(0..3_u64, 40),
    ) {
        // Here an id stands for a block alone, so it occurs under many prefixes.
        let mut alone = rows.clone();
        alone.iter_mut().flat_map(|row| &mut row.hash_ids).for_each(|id| *id = keys[*id as usize % keys.len()]);
        let mut chained = alone.clone();
        let mut chain = Rechain::default();
        for row in &mut chained {
            chain.row(row);
        }
        let mut known: Vec<&[u64]> = Vec::new();
        for (row, new) in alone.iter().zip(&chained) {
            for end in 1..=row.hash_ids.len() {
                let prefix = &row.hash_ids[..end];
                let place = known.iter().position(|other| *other == prefix);
                let id = place.unwrap_or_else(|| { known.push(prefix); known.len() - 1 });
                prop_assert_eq!(new.hash_ids[end - 1], id as u64);
            }
        }
    }

    #[test]
    fn rows_survive_a_round_trip_through_sessions(rows in traces::random_rows(30, 4)) {
        let named: Vec<Row> = rows.into_iter().map(|row| Row { session_id: row.session_id.or(Some("x".into())), ..row }).collect();
        let sessions = sessions::from_rows(named.clone(), 4);
        let scratch = Scratch::new("sessions");
        let text: String = sessions.iter().map(|session| serde_json::to_string(session).unwrap() + "\n").collect();
        let read = sessions::open(scratch.file_path("sessions.jsonl", text)).unwrap();
        prop_assert_eq!(&read, &sessions);
        let back = sessions::to_rows(read, &Arrivals::default()).unwrap();
        prop_assert_eq!(back.len(), named.len());
        for name in named.iter().map(|row| &row.session_id) {
            let of = |rows: &[Row]| -> Vec<(u32, u32, usize)> {
                let of_session = rows.iter().filter(|row| row.session_id == *name);
                of_session.map(|row| (row.input_length, row.output_length, row.hash_ids.len())).collect()
            };
            prop_assert_eq!(of(&named), of(&back));
        }
    }
}

#[test]
fn ids_that_are_too_large_are_refused() {
    let resize = Resize::new(8, 4).unwrap();
    let mut row = Row { input_length: 8, hash_ids: vec![u64::MAX / 2], ..Row::default() };
    let before = row.clone();
    assert!(matches!(resize.row(&mut row), Err(Reason::TooLargeId { .. })));
    assert_eq!(row, before);
    let largest = u64::MAX / 2 - 1;
    row.hash_ids = vec![largest];
    resize.row(&mut row).unwrap();
    assert_eq!(row.hash_ids, [2 * largest, 2 * largest + 1]);
    for (from, to) in [(8, 3), (8, 0), (0, 1), (4, 8)] {
        assert!(Resize::new(from, to).unwrap_err().to_string().starts_with("--to-block-size"), "{from} {to}");
    }
}

const RECORDED: &str = r#"{"id": "one", "block_size": 4, "models": ["m"], "hash_id_scope": "local", "requests": [
  {"t": 0.0, "type": "s", "in": 9, "out": 2, "hash_ids": [1, 2]},
  {"t": 2.5, "type": "subagent", "agent_id": "a", "requests": [
    {"t": 3.0, "type": "n", "in": 4, "out": 1, "hash_ids": [1]}, {"t": 4.0, "type": "n", "in": 8, "out": 1, "hash_ids": [1, 9]}]},
  {"t": 5.0, "type": "subagent", "agent_id": "b", "requests": [{"t": 0.5, "type": "n", "in": 4, "out": 1, "hash_ids": [7]}]},
  {"t": 6.0, "type": "n", "in": 12, "out": 3, "hash_ids": [1, 2, 3]}]}"#;

#[test]
fn recorded_sessions_become_rows() {
    let scratch = Scratch::new("recorded");
    let read = sessions::open(scratch.file_path("one.json", RECORDED)).unwrap();
    let rows = sessions::to_rows(read, &Arrivals::default()).unwrap();
    let converted: Vec<_> =
        rows.iter().map(|row| (row.timestamp, row.session_id.as_deref().unwrap(), row.input_length)).collect();
    assert_eq!(
        converted,
        [(0, "one", 9), (3000, "one/a", 4), (4000, "one/a", 8), (5500, "one/b", 4), (6000, "one", 12)],
        "the times of b count from its start"
    );
    assert_eq!(ids(&rows), [&[0, 1][..], &[0], &[0, 2], &[3], &[0, 1, 4]].map(<[u64]>::to_vec));

    let shared = |scope: &str| {
        let one = RECORDED.replace("local", scope);
        let two = one.replace("one", "two");
        let both = sessions::open(scratch.file_path("both.jsonl", format!("{one}\n{two}"))).unwrap();
        let rows = sessions::to_rows(both, &Arrivals { rate: 0.001, ..Arrivals::default() }).unwrap();
        assert!(rows.is_sorted_by_key(|row| row.timestamp));
        let of = |name: &str| -> HashSet<u64> {
            let of = rows.iter().filter(|row| row.session_id.as_deref().unwrap().starts_with(name));
            of.flat_map(|row| row.hash_ids.clone()).collect()
        };
        of("one").intersection(&of("two")).count()
    };
    assert_eq!((shared("local"), shared("global")), (0, 5));
}

#[test]
fn errors_name_the_bad_session() {
    let scratch = Scratch::new("bad-sessions");
    for (from, to, why) in [
        ("\"in\": 9", "\"in\": -9", ":2:"),
        ("\"hash_ids\": [1, 2]}", "\"hash_ids\": [1, 2}", ":2:"),
        ("\"block_size\": 4", "\"block_size\": 0", "block_size is 0"),
        ("\"t\": 2.5", "\"t\": -2.5", "the time -2.5 is out of range"),
        ("\"in\": 9", "\"in\": 13", "2 ids are too few for 13 tokens in blocks of 4"),
        ("\"in\": 9, ", "", "the request at 0 s lacks in or out"),
        ("\"in\": 8", "\"in\": 12", "2 ids are too few for 12 tokens"),
    ] {
        let path = scratch.file_path("bad.json", RECORDED.replacen(from, to, 1));
        let error = sessions::open(&path).expect_err(why).to_string();
        assert!(error.contains("bad.json") && error.contains(why), "{error}");
        assert!(error.contains("not a recorded session"), "{error}");
    }
    assert!(sessions::open(scratch.file_path("empty.json", "")).unwrap_err().to_string().contains("no rows"));
    let mixed = format!(r#"{RECORDED}{{"id": "eight", "block_size": 8, "requests": []}}"#);
    let read: Vec<Session> = sessions::open(scratch.file_path("mixed.json", mixed)).unwrap();
    assert!(sessions::to_rows(read, &Arrivals::default()).unwrap_err().to_string().contains("--block-size differs"));
    for arrivals in [Arrivals { rate: 0.0, ..Arrivals::default() }, Arrivals { pause: f64::NAN, ..Arrivals::default() }]
    {
        assert!(matches!(sessions::to_rows(Vec::new(), &arrivals), Err(ToolError::Option { .. })));
    }
}

#[test]
fn conversations_become_rows() {
    let sharegpt = r#"[{"id": "x", "conversations": [{"from": "human", "value": "ab"}, {"from": "gpt", "value": "cde"},
        {"from": "human", "value": "f"}, {"from": "gpt", "value": "g"}]}, {"conversations": []}]"#;
    let messages = r#"{"id": "x", "messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "cde"},
        {"role": "user", "content": "f"}, {"role": "assistant", "content": "g"}]} {"messages": []}"#;
    let scratch = Scratch::new("chats");
    let mut both = Vec::new();
    for text in [sharegpt, messages] {
        let read: Vec<Chat> = chats::open(scratch.file_path("chats.json", text)).unwrap();
        both.push(chats::to_rows(&read, &Tokenizer::Bytes, 2, &Arrivals::default()).unwrap());
    }
    assert_eq!(both[0], both[1]);
    let converted: Vec<_> = both[0].iter().map(|row| (row.input_length, row.output_length, &*row.hash_ids)).collect();
    assert_eq!(converted, [(2, 3, &[0][..]), (6, 1, &[0, 1, 2])], "the blocks are ab, cd and ef");
    assert_eq!(both[0][0].timestamp, 0);
    assert!(both[0][1].timestamp > 0 && both[0].iter().all(|row| row.session_id.as_deref() == Some("x")));

    for (text, why) in [("[{\"id\": 1}]", ":1:"), ("[]", "no rows"), ("nonsense", ":1:"), ("[{}] x", ":1:")] {
        let error = chats::open(scratch.file_path("bad.json", text)).expect_err(why).to_string();
        assert!(error.contains("bad.json") && error.contains(why), "{error}");
    }
}

fn job(from: Kind, input: PathBuf) -> Job {
    Job {
        inputs: vec![input],
        from,
        to: Kind::Rows,
        block_size: None,
        to_block_size: None,
        chain: false,
        tokenizer: "bytes".into(),
        arrivals: Arrivals::default(),
    }
}

fn lines(job: &Job) -> Result<Vec<Line>, ToolError> {
    let mut lines = Vec::new();
    convert(job, |line| {
        lines.push(line);
        Ok(())
    })?;
    Ok(lines)
}

#[test]
fn jobs_convert_between_kinds_and_refuse_what_does_not_fit() {
    let scratch = Scratch::new("jobs");
    let recorded = scratch.file_path("one.json", RECORDED);
    let small = Job { to_block_size: Some(2), ..job(Kind::Sessions, recorded.clone()) };
    let Line::Row(first) = &lines(&small).unwrap()[0] else { panic!("a row") };
    assert_eq!(first.hash_ids, [0, 1, 2, 3], "the last of nine tokens has no block");
    let again = Job { to: Kind::Sessions, ..job(Kind::Sessions, recorded.clone()) };
    assert_eq!(lines(&again).unwrap().len(), 3, "a session and its two sub-agents");

    let rows = traces::text(&[Row { input_length: 9, hash_ids: vec![5, 5, 5], ..Row::default() }]);
    let rows = scratch.file_path("rows.jsonl", rows);
    let chained = Job { block_size: Some(4), chain: true, ..job(Kind::Rows, rows.clone()) };
    let Line::Row(row) = &lines(&chained).unwrap()[0] else { panic!("a row") };
    assert_eq!(row.hash_ids, [0, 1, 2]);

    for (wrong, why) in [
        (Job { to: Kind::Chats, ..chained.clone() }, "--to cannot be chats"),
        (
            Job { block_size: Some(8), ..job(Kind::Sessions, recorded) },
            "--block-size is 8, but the sessions have blocks of 4",
        ),
        (Job { inputs: vec![rows.clone(), rows.clone()], ..chained.clone() }, "--from rows reads one file only"),
        (Job { to_block_size: Some(3), ..chained.clone() }, "--to-block-size does not fit"),
        (Job { block_size: Some(2), ..job(Kind::Rows, rows) }, "rows.jsonl:1: 3 ids are too few for 9 tokens"),
    ] {
        let error = lines(&wrong).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
}
