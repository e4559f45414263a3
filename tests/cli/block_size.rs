//! The block size of a trace: every command that reads one refuses a wrong size, and names the right one.

use std::process::Command;

use crate::common::scratch::Scratch;
use crate::common::shared;

/// Rows in blocks of 512 tokens.
const ROWS: &str = r#"{"timestamp": 0, "input_length": 1500, "output_length": 40, "hash_ids": [0, 1, 2]}
{"timestamp": 5, "input_length": 1100, "output_length": 600, "hash_ids": [0, 1, 3]}
{"timestamp": 9, "input_length": 512, "output_length": 1, "hash_ids": [4]}
"#;

/// Every command that reads a trace. The trace and its block size take the places of TRACE and SIZE, and a file in a
/// scratch directory that of OUT.
const COMMANDS: [&str; 9] = [
    "replay --trace TRACE --trace-block-size SIZE --block-size SIZE --record OUT",
    "simulate --trace TRACE --trace-block-size SIZE --block-size SIZE --policy random --report OUT",
    "sweep --trace TRACE --trace-block-size SIZE --block-size SIZE --out OUT",
    "figures --only 1 --theme light --trace TRACE --block-size SIZE --out OUT",
    "trace analyze TRACE --block-size SIZE --figure OUT.svg",
    "trace synthesize --trace TRACE --block-size SIZE --requests 10 --out OUT",
    "trace convert --from rows TRACE --block-size SIZE --out OUT",
    "trace convert --from rows TRACE --block-size SIZE --to-block-size 1 --chain --out OUT",
    "trace convert --from rows TRACE --block-size SIZE --to sessions --out OUT",
];

/// Runs a command that must refuse the trace in blocks of this size, and returns what it prints.
fn refusal(command: &str, trace: &str, size: u32) -> String {
    let scratch = Scratch::new("block-size");
    let (size, out) = (size.to_string(), scratch.path("out"));
    let words = command.split(' ').map(|word| word.replace("TRACE", trace).replace("SIZE", &size).replace("OUT", &out));
    let output = Command::new(env!("CARGO_BIN_EXE_kvleap")).args(words).output().expect("the command runs");
    let text = crate::refusal(&output);
    let files = scratch.names().iter().filter(|name| !scratch.0.join(name).is_dir()).count();
    assert_eq!(files, 0, "{command}: {:?}", scratch.names());
    text
}

#[test]
fn every_command_refuses_a_wrong_block_size_and_names_the_right_one() {
    let scratch = Scratch::new("rows");
    let trace = scratch.file("t.jsonl", ROWS);
    for command in COMMANDS {
        for (size, why) in [
            (16, "3 ids are too few for 1500 tokens in blocks of 16"),
            (256, "3 ids are too few for 1500 tokens in blocks of 256"),
            (1024, "3 ids are too many for 1500 tokens in blocks of 1024"),
            (4096, "3 ids are too many for 1500 tokens in blocks of 4096"),
        ] {
            let text = refusal(command, &trace, size);
            let advice = ": the block size is wrong; blocks of 512 tokens fit all of the first 3 rows\n";
            assert_eq!(text, format!("error: {trace}:1: {why}{advice}"), "{command}");
        }
    }
}

#[test]
fn a_trace_of_agents_is_refused_in_the_blocks_of_most_traces() {
    let Some(trace) = shared::shared("traces/agentic_dev.jsonl.gz") else { return };
    for command in COMMANDS {
        let text = refusal(command, trace.to_str().expect("UTF-8"), 512);
        assert!(text.contains("agentic_dev.jsonl.gz:1: ") && text.contains("blocks of 64 tokens fit"), "{text}");
    }
}
