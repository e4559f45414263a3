//! `kvleap trace synthesize`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::trace::synth::scenario::{Kind, Parameters, Scenario};
use kvleap::trace::synth::{Limits, Model, Options};
use kvleap::trace::{BLOCK_SIZE, Output, Row, ToolError, open};

use super::filled;
use crate::{Outcome, progress};

/// Make a trace like another one, or one from scratch.
///
/// From --trace, it learns the tree of shared prefixes, and the distributions of unique prompts, answers and arrivals;
/// requests are then drawn from them. The statistics of the source are kept, however many requests are drawn. With
/// --generate, no source is needed. Equal seeds give equal bytes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kvleap trace synthesize --trace conversation_trace.jsonl --out like_it.jsonl.gz
      100,000 requests like those of the trace.
  kvleap trace synthesize --trace t.jsonl --speedup-ratio 4 \\
      --prefix-root-multiplier 2 --seed 7
      Four times as fast, under two disjoint sets of prefixes.
  kvleap trace synthesize --generate rag --zipf 1.2 --prefixes 50000 --rate 100 \\
      --requests 10000
      Questions about retrieved documents; no source.

The options of Dynamo's datagen work, too: --input-file for --trace,
--output-file for --out, --num-requests for --requests. ISL and OSL are the
lengths of prompt and answer (input and output sequence length).

Kinds of --generate. All of them take --prefixes, --prefix-tokens, --zipf,
--prompt-tokens, --output-tokens and --rate:
  shared-prompts  one of 100 system prompts of 2,000 tokens, and 200 tokens of
                  the user
  conversations   20 system prompts of 1,000 tokens, 150 tokens a turn; --turns
                  6, --pause 30, --max-context 32768
  rag             10,000 documents of 800 tokens, a question of 50; --retrieved
                  3, --system-tokens 500
  agents          4 prompts of 15,000 tokens, 700 tokens a step; --turns 40,
                  --pause 8, --max-context 131072, then compacted

Exit codes:
  0  done
  2  not done: bad input, or something failed
  130  interrupted; no file is left")]
pub(super) struct Args {
    /// Trace to learn from, in the Mooncake format, plain or compressed with gzip or zstd; - is standard input
    #[arg(long, value_name = "FILE", alias = "input-file", default_value = "mooncake_trace.jsonl")]
    trace: PathBuf,

    /// Requests to make
    #[arg(long, value_name = "N", alias = "num-requests", default_value_t = Options::default().num_requests)]
    requests: u64,

    /// Let time run RATIO times as fast
    #[arg(long, value_name = "RATIO", default_value_t = Options::default().speedup_ratio)]
    speedup_ratio: f64,

    /// Multiply the lengths of shared prefixes
    #[arg(long, value_name = "FACTOR", default_value_t = Options::default().prefix_len_multiplier)]
    prefix_len_multiplier: f64,

    /// Disjoint copies of the shared prefixes, of which each request picks one
    #[arg(long, value_name = "N", default_value_t = Options::default().prefix_root_multiplier)]
    prefix_root_multiplier: u32,

    /// Multiply the lengths of unique prompts
    #[arg(long, value_name = "FACTOR", default_value_t = Options::default().prompt_len_multiplier)]
    prompt_len_multiplier: f64,

    /// Multiply the lengths of answers
    #[arg(long, value_name = "FACTOR", default_value_t = Limits::default().osl_multiplier)]
    osl_multiplier: f64,

    /// Leave out requests with prompts shorter than this
    #[arg(long, value_name = "TOKENS", default_value_t = Limits::default().min_isl)]
    min_isl: u32,

    /// Leave out requests with prompts longer than this [default: no limit]
    #[arg(long, value_name = "TOKENS")]
    max_isl: Option<u32>,

    /// Lengthen shorter answers to this
    #[arg(long, value_name = "TOKENS", default_value_t = Limits::default().min_osl)]
    min_osl: u32,

    /// Cut longer answers to this [default: no limit]
    #[arg(long, value_name = "TOKENS")]
    max_osl: Option<u32>,

    /// Tokens that one hash id of the trace stands for
    #[arg(long, value_name = "TOKENS", alias = "trace-block-size", default_value_t = BLOCK_SIZE)]
    block_size: u32,

    /// Requests of the source, in a row, that may change places with each other
    #[arg(long, value_name = "N", default_value_t = Options::default().shuffle)]
    shuffle: u32,

    /// Seed of everything random; equal seeds give equal traces
    #[arg(long, value_name = "SEED", default_value_t = Options::default().seed)]
    seed: u64,

    /// File for the new trace, compressed if the name ends in .gz, and renamed into place when complete; - is standard
    /// output
    #[arg(long, value_name = "FILE", alias = "output-file", default_value = "-")]
    out: PathBuf,

    /// Make requests of this kind, without a source
    #[arg(long, value_name = "KIND", value_parser = kind(), conflicts_with_all = [
        "trace", "speedup_ratio", "prefix_len_multiplier", "prefix_root_multiplier", "prompt_len_multiplier",
        "shuffle",
    ])]
    generate: Option<Kind>,

    #[command(flatten)]
    scenario: ScenarioArgs,
}

#[derive(clap::Args, Default, PartialEq)]
#[command(next_help_heading = "With --generate (the defaults depend on the kind, see below)")]
struct ScenarioArgs {
    /// Number of shared prompts, or of documents
    #[arg(long, value_name = "N")]
    prefixes: Option<u32>,

    /// Tokens of a shared prompt, or of a document, on average
    #[arg(long, value_name = "TOKENS")]
    prefix_tokens: Option<f64>,

    /// Exponent of Zipf's law for their popularity: the k-th is picked in proportion to 1 / k^EXPONENT
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,

    /// New tokens of a request, on average
    #[arg(long, value_name = "TOKENS")]
    prompt_tokens: Option<f64>,

    /// Tokens of an answer, on average
    #[arg(long, value_name = "TOKENS")]
    output_tokens: Option<f64>,

    /// Requests per second, once as many sessions end as begin
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

    /// Documents that a request retrieves
    #[arg(long, value_name = "N")]
    retrieved: Option<u32>,

    /// Tokens of the system prompt before the documents
    #[arg(long, value_name = "TOKENS")]
    system_tokens: Option<f64>,

    /// Put the documents of a request in a fixed order, instead of the order of retrieval
    #[arg(long)]
    sorted: bool,
}

fn kind() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse::<Kind>())
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let limits = Limits {
            min_isl: self.min_isl,
            max_isl: self.max_isl.unwrap_or(u32::MAX),
            osl_multiplier: self.osl_multiplier,
            min_osl: self.min_osl,
            max_osl: self.max_osl.unwrap_or(u32::MAX),
        };
        if let Some(kind) = self.generate {
            let scenario = Scenario::new(kind, &self.scenario.into(), self.block_size, limits, self.seed)?;
            let requests = scenario.requests(self.requests)?;
            write(requests, self.requests, &self.out)?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.scenario != ScenarioArgs::default() {
            let why = "is missing: --prefixes, --zipf and the like belong to it".to_owned();
            return Err(ToolError::Option { option: "--generate", why }.into());
        }
        let options = Options {
            num_requests: self.requests,
            speedup_ratio: self.speedup_ratio,
            prefix_len_multiplier: self.prefix_len_multiplier,
            prefix_root_multiplier: self.prefix_root_multiplier,
            prompt_len_multiplier: self.prompt_len_multiplier,
            limits,
            shuffle: self.shuffle,
            seed: self.seed,
        };
        options.check()?;
        let rows = open(&self.trace, self.block_size)?;
        let read = rows.progress();
        let bar = progress::bytes(read.total());
        let model = Model::learn(rows, |_| bar.set_position(read.read()));
        bar.finish_and_clear();
        write(model?.requests(&options)?, self.requests, &self.out)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write(requests: impl Iterator<Item = Result<Row, ToolError>>, total: u64, path: &Path) -> Result<(), ToolError> {
    let bar = progress::counted("requests");
    bar.set_length(total);
    let written = filled(Output::create(path)?, |output| {
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
