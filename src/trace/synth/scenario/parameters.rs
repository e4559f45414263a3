//! The parameters of the kinds of traffic, and their defaults.

use super::Kind;
use crate::trace::ToolError;
use crate::trace::synth::options::{at_least_one, positive};

/// Parameters of a scenario; `None` stands for the default of its [`Kind`].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the module has a table of them")]
pub struct Parameters {
    pub prefixes: Option<u32>,
    pub prefix_tokens: Option<f64>,
    pub zipf: Option<f64>,
    pub prompt_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    pub rate: Option<f64>,
    pub turns: Option<f64>,
    pub pause: Option<f64>,
    pub max_context: Option<u32>,
    pub retrieved: Option<u32>,
    pub system_tokens: Option<f64>,
    pub sorted: Option<bool>,
}

/// The value of every parameter. Those that a kind does not use are arbitrary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) prefixes: u32,
    pub(super) prefix_tokens: f64,
    pub(super) zipf: f64,
    pub(super) prompt_tokens: f64,
    pub(super) output_tokens: f64,
    pub(super) rate: f64,
    pub(super) turns: f64,
    pub(super) pause: f64,
    pub(super) max_context: u32,
    pub(super) retrieved: u32,
    pub(super) system_tokens: f64,
    pub(super) sorted: bool,
}

impl Settings {
    pub(super) fn of(kind: Kind) -> Self {
        let plain = Self {
            prefixes: 100,
            prefix_tokens: 2000.0,
            zipf: 1.0,
            prompt_tokens: 200.0,
            output_tokens: 200.0,
            rate: 10.0,
            turns: 1.0,
            pause: 0.0,
            max_context: u32::MAX,
            retrieved: 0,
            system_tokens: 0.0,
            sorted: false,
        };
        match kind {
            Kind::SharedPrompts => plain,
            Kind::Conversations => Self {
                prefixes: 20,
                prefix_tokens: 1000.0,
                prompt_tokens: 150.0,
                output_tokens: 300.0,
                turns: 6.0,
                pause: 30.0,
                max_context: 1 << 15,
                ..plain
            },
            Kind::Rag => Self {
                prefixes: 10_000,
                prefix_tokens: 800.0,
                prompt_tokens: 50.0,
                output_tokens: 300.0,
                retrieved: 3,
                system_tokens: 500.0,
                ..plain
            },
            Kind::Agents => Self {
                prefixes: 4,
                prefix_tokens: 15_000.0,
                prompt_tokens: 700.0,
                output_tokens: 250.0,
                turns: 40.0,
                pause: 8.0,
                max_context: 1 << 17,
                ..plain
            },
        }
    }
}

/// The largest mean of a length, in tokens.
const MOST_TOKENS: f64 = 1e6;

impl Settings {
    pub(super) fn check(&self) -> Result<(), ToolError> {
        at_least_one("--prefixes", self.prefixes.into())?;
        let fail = |option, why: String| Err(ToolError::Option { option, why });
        for (option, value) in [
            ("--prefix-tokens", self.prefix_tokens),
            ("--prompt-tokens", self.prompt_tokens),
            ("--output-tokens", self.output_tokens),
            ("--system-tokens", self.system_tokens),
        ] {
            if !(0.0..=MOST_TOKENS).contains(&value) {
                return fail(option, format!("is {value}; it must be between 0 and {MOST_TOKENS}"));
            }
        }
        if !(0.0..=10.0).contains(&self.zipf) {
            return fail("--zipf", format!("is {}; it must be between 0 and 10", self.zipf));
        }
        if !(self.turns >= 1.0 && self.turns <= 1e6) {
            return fail("--turns", format!("is {}; it must be between 1 and 1000000", self.turns));
        }
        if !(0.0..=1e6).contains(&self.pause) {
            return fail("--pause", format!("is {}; it must be between 0 and 1000000", self.pause));
        }
        if self.retrieved > 1000.min(self.prefixes) {
            return fail(
                "--retrieved",
                format!("is {}; it must be at most --prefixes and at most 1000", self.retrieved),
            );
        }
        at_least_one("--max-context", self.max_context.into())?;
        positive("--rate", self.rate)
    }
}
