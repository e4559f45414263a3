//! `kvleap publish`.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use kvleap::service::publish::{Form, MockPublisher, Options};

/// Publish events as an engine would: a mock engine behind real sockets, in vLLM's wire format.
///
/// Every rank plays conversations of many turns under shared system prompts, and publishes what its cache stores and
/// evicts until Ctrl-C. `ready` on stdout says that the sockets are bound. The line `pause` on stdin ends the requests,
/// writes the state, and is answered by `paused`; what was said can still be asked for.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap publish
      One engine at tcp://127.0.0.1:5557, to be asked at tcp://127.0.0.1:5657. In another terminal: kvleap serve, and
      curl -d '{\"instance_id\": 1, \"model_name\": \"mock\", \"block_size\": 16, \"endpoint\": \"tcp://127.0.0.1:5557\",
      \"replay_endpoint\": \"tcp://127.0.0.1:5657\"}' -H 'content-type: application/json' http://127.0.0.1:8090/register
  kvleap publish --ranks 4 --form array --rate 100
      Four data-parallel ranks at ports 5557 to 5560, positional events.
  kvleap publish --drop 0.05 --state engine.json
      One batch in twenty is left unsaid and has to be asked for; at the end, what the engine holds goes to a file.

Exit codes:
  0  ended when it was told to
  2  did not start: an option is bad, or an endpoint is taken; or the state could not be written")]
pub(crate) struct Args {
    /// Where rank 0 publishes; other ranks use the ports after it
    #[arg(long, value_name = "ENDPOINT", default_value_t = Options::default().endpoint)]
    endpoint: String,

    /// Where rank 0 answers for what was missed
    #[arg(long, value_name = "ENDPOINT", default_value = "tcp://127.0.0.1:5657")]
    replay_endpoint: String,

    /// Topic of all messages
    #[arg(long, default_value = "")]
    topic: String,

    /// How events look: map, as vLLM 0.24 and later has them, or array, as before
    #[arg(long, default_value = Options::default().form.name(), value_parser = form())]
    form: Form,

    /// Data-parallel ranks
    #[arg(long, value_name = "N", default_value_t = Options::default().ranks)]
    ranks: u16,

    /// Tokens in a block
    #[arg(long, value_name = "TOKENS", default_value_t = Options::default().block_size)]
    block_size: u32,

    /// Blocks that a rank can hold
    #[arg(long, value_name = "N", default_value_t = Options::default().blocks)]
    blocks: u32,

    /// Requests that a rank serves in a second
    #[arg(long, value_name = "N", default_value_t = Options::default().rate)]
    rate: f64,

    /// Requests that a rank serves in all; it goes on answering then [default: no end]
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Share of the batches, 0 to 1, that are not said but can be asked for
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().drop)]
    drop: f64,

    /// Batches that can be asked for
    #[arg(long, value_name = "N", default_value_t = Options::default().buffer_steps)]
    buffer_steps: usize,

    /// Seed of requests, names of blocks and drops
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// Write what the engine holds, when it is paused and when it ends, as JSON; complete or not there
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

/// What the outside wants.
enum Wish {
    Pause,
    End,
}

pub(crate) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let publisher = MockPublisher::start(args.into())?;
    let (sender, wishes) = channel();
    let end = sender.clone();
    // Nobody listens any more when a wish cannot be sent.
    ctrlc::set_handler(move || drop(end.send(Wish::End)))?;
    std::thread::spawn(move || {
        let lines = io::stdin().lines().map_while(Result::ok);
        lines.filter(|line| line == "pause").try_for_each(|_| sender.send(Wish::Pause))
    });
    writeln!(io::stdout(), "ready")?;
    let style = ProgressStyle::with_template("{spinner} {msg}").expect("the template is well-formed");
    let bar = ProgressBar::new_spinner().with_style(style);
    loop {
        match wishes.recv_timeout(Duration::from_millis(200)) {
            Ok(Wish::Pause) => {
                publisher.pause()?;
                writeln!(io::stdout(), "paused")?;
            }
            Ok(Wish::End) | Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let totals = publisher.published();
                bar.set_message(format!(
                    "{} batches, {} of them left unsaid, {} blocks stored and removed",
                    totals.batches, totals.dropped, totals.blocks
                ));
                bar.tick();
            }
        }
    }
    bar.finish_and_clear();
    publisher.stop()?;
    Ok(ExitCode::SUCCESS)
}
