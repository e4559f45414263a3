//! The options of every experiment.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use kvleap::report::Theme;
use kvleap::route::policy;
use kvleap::sim::{
    Bursts, Change, Dimension, Incident, Knowledge, Mix, Options, Sessions, SimError, Source, Vary, Workload, World,
};

use crate::outputs;

/// The report's file unless the options name another.
const REPORT: &str = "simulate.html";

#[derive(clap::Args)]
pub(super) struct Values {
    /// Values to try, instead of the usual ones
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub(super) values: Vec<f64>,

    #[command(flatten)]
    pub(super) settings: Settings,
}

#[derive(clap::Args)]
pub(super) struct Settings {
    /// Traffic to generate: conversations, agents, rag, rag-sorted, shared-prompts, unique or hot-spot; or a mix of
    /// them by weight, as in rag=3,agents=1 [default: conversations]
    #[arg(long, value_name = "MIX", help_heading = "Workload")]
    workload: Option<Mix>,

    /// Trace to play instead, in the Mooncake format, plain or compressed with gzip or zstd; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "workload", help_heading = "Workload")]
    trace: Option<PathBuf>,

    /// Tokens that one hash id of the trace stands for; a multiple of --block-size
    #[arg(long, value_name = "TOKENS", default_value_t = 512, requires = "trace", help_heading = "Workload")]
    trace_block_size: u32,

    /// Requests to play [default: the whole trace; of generated traffic 10000, or 200 per worker if that is more]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    requests: Option<u64>,

    /// Requests per second, as a Poisson process, which replaces the times of a trace [default: the times of the trace;
    /// of generated traffic 4 per worker]
    #[arg(long, value_name = "RATE", help_heading = "Workload")]
    rate: Option<f64>,

    /// Play the trace's own times FACTOR times as fast
    #[arg(long, value_name = "FACTOR", help_heading = "Workload")]
    speedup: Option<f64>,

    /// Whether the next request of a session waits for the previous answer (closed) or not (open) [default: open for a
    /// trace, closed for generated traffic]
    #[arg(long, value_name = "WHEN", value_parser = sessions(), help_heading = "Workload")]
    sessions: Option<Sessions>,

    /// Let requests come for ON seconds, as many as otherwise in ON + OFF seconds, and then none for OFF seconds
    #[arg(long, value_name = "ON,OFF", value_parser = bursts, help_heading = "Workload")]
    burst: Option<Bursts>,

    /// Models in the fleet; worker w serves model w % MODELS, and every session asks for one
    #[arg(long, value_name = "MODELS", default_value_t = 1, help_heading = "Workload")]
    models: u32,

    /// Adapters of each model; equal tokens under different adapters are different blocks
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Workload")]
    adapters: u32,

    /// Workers in the fleet [default: 8]
    #[arg(long, value_name = "N", help_heading = "Fleet")]
    workers: Option<u32>,

    /// Model and accelerator of a worker: MODEL@GPU, or MODEL@GPUxN
    #[arg(long, value_name = "PROFILE", default_value_t = Options::default().profile, help_heading = "Fleet")]
    profile: String,

    /// Tokens in a block of the workers and of the index [default: 64]
    #[arg(long, value_name = "TOKENS", help_heading = "Fleet")]
    block_size: Option<u32>,

    /// Blocks that each worker's cache has room for [default: what the profile has memory for]
    #[arg(long, value_name = "BLOCKS", help_heading = "Fleet")]
    blocks: Option<u32>,

    /// Policies to compare [default: all for compare; cost for temperature; round-robin, least-loaded, longest-prefix
    /// and cost for other experiments]
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', value_parser = policies(), help_heading = "Router")]
    policy: Vec<String>,

    /// What the router knows of caches: the workers' events; events, and its own predictions until they come; or only
    /// its own decisions
    #[arg(long, value_name = "SOURCE", default_value = "events", value_parser = knowledge(), help_heading = "Router")]
    knowledge: Knowledge,

    /// Weight of a block to compute in the policy cost; a block in use weighs 1 [default: 8]
    #[arg(long, value_name = "WEIGHT", help_heading = "Router")]
    prefill_weight: Option<f64>,

    /// Temperature of the policy cost, in blocks; 0 always takes the cheapest worker [default: 0]
    #[arg(long, value_name = "BLOCKS", help_heading = "Router")]
    temperature: Option<f64>,

    /// Seconds that every event takes to reach the router [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "World")]
    lag: Option<Duration>,

    /// Seconds that are added to the lag: up to this many, evenly distributed
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = "World")]
    jitter: Duration,

    /// Share of the events that are lost, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "World")]
    loss: f64,

    /// Share of the events that arrive twice, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "World")]
    duplication: f64,

    /// Let a worker die, SECONDS from the beginning, and come back with an empty cache; may be given again
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Restart), help_heading = "World")]
    restart: Vec<Incident>,

    /// Let a worker die; may be given again
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Leave), help_heading = "World")]
    leave: Vec<Incident>,

    /// Let a worker join, for instance one beyond --workers; may be given again
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Join), help_heading = "World")]
    join: Vec<Incident>,

    /// Let a worker's steps take FACTOR times as long as usual; may be given again
    #[arg(long, value_name = "SECONDS:WORKER:FACTOR", value_parser = slow, help_heading = "World")]
    slow: Vec<Incident>,

    /// Times that a request is retried when its worker dies [default: 3]
    #[arg(long, value_name = "N", help_heading = "World")]
    retries: Option<u32>,

    /// Seed of everything random; equal seeds give equal reports
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// File for the page with the charts, one HTML file; replaces a file of that name
    #[arg(long, value_name = "FILE", default_value = REPORT)]
    report: PathBuf,

    /// Draw the charts as .svg or .png, too; may be given again
    #[arg(long, value_name = "FILE")]
    pub(super) figure: Vec<PathBuf>,

    /// Colours of the figures
    #[arg(long, default_value = Theme::Light.name(), value_parser = outputs::theme())]
    pub(super) theme: Theme,

    /// Write no page
    #[arg(long, conflicts_with = "report")]
    no_report: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    pub(super) json: bool,

    /// Print all columns of the table, however wide it gets
    #[arg(long)]
    pub(super) wide: bool,
}

impl Settings {
    /// Refuses options that set what the experiment varies.
    pub(super) fn check_varied(&self, vary: &[Vary]) -> Result<(), SimError> {
        for vary in vary {
            let (option, given) = match vary {
                Vary::Policies(_) => ("--policy", !self.policy.is_empty()),
                Vary::Along(Dimension::BlockSize, _) => ("--block-size", self.block_size.is_some()),
                Vary::Along(Dimension::Workers, _) => ("--workers", self.workers.is_some()),
                Vary::Along(Dimension::Blocks, _) => ("--blocks", self.blocks.is_some()),
                Vary::Along(Dimension::Lag, _) => ("--lag", self.lag.is_some()),
                Vary::Along(Dimension::Rate, _) => ("--rate", self.rate.is_some()),
                Vary::Along(Dimension::Temperature, _) => ("--temperature", self.temperature.is_some()),
                Vary::Along(Dimension::PrefillWeight, _) => ("--prefill-weight", self.prefill_weight.is_some()),
            };
            if given {
                let why = "is set, and is what the experiment varies: leave it out".to_owned();
                return Err(SimError::Option { option, why });
            }
        }
        Ok(())
    }

    /// Fills in the policies that an experiment compares unless it is told others.
    pub(super) fn default_policies(&mut self, experiment: &str) {
        if self.policy.is_empty() {
            let policies: &[&str] = match experiment {
                "compare" => &policy::NAMES,
                "temperature" => &["cost"],
                _ => &["round-robin", "least-loaded", "longest-prefix", "cost"],
            };
            self.policy = policies.iter().map(ToString::to_string).collect();
        }
    }

    pub(super) fn options(&self) -> Result<Options, SimError> {
        let defaults = Options::default();
        let source = match &self.trace {
            Some(path) => Source::Trace { path: path.clone(), block_size: self.trace_block_size },
            None => self.workload.clone().map_or(Workload::default().source, Source::Mix),
        };
        let workload = Workload {
            source,
            requests: self.requests,
            rate: self.rate,
            speedup: self.speedup,
            sessions: self.sessions,
            bursts: self.burst,
            models: self.models,
            adapters: self.adapters,
        };
        let world = World {
            delay: self.lag.unwrap_or_default(),
            jitter: self.jitter,
            loss: self.loss,
            duplication: self.duplication,
            incidents: [&self.restart, &self.leave, &self.join, &self.slow].into_iter().flatten().copied().collect(),
            retries: self.retries,
        };
        Ok(Options {
            workload,
            workers: self.workers.unwrap_or(defaults.workers),
            profile: self.profile.clone(),
            block_size: self.block_size.unwrap_or(defaults.block_size),
            blocks: self.blocks,
            latency: None,
            world,
            policies: self.policy.iter().map(|name| Options::policy(name)).collect::<Result<_, _>>()?,
            knowledge: self.knowledge,
            prefill_weight: self.prefill_weight.unwrap_or(defaults.prefill_weight),
            temperature: self.temperature.unwrap_or(defaults.temperature),
            seed: self.seed,
        })
    }

    /// Checks that results can go where they should.
    pub(super) fn check_files(&self) -> Result<(), Box<dyn Error>> {
        self.report_file().map_or(Ok(()), outputs::check)?;
        self.figure.iter().try_for_each(|path| outputs::check_figure(path))
    }

    /// Returns the file for the page, if there is to be one.
    pub(super) fn report_file(&self) -> Option<&Path> {
        (!self.no_report).then_some(&self.report)
    }
}

fn sessions() -> impl TypedValueParser<Value = Sessions> {
    PossibleValuesParser::new(["open", "closed"])
        .map(|name| if name == "open" { Sessions::Open } else { Sessions::Closed })
}

fn knowledge() -> impl TypedValueParser<Value = Knowledge> {
    PossibleValuesParser::new(Knowledge::ALL.map(Knowledge::name)).try_map(|name| name.parse::<Knowledge>())
}

fn policies() -> PossibleValuesParser {
    PossibleValuesParser::new(policy::NAMES)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn bursts(text: &str) -> Result<Bursts, String> {
    let (on, off) = text.split_once(',').ok_or("write ON,OFF, in seconds")?;
    Ok(Bursts { on: seconds(on)?, off: seconds(off)? })
}

/// Parses `SECONDS:WORKER`.
fn incident(change: Change) -> impl Fn(&str) -> Result<Incident, String> + Clone {
    move |text| {
        let (at, worker) = text.split_once(':').ok_or("write SECONDS:WORKER")?;
        Ok(Incident { at: seconds(at)?, worker: number(worker)?, change })
    }
}

/// Parses `SECONDS:WORKER:FACTOR`.
fn slow(text: &str) -> Result<Incident, String> {
    let (rest, factor) = text.rsplit_once(':').ok_or("write SECONDS:WORKER:FACTOR")?;
    incident(Change::Slow(number(factor)?))(rest)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not such a number"))
}
