//! Traces without a source: four kinds of traffic, each with a few parameters.
//!
//! | parameter | shared-prompts | conversations | rag | agents |
//! |---|---|---|---|---|
//! | `prefixes`: shared prompts, documents | 100 | 20 | 10,000 | 4 |
//! | `prefix_tokens`: mean of their lengths | 2,000 | 1,000 | 800 | 15,000 |
//! | `zipf`: exponent of their popularity | 1 | 1 | 1 | 1 |
//! | `prompt_tokens`: mean of what is new in each request | 200 | 150 | 50 | 700 |
//! | `output_tokens`: mean of the answers | 200 | 300 | 300 | 250 |
//! | `rate`: requests a second | 10 | 10 | 10 | 10 |
//! | `turns`: mean of the requests of a session | | 6 | | 40 |
//! | `pause`: mean of the seconds between them | | 30 | | 8 |
//! | `max_context`: tokens | | 32,768 | | 131,072 |
//! | `retrieved`: documents of a request | | | 3 | |
//! | `system_tokens`: a prompt before them | | | 500 | |
//! | `sorted`: whether by an order of their own | | | no | |
//!
//! - **shared-prompts**: one of a few system prompts, then what the user says.
//! - **conversations**: a system prompt, and turn after turn; each prompt has all that was said before. A conversation
//!   that would exceed `max_context` ends.
//! - **rag**: the system prompt, documents in the order in which they were retrieved, a question. A document is reused
//!   only behind the same ones, which is more often if they are `sorted`.
//! - **agents**: long sessions of many fast steps under a long prompt of tools and instructions. One that would exceed
//!   `max_context` is compacted: it goes on with its prompt and a fresh summary of a tenth of `max_context`.
//!
//! The prefix of rank *k* is picked with a probability proportional to `1 / k^zipf`. Lengths and pauses are distributed
//! exponentially, lengths rounded up to whole tokens; a prefix's length is drawn once. Sessions have a geometric number
//! of requests. Requests of their own, and sessions, arrive in a Poisson process, sessions `turns` times more rarely, so
//! that there are `rate` requests a second once as many sessions end as begin.

mod draw;
mod prompt;
mod session;
mod single;

use std::fmt;
use std::str::FromStr;

use super::{Limits, at_least_one, positive};
use crate::trace::{Row, ToolError};

/// What the traffic is like. Written and parsed as `shared-prompts`, `conversations`, `rag`, `agents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single requests under shared system prompts.
    SharedPrompts,
    /// Conversations of several turns.
    Conversations,
    /// Questions about retrieved documents.
    Rag,
    /// Coding agents and their like.
    Agents,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::SharedPrompts, Self::Conversations, Self::Rag, Self::Agents];

    /// The name it is written by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SharedPrompts => "shared-prompts",
            Self::Conversations => "conversations",
            Self::Rag => "rag",
            Self::Agents => "agents",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ToolError;

    fn from_str(name: &str) -> Result<Self, ToolError> {
        let why = || format!("knows no {name:?}; use {}", Self::ALL.map(Self::name).join(", "));
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| ToolError::Option { option: "--generate", why: why() })
    }
}

/// Parameters, as far as they are not to have the default of the [`Kind`].
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

/// Requests of one kind.
#[derive(Clone, Debug)]
pub struct Scenario {
    kind: Kind,
    block_size: u32,
    seed: u64,
    limits: Limits,
    settings: Settings,
}

/// All parameters; those that a kind has no use for are any.
#[derive(Clone, Copy, Debug)]
struct Settings {
    prefixes: u32,
    prefix_tokens: f64,
    zipf: f64,
    prompt_tokens: f64,
    output_tokens: f64,
    rate: f64,
    turns: f64,
    pause: f64,
    max_context: u32,
    retrieved: u32,
    system_tokens: f64,
    sorted: bool,
}

impl Settings {
    fn of(kind: Kind) -> Self {
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

/// The most tokens that a length may have on average.
const MOST_TOKENS: f64 = 1e6;

impl Scenario {
    /// A scenario in blocks of `block_size` tokens. Equal seeds, equal requests.
    ///
    /// # Errors
    /// [`ToolError::Option`] when something is out of its range, or a parameter is given that the kind does not have.
    pub fn new(
        kind: Kind,
        parameters: &Parameters,
        block_size: u32,
        limits: Limits,
        seed: u64,
    ) -> Result<Self, ToolError> {
        let sessions = matches!(kind, Kind::Conversations | Kind::Agents);
        let given = parameters;
        for (option, given, meant) in [
            ("--turns", given.turns.is_some(), sessions),
            ("--pause", given.pause.is_some(), sessions),
            ("--max-context", given.max_context.is_some(), sessions),
            ("--retrieved", given.retrieved.is_some(), kind == Kind::Rag),
            ("--system-tokens", given.system_tokens.is_some(), kind == Kind::Rag),
            ("--sorted", given.sorted.is_some(), kind == Kind::Rag),
        ] {
            if given && !meant {
                return Err(ToolError::Option { option, why: format!("means nothing for {kind}") });
            }
        }
        let of_kind = Settings::of(kind);
        let settings = Settings {
            prefixes: given.prefixes.unwrap_or(of_kind.prefixes),
            prefix_tokens: given.prefix_tokens.unwrap_or(of_kind.prefix_tokens),
            zipf: given.zipf.unwrap_or(of_kind.zipf),
            prompt_tokens: given.prompt_tokens.unwrap_or(of_kind.prompt_tokens),
            output_tokens: given.output_tokens.unwrap_or(of_kind.output_tokens),
            rate: given.rate.unwrap_or(of_kind.rate),
            turns: given.turns.unwrap_or(of_kind.turns),
            pause: given.pause.unwrap_or(of_kind.pause),
            max_context: given.max_context.unwrap_or(of_kind.max_context),
            retrieved: given.retrieved.unwrap_or(of_kind.retrieved),
            system_tokens: given.system_tokens.unwrap_or(of_kind.system_tokens),
            sorted: given.sorted.unwrap_or(of_kind.sorted),
        };
        settings.check()?;
        at_least_one("--block-size", block_size.into())?;
        limits.check()?;
        Ok(Self { kind, block_size, seed, limits, settings })
    }

    /// So many requests.
    ///
    /// # Errors
    /// [`ToolError::Option`] when they are none. The iterator gives [`ToolError::NothingPasses`], and then nothing, when
    /// a million requests in a row do not pass the limits.
    pub fn requests(
        &self,
        num_requests: u64,
    ) -> Result<impl Iterator<Item = Result<Row, ToolError>> + use<>, ToolError> {
        at_least_one("--requests", num_requests)?;
        let rows: Box<dyn Iterator<Item = Row>> = match self.kind {
            Kind::SharedPrompts | Kind::Rag => Box::new(single::Singles::new(self)),
            Kind::Conversations | Kind::Agents => Box::new(session::Sessions::new(self)),
        };
        Ok(super::limited(rows, self.limits.clone(), num_requests))
    }
}

impl Settings {
    fn check(&self) -> Result<(), ToolError> {
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
            return fail("--retrieved", format!("is {}; at most --prefixes, and 1000", self.retrieved));
        }
        at_least_one("--max-context", self.max_context.into())?;
        positive("--rate", self.rate)
    }
}
