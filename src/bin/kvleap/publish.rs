//! `kvleap publish`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::replay::Workload;
use kvleap::service::mock_publisher::{Form, MockPublisher, Options, tokens};
use serde_json::{Value, json};

use crate::{Outcome, numbers, progress};

/// Publish KV events as vLLM would, from simulated engines behind real sockets.
///
/// Every data-parallel rank plays conversations of many turns under shared system prompts, and publishes what its cache
/// stores and evicts, until Ctrl-C. It prints `ready` when the sockets are bound. A line `pause` on standard input ends
/// the requests and writes the state; it prints `paused` then. Batches can still be asked for after that.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap publish
      One engine at tcp://127.0.0.1:5557, with replay at tcp://127.0.0.1:5657.
      It prints how to register it with a kvleap serve, and a query that hits.
  kvleap publish --ranks 4 --form array --rate 100
      Four data-parallel ranks at ports 5557 to 5560, events as arrays.
  kvleap publish --drop 0.05 --state engine.json
      One batch in twenty is not sent and has to be asked for; at the end, what
      the engine holds goes to a file.

Defaults:
  One worker with 4096 blocks of 16 tokens, the block size that vLLM uses if not
  told otherwise. The other commands simulate larger fleets, and say so.

Exit codes:
  0  ended when it was told to
  2  did not start: an option is bad, or an endpoint is taken; or the state
     could not be written")]
pub(crate) struct Args {
    /// Endpoint at which rank 0 publishes; the other ranks use the ports after it
    #[arg(long, value_name = "ENDPOINT", default_value_t = Options::default().endpoint)]
    endpoint: String,

    /// Endpoint at which rank 0 sends batches again that were missed; the other ranks use the ports after it
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5657")]
    replay_endpoint: String,

    /// Topic of all messages [default: empty]
    #[arg(long, value_name = "TOPIC", default_value = "", hide_default_value = true)]
    topic: String,

    /// Form of the events: map, as in vLLM 0.24 and later, or array, as before
    #[arg(long, default_value = Options::default().form.name(), value_parser = form())]
    form: Form,

    /// Data-parallel ranks, each of which is a worker
    #[arg(long, value_name = "N", default_value_t = Options::default().ranks)]
    ranks: u16,

    /// Tokens in a block
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().block_size)]
    block_size: u32,

    /// Blocks that each worker's cache has room for
    #[arg(long, value_name = "BLOCKS", default_value_t = Options::default().blocks)]
    blocks: u32,

    /// Requests per second that each rank serves
    #[arg(long, value_name = "RATE", default_value_t = Options::default().rate)]
    rate: f64,

    /// Requests that each rank serves in all; after that it still sends batches again [default: no end]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Share of the batches, 0 to 1, that are not sent but can be asked for
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().drop)]
    drop: f64,

    /// Batches that are kept, to be sent again
    #[arg(long, value_name = "N", default_value_t = Options::default().buffer_steps)]
    buffer_steps: usize,

    /// Seed of requests, sequence hashes and drops
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// Write what the engine holds as JSON, when it is paused and when it ends; renamed into place when complete
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

fn form() -> impl TypedValueParser<Value = Form> {
    let of = |name: String| Form::ALL.into_iter().find(|form| form.name() == name).expect("a possible value");
    PossibleValuesParser::new(Form::ALL.map(Form::name)).map(of)
}

impl From<Args> for Options {
    fn from(args: Args) -> Self {
        Self {
            endpoint: args.endpoint,
            replay: Some(args.replay_endpoint),
            topic: args.topic,
            form: args.form,
            ranks: args.ranks,
            block_size: args.block_size,
            blocks: args.blocks,
            rate: args.rate,
            requests: args.requests,
            drop: args.drop,
            buffer_steps: args.buffer_steps,
            seed: args.seed,
            state: args.state,
        }
    }
}

/// Says how to register rank 0 with a service on this machine, and how to ask for a block that it stores.
///
/// The prompts of all engines begin with the same few system prompts. The block is the first of the most popular one,
/// which every engine has cached after a few requests.
fn introduction(options: &Options) -> String {
    let mut firsts = HashMap::new();
    let requests = Workload::new(0, options.block_size).take(100);
    for first in requests.filter_map(|request| request.prompt.first().copied()) {
        *firsts.entry(first).or_insert(0) += 1;
    }
    let curl = |path: &str, body: &Value| {
        format!("  curl localhost:8090/{path} -H 'content-type: application/json' -d '{body}'\n")
    };
    let mut text =
        "to register this engine with a kvleap serve on this machine, and to ask for a prompt that it serves:\n"
            .to_owned();
    text += &curl(
        "register",
        &json!({
            "instance_id": 1,
            "model_name": "mock",
            "block_size": options.block_size,
            "endpoint": options.endpoint,
            "replay_endpoint": options.replay,
        }),
    );
    if let Some((&first, _)) = firsts.iter().max_by_key(|&(&first, &times)| (times, first)) {
        text += &curl("query", &json!({ "model_name": "mock", "token_ids": tokens(first, options.block_size) }));
    }
    if options.ranks > 1 {
        let last = options.ranks - 1;
        // Writing to a string does not fail.
        let _ = writeln!(text, "ranks 1 to {last} are registered with their dp_rank and the ports after these");
    }
    text
}

/// What the process is told to do.
enum Order {
    Pause,
    End,
}

impl Args {
    pub(crate) fn run(self) -> Outcome {
        let options = Options::from(self);
        let introduction = introduction(&options);
        let publisher = MockPublisher::start(options)?;
        let (sender, orders) = channel();
        let end = sender.clone();
        // When an order cannot be sent, nobody listens any more: the process is ending.
        ctrlc::set_handler(move || drop(end.send(Order::End)))?;
        std::thread::spawn(move || {
            let lines = io::stdin().lines().map_while(Result::ok);
            lines.filter(|line| line == "pause").try_for_each(|_| sender.send(Order::Pause))
        });
        writeln!(io::stdout(), "ready")?;
        // For people, not for programs that wait for `ready`: these read standard output.
        let _ = write!(io::stderr(), "{introduction}");
        let bar = progress::spinner("publishing");
        loop {
            match orders.recv_timeout(Duration::from_millis(200)) {
                Ok(Order::Pause) => {
                    publisher.pause()?;
                    writeln!(io::stdout(), "paused")?;
                }
                Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let totals = publisher.published();
                    bar.set_message(format!(
                        "{} batches, {} of them not sent, {} blocks stored and removed",
                        numbers::count(totals.batches),
                        numbers::count(totals.dropped),
                        numbers::count(totals.blocks)
                    ));
                }
            }
        }
        bar.finish_and_clear();
        publisher.stop()?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_introduction_registers_the_engine_and_asks_for_one_block() {
        let options = Options { endpoint: "tcp://127.0.0.1:7001".to_owned(), ranks: 3, ..Options::default() };
        let text = introduction(&options);
        let bodies: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line.split_once("-d '")?.1.strip_suffix('\'')?).ok())
            .collect();
        let [register, query] = &bodies[..] else { panic!("two commands: {text}") };
        assert_eq!((&register["endpoint"], &register["block_size"]), (&json!("tcp://127.0.0.1:7001"), &json!(16)));
        assert_eq!(query["token_ids"].as_array().map(Vec::len), Some(16));
        assert!(text.contains("ranks 1 to 2"), "{text}");
    }
}
