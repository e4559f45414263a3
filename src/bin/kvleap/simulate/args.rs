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

/// What the report is called unless the options say otherwise.
const REPORT: &str = "simulate.html";

#[derive(clap::Args)]
pub(super) struct Values {
    /// The values, instead of the usual ones
    #[arg(long, value_name = "A,B,...", value_delimiter = ',')]
    pub(super) values: Vec<f64>,

    #[command(flatten)]
    pub(super) settings: Settings,
}

#[derive(clap::Args)]
pub(super) struct Settings {
    /// Traffic to make up: conversations, agents, rag, rag-sorted, shared-prompts, unique or hot-spot; mixed by
    /// weight, as in rag=3,agents=1 [default: conversations]
    #[arg(long, value_name = "MIX", help_heading = "Workload")]
    workload: Option<Mix>,

    /// Trace to play instead: Mooncake format, plain, gzip or zstd
    #[arg(long, value_name = "FILE", conflicts_with = "workload", help_heading = "Workload")]
    trace: Option<PathBuf>,

    /// Tokens in a block of the trace; a multiple of --block-size
    #[arg(long, value_name = "TOKENS", default_value_t = 512, requires = "trace", help_heading = "Workload")]
    trace_block_size: u32,

    /// Requests [default: the whole trace; of others 10000, or 200 for every worker if that is more]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    requests: Option<u64>,

    /// Requests a second; a trace's times are then made anew, as a Poisson process [default: the times of the trace; of
    /// others 4 for every worker]
    #[arg(long, value_name = "RATE", help_heading = "Workload")]
    rate: Option<f64>,

    /// The times of the trace, so many times as fast
    #[arg(long, value_name = "FACTOR", help_heading = "Workload")]
    speedup: Option<f64>,

    /// Whether the next request of a session waits for the answer before (closed) or not (open) [default: open for a
    /// trace, closed for others]
    #[arg(long, value_name = "WHEN", value_parser = sessions(), help_heading = "Workload")]
    sessions: Option<Sessions>,

    /// Requests come for ON seconds, as many as otherwise in ON + OFF, then none for OFF seconds
    #[arg(long, value_name = "ON,OFF", value_parser = bursts, help_heading = "Workload")]
    burst: Option<Bursts>,

    /// Models; worker w serves model w % MODELS, and every session asks for one
    #[arg(long, value_name = "MODELS", default_value_t = 1, help_heading = "Workload")]
    models: u32,

    /// Adapters of each model; equal tokens under different ones are different blocks
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Workload")]
    adapters: u32,

    /// Workers in the fleet [default: 8]
    #[arg(long, value_name = "N", help_heading = "Fleet")]
    workers: Option<u32>,

    /// Model and accelerator of a worker: MODEL@GPU, or MODEL@GPUxN
    #[arg(long, value_name = "PROFILE", default_value_t = Options::default().profile, help_heading = "Fleet")]
    profile: String,

    /// Tokens in a block [default: 64]
    #[arg(long, value_name = "TOKENS", help_heading = "Fleet")]
    block_size: Option<u32>,

    /// Blocks that a worker can cache [default: what the profile has memory for]
    #[arg(long, value_name = "BLOCKS", help_heading = "Fleet")]
    blocks: Option<u32>,

    /// Policies to compare [default: all for compare; cost for temperature; else round-robin, least-loaded,
    /// longest-prefix and cost]
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', value_parser = policies(), help_heading = "Router")]
    policy: Vec<String>,

    /// What the router knows of caches: events; those and its predictions until they come; or its decisions only
    #[arg(long, value_name = "SOURCE", default_value = "events", value_parser = knowledge(), help_heading = "Router")]
    knowledge: Knowledge,

    /// What a block to compute weighs in the policy cost, against a block in use [default: 8]
    #[arg(long, value_name = "WEIGHT", help_heading = "Router")]
    prefill_weight: Option<f64>,

    /// Temperature of the policy cost, in blocks; 0 takes the cheapest worker [default: 0]
    #[arg(long, value_name = "BLOCKS", help_heading = "Router")]
    temperature: Option<f64>,

    /// Seconds that an event is on its way to the router [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "World")]
    lag: Option<Duration>,

    /// Seconds that are added to the lag at most, evenly distributed
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = "World")]
    jitter: Duration,

    /// Part of the events that is lost, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, help_heading = "World")]
    loss: f64,

    /// Part of the events that arrives twice, 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, help_heading = "World")]
    duplication: f64,

    /// A worker dies and is back with an empty cache; SECONDS from the beginning
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Restart), help_heading = "World")]
    restart: Vec<Incident>,

    /// A worker dies
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Leave), help_heading = "World")]
    leave: Vec<Incident>,

    /// A worker joins, for instance one beyond --workers
    #[arg(long, value_name = "SECONDS:WORKER", value_parser = incident(Change::Join), help_heading = "World")]
    join: Vec<Incident>,

    /// A worker's steps take FACTOR times as long as usual
    #[arg(long, value_name = "SECONDS:WORKER:FACTOR", value_parser = slow, help_heading = "World")]
    slow: Vec<Incident>,

    /// How often a request is tried again when its worker dies under it
    #[arg(long, value_name = "N", help_heading = "World")]
    retries: Option<u32>,

    /// Seed of all that is drawn; equal seeds give equal reports
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,

    /// Where to write the page with the charts, one HTML file; a file of that name is replaced
    #[arg(long, value_name = "FILE", default_value = REPORT)]
    report: PathBuf,

    /// Draw the charts into a file, .svg or .png, too; may be given again
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
}

impl Settings {
    /// Whether what is varied is not also set.
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

    /// The policies that the experiment is about.
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

    /// Whether results can go where they should.
    pub(super) fn check_files(&self) -> Result<(), Box<dyn Error>> {
        self.report_file().map_or(Ok(()), outputs::check)?;
        self.figure.iter().try_for_each(|path| outputs::check_figure(path))
    }

    /// Where the page goes, if anywhere.
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
    let seconds = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn bursts(text: &str) -> Result<Bursts, String> {
    let (on, off) = text.split_once(',').ok_or("write ON,OFF, in seconds")?;
    Ok(Bursts { on: seconds(on)?, off: seconds(off)? })
}

/// `SECONDS:WORKER`.
fn incident(change: Change) -> impl Fn(&str) -> Result<Incident, String> + Clone {
    move |text| {
        let (at, worker) = text.split_once(':').ok_or("write SECONDS:WORKER")?;
        Ok(Incident { at: seconds(at)?, worker: number(worker)?, change })
    }
}

/// `SECONDS:WORKER:FACTOR`.
fn slow(text: &str) -> Result<Incident, String> {
    let (rest, factor) = text.rsplit_once(':').ok_or("write SECONDS:WORKER:FACTOR")?;
    incident(Change::Slow(number(factor)?))(rest)
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number of this kind"))
}
