//! Experiments: what is varied, and over which values.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ExperimentAxis, Options, SimError};

/// A setting that an experiment can vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Tokens in a block.
    BlockSize,
    /// Workers in the fleet.
    Workers,
    /// Blocks that a worker can cache.
    Blocks,
    /// Seconds that an event takes to reach the router.
    Lag,
    /// Requests per second.
    Rate,
    /// The temperature of the policy `cost`.
    Temperature,
    /// The weight of a block to compute in the policy `cost`.
    PrefillWeight,
}

impl Dimension {
    /// All dimensions.
    pub const ALL: [Self; 7] =
        [Self::BlockSize, Self::Workers, Self::Blocks, Self::Lag, Self::Rate, Self::Temperature, Self::PrefillWeight];

    /// The name that it is written as, which is that of the option that sets it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockSize => "block-size",
            Self::Workers => "workers",
            Self::Blocks => "blocks",
            Self::Lag => "lag",
            Self::Rate => "rate",
            Self::Temperature => "temperature",
            Self::PrefillWeight => "prefill-weight",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::BlockSize => "tokens",
            Self::Workers => "workers",
            Self::Blocks | Self::Temperature => "blocks",
            Self::Lag => "s",
            Self::Rate => "requests/s",
            Self::PrefillWeight => "",
        }
    }

    const fn about(self) -> &'static str {
        match self {
            Self::BlockSize => "The block size is how many tokens a block has; only whole blocks are reused.",
            Self::Workers => "The workers are those at the start.",
            Self::Blocks => "The blocks are those that each worker's cache has room for.",
            Self::Lag => {
                "The lag is the time that every event takes to reach the router. Until then, its index lacks what a \
                 worker has stored, and still has what it has evicted."
            }
            Self::Rate => "The rate is how many requests arrive per second.",
            Self::Temperature => {
                "The temperature is that of the policy cost: at 0 it takes the cheapest worker, and the higher it is, \
                 the more it draws lots."
            }
            Self::PrefillWeight => {
                "The prefill weight is what a block to compute weighs in the policy cost; a block in use weighs 1."
            }
        }
    }

    /// Sets it to a value. Only values that the option's type cannot hold are refused; ranges are checked later.
    #[allow(clippy::cast_sign_loss, reason = "only counts are cast")]
    fn set(self, options: &mut Options, value: f64) -> Result<(), SimError> {
        let count = || {
            let whole = value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0;
            whole.then_some(value as u32).ok_or_else(|| self.wrong(&format!("cannot be {value}; it is a count")))
        };
        match self {
            Self::BlockSize => options.block_size = count()?,
            Self::Workers => options.workers = count()?,
            Self::Blocks => options.blocks = Some(count()?),
            Self::Lag => {
                let lag = Duration::try_from_secs_f64(value);
                options.world.delay = lag.map_err(|error| self.wrong(&format!("cannot be {value}: {error}")))?;
            }
            Self::Rate => options.workload.rate = Some(value),
            Self::Temperature => options.temperature = value,
            Self::PrefillWeight => options.prefill_weight = value,
        }
        Ok(())
    }

    fn wrong(self, why: &str) -> SimError {
        SimError::Option { option: "--vary", why: format!("{self} {why}") }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A setting and the values that it takes in an experiment. Parsed from `lag=0,1,10`.
#[derive(Clone, Debug, PartialEq)]
pub enum Vary {
    /// The values of a number.
    Along(Dimension, Vec<f64>),
    /// The policies to compare.
    Policies(Vec<&'static str>),
}

impl FromStr for Vary {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let wrong = |why: String| SimError::Option { option: "--vary", why };
        let (name, values) = text.split_once('=').unwrap_or((text, ""));
        if name == "policy" {
            return values.split(',').map(Options::policy).collect::<Result<_, _>>().map(Self::Policies);
        }
        let known = Dimension::ALL.into_iter().find(|dimension| dimension.name() == name).ok_or_else(|| {
            let names = Dimension::ALL.map(Dimension::name).join(", ");
            wrong(format!("cannot vary {name:?}; choose from {names}, policy"))
        })?;
        let value = |value: &str| {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| wrong(format!("{name} cannot be {value:?}; write {name}=A,B,... with numbers")))
        };
        let values = values.split(',').map(value).collect::<Result<_, _>>()?;
        Ok(Self::Along(known, values))
    }
}

/// A simulation for every combination of the varied values.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Name of the experiment.
    pub name: String,
    /// The options, before any is varied.
    pub options: Options,
    /// The varied settings and their values, outermost first; empty for a plain comparison of policies.
    pub vary: Vec<(Dimension, Vec<f64>)>,
}

impl Experiment {
    /// Creates an experiment that varies the settings in `vary`, the first one outermost.
    ///
    /// # Errors
    /// [`SimError::Option`] if a setting is varied twice, or has the same value twice.
    pub fn new(name: &str, mut options: Options, vary: impl IntoIterator<Item = Vary>) -> Result<Self, SimError> {
        let mut along: Vec<(Dimension, Vec<f64>)> = Vec::new();
        for vary in vary {
            match vary {
                Vary::Policies(policies) => options.policies = policies,
                Vary::Along(dimension, values) => {
                    if along.iter().any(|(before, _)| *before == dimension) {
                        return Err(dimension.wrong("is given twice"));
                    }
                    if let Some(value) = (1..values.len()).find(|&at| values[..at].contains(&values[at])) {
                        return Err(dimension.wrong(&format!("has the value {} twice", values[value])));
                    }
                    along.push((dimension, values));
                }
            }
        }
        Ok(Self { name: name.to_owned(), options, vary: along })
    }

    pub(super) fn axes(&self) -> Vec<ExperimentAxis> {
        let axis = |(dimension, values): &(Dimension, Vec<f64>)| ExperimentAxis {
            name: dimension.name().to_owned(),
            unit: dimension.unit().to_owned(),
            about: dimension.about().to_owned(),
            values: values.clone(),
        };
        self.vary.iter().map(axis).collect()
    }

    /// Returns the place of every cell on the axes and its options, in order.
    pub(super) fn cells(&self) -> Result<Vec<(Vec<f64>, Options)>, SimError> {
        let mut cells = vec![(Vec::new(), self.options.clone())];
        for (dimension, values) in &self.vary {
            let mut finer = Vec::new();
            for (at, options) in &cells {
                for &value in values {
                    let (mut at, mut options) = (at.clone(), options.clone());
                    dimension.set(&mut options, value)?;
                    at.push(value);
                    finer.push((at, options));
                }
            }
            cells = finer;
        }
        cells.iter().try_for_each(|(_, options)| options.check())?;
        Ok(cells)
    }
}
