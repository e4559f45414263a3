//! `kvleap trace synthesize`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::trace::synth::scenario::{Kind, Parameters, Scenario};
use kvleap::trace::synth::{Limits, Model, Options};
use kvleap::trace::{Output, Row, ToolError, open};

use super::{guard, progress};

/// Make a trace like another one, or one from scratch.
///
/// From --input-file the tree of shared prefixes is learnt, and the distributions of unique prompts, answers and
/// arrivals; requests are then drawn from them. Statistics of the source are kept, however many requests are drawn.
/// With --generate no source is needed. Equal seeds give equal bytes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap trace synthesize --input-file conversation_trace.jsonl --output-file like_it.jsonl.gz
      100,000 requests like those of the trace.
  kvleap trace synthesize --input-file t.jsonl --speedup-ratio 4 --prefix-root-multiplier 2 --seed 7
      Four times as fast, under two disjoint sets of prefixes.
  kvleap trace synthesize --generate rag --zipf 1.2 --prefixes 50000 --rate 100 --num-requests 10000
      Questions about retrieved documents; no source.

Kinds of --generate, and what has a meaning for all of them: --prefixes, --prefix-tokens, --zipf, --prompt-tokens,
--output-tokens, --rate
  shared-prompts  one of 100 system prompts of 2,000 tokens, 200 tokens of the user
  conversations   20 system prompts of 1,000 tokens, 150 a turn; --turns 6, --pause 30, --max-context 32768
  rag             10,000 documents of 800 tokens, a question of 50; --retrieved 3, --system-tokens 500
  agents          4 prompts of 15,000 tokens, 700 a step; --turns 40, --pause 8, --max-context 131072, then compacted

Exit codes:
  0  done
  2  not done: bad input, or something failed")]
pub(super) struct Args {
    /// The trace to learn from, plain or compressed with gzip or zstd; - is standard input
    #[arg(long, value_name = "FILE", default_value = "mooncake_trace.jsonl")]
    input_file: PathBuf,

    /// Requests to make
    #[arg(long, value_name = "N", default_value_t = Options::default().num_requests)]
    num_requests: u64,

    /// Let time run this much faster
    #[arg(long, value_name = "RATIO", default_value_t = Options::default().speedup_ratio)]
    speedup_ratio: f64,

    /// Multiply the lengths of shared prefixes
    #[arg(long, value_name = "FACTOR", default_value_t = Options::default().prefix_len_multiplier)]
    prefix_len_multiplier: f64,

    /// Disjoint copies of the shared prefixes; each request picks one
    #[arg(long, value_name = "N", default_value_t = Options::default().prefix_root_multiplier)]
    prefix_root_multiplier: u32,

    /// Multiply the lengths of unique prompts
    #[arg(long, value_name = "FACTOR", default_value_t = Options::default().prompt_len_multiplier)]
    prompt_len_multiplier: f64,

    /// Multiply the lengths of answers
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().osl_multiplier)]
    osl_multiplier: f64,

    /// Leave out requests with shorter prompts
    #[arg(long, value_name = "TOKENS", default_value_t = Limits::default().min_isl)]
    min_isl: u32,

    /// Leave out requests with longer prompts [default: none]
    #[arg(long, value_name = "TOKENS")]
    max_isl: Option<u32>,

    /// Make shorter answers as long as this
    #[arg(long, value_name = "TOKENS", default_value_t = Limits::default().min_osl)]
    min_osl: u32,

    /// Make longer answers as short as this [default: none]
    #[arg(long, value_name = "TOKENS")]
    max_osl: Option<u32>,

    /// Tokens that one hash id stands for
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    block_size: u32,

    /// How many requests of the source may change places with each other
    #[arg(long, value_name = "N", default_value_t = Options::default().shuffle)]
    shuffle: u32,

    /// Equal seeds give equal traces
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// Where to write; compressed if the name ends in .gz, complete or not there; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output_file: PathBuf,

    /// Make requests of a kind, without a source
    #[arg(long, value_name = "KIND", value_parser = kind(), conflicts_with_all = [
        "input_file", "speedup_ratio", "prefix_len_multiplier", "prefix_root_multiplier", "prompt_len_multiplier",
        "shuffle",
    ])]
    generate: Option<Kind>,

    #[command(flatten)]
    scenario: ScenarioArgs,
}

#[derive(clap::Args, Default, PartialEq)]
#[command(next_help_heading = "With --generate; defaults by kind, see below")]
struct ScenarioArgs {
    /// Shared prompts, or documents
    #[arg(long, value_name = "N")]
    prefixes: Option<u32>,

    /// Their tokens, on average
    #[arg(long, value_name = "TOKENS")]
    prefix_tokens: Option<f64>,

    /// Exponent of their popularity: the one of rank k is picked in proportion to 1 / k^EXPONENT
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,

    /// New tokens of a request, on average
    #[arg(long, value_name = "TOKENS")]
    prompt_tokens: Option<f64>,

    /// Tokens of an answer, on average
    #[arg(long, value_name = "TOKENS")]
    output_tokens: Option<f64>,

    /// Requests a second, once as many sessions end as begin
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,

    /// Requests of a session, on average
    #[arg(long, value_name = "N")]
    turns: Option<f64>,

    /// Seconds between the requests of a session, on average
    #[arg(long, value_name = "SECONDS")]
    pause: Option<f64>,

    /// Tokens at which a conversation ends, or an agent's is compacted
    #[arg(long, value_name = "TOKENS")]
    max_context: Option<u32>,

    /// Documents of a request
    #[arg(long, value_name = "N")]
    retrieved: Option<u32>,

    /// Tokens of the prompt before them
    #[arg(long, value_name = "TOKENS")]
    system_tokens: Option<f64>,

    /// Documents of a request in an order of their own, instead of that of retrieval
    #[arg(long)]
    sorted: bool,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

pub(super) fn run(args: Args) -> Result<ExitCode, Box<dyn Error>> {
    let limits = Limits {
        min_isl: args.min_isl,
        max_isl: args.max_isl.unwrap_or(u32::MAX),
        osl_multiplier: args.osl_multiplier,
        min_osl: args.min_osl,
        max_osl: args.max_osl.unwrap_or(u32::MAX),
    };
    if let Some(kind) = args.generate {
        let scenario = Scenario::new(kind, &args.scenario.into(), args.block_size, limits, args.seed)?;
        let requests = scenario.requests(args.num_requests)?;
        write(requests, args.num_requests, &args.output_file)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.scenario != ScenarioArgs::default() {
        let why = "is missing: --prefixes, --zipf and the like are for it".to_owned();
        return Err(ToolError::Option { option: "--generate", why }.into());
    }
    let options = Options {
        num_requests: args.num_requests,
        speedup_ratio: args.speedup_ratio,
        prefix_len_multiplier: args.prefix_len_multiplier,
        prefix_root_multiplier: args.prefix_root_multiplier,
        prompt_len_multiplier: args.prompt_len_multiplier,
        limits,
        shuffle: args.shuffle,
        seed: args.seed,
    };
    options.check()?;
    let rows = open(&args.input_file)?;
    let read = rows.progress();
    let bar = progress::bytes(&read);
    let model = Model::learn(rows, args.block_size, |_| bar.set_position(read.read()));
    bar.finish_and_clear();
    let model = model?;
    write(model.requests(&options)?, args.num_requests, &args.output_file)?;
    Ok(ExitCode::SUCCESS)
}

fn write(requests: impl Iterator<Item = Result<Row, ToolError>>, total: u64, path: &Path) -> Result<(), ToolError> {
    let bar = progress::requests(total);
    let written = guard::write(Output::create(path)?, |output| {
        for row in requests {
            output.write(&row?)?;
            bar.inc(1);
        }
        Ok(())
    });
    bar.finish_and_clear();
    written
}

impl From<ScenarioArgs> for Parameters {
    fn from(args: ScenarioArgs) -> Self {
        Self {
            prefixes: args.prefixes,
            prefix_tokens: args.prefix_tokens,
            zipf: args.zipf,
            prompt_tokens: args.prompt_tokens,
            output_tokens: args.output_tokens,
            rate: args.rate,
            turns: args.turns,
            pause: args.pause,
            max_context: args.max_context,
            retrieved: args.retrieved,
            system_tokens: args.system_tokens,
            sorted: args.sorted.then_some(true),
        }
    }
}
