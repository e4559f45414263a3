//! Scenarios, and the requests that they generate.

use super::parameters::Settings;
use super::{Kind, Parameters, session, single};
use crate::trace::synth::limits::{Limits, limited};
use crate::trace::synth::options::at_least_one;
use crate::trace::{Row, ToolError};

/// Traffic of one kind, with its parameters.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(super) kind: Kind,
    pub(super) block_size: u32,
    pub(super) seed: u64,
    pub(super) limits: Limits,
    pub(super) settings: Settings,
}

impl Scenario {
    /// Creates a scenario in blocks of `block_size` tokens. Equal seeds give equal requests.
    ///
    /// # Errors
    /// [`ToolError::Option`] if a value is out of range, or if the kind does not have a parameter that is given.
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
                return Err(ToolError::Option { option, why: format!("does not apply to {kind}") });
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

    /// Generates `num_requests` requests.
    ///
    /// # Errors
    /// [`ToolError::Option`] if `num_requests` is 0. The iterator returns [`ToolError::NothingPasses`], and then
    /// nothing, if a million requests in a row do not pass the limits.
    pub fn requests(
        &self,
        num_requests: u64,
    ) -> Result<impl Iterator<Item = Result<Row, ToolError>> + use<>, ToolError> {
        at_least_one("--requests", num_requests)?;
        let rows: Box<dyn Iterator<Item = Row>> = match self.kind {
            Kind::SharedPrompts | Kind::Rag => Box::new(single::Singles::new(self)),
            Kind::Conversations | Kind::Agents => Box::new(session::Sessions::new(self)),
        };
        Ok(limited(rows, self.limits.clone(), num_requests))
    }
}
