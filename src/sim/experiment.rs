//! What is varied, and over what.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ExperimentAxis, Options, SimError};

/// Something that an experiment varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Tokens in a block.
    BlockSize,
    /// Workers in the fleet.
    Workers,
    /// Blocks that a worker can cache.
    Blocks,
    /// Seconds that an event is on its way.
    Lag,
    /// Requests a second.
    Rate,
    /// The temperature of the policy `cost`.
    Temperature,
    /// What a block to compute weighs in the policy `cost`.
    PrefillWeight,
}

impl Dimension {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::BlockSize, Self::Workers, Self::Blocks, Self::Lag, Self::Rate, Self::Temperature, Self::PrefillWeight];

    /// The name it is written by, that of the option which sets it.
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

    /// Sets it. What is out of its range remains to be checked, but for what cannot be written down.
    #[allow(clippy::cast_sign_loss, reason = "only what is a count is taken for one")]
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

/// What an experiment varies, and the values. Written and parsed as `lag=0,1,10`.
#[derive(Clone, Debug, PartialEq)]
pub enum Vary {
    /// A number.
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
            wrong(format!("knows no {name:?}; choose from {names}, policy"))
        })?;
        let value = |value: &str| {
            let number = value.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| wrong(format!("{name} cannot be {value:?}; write {name}=A,B,... with numbers")))
        };
        let values = values.split(',').map(value).collect::<Result<_, _>>()?;
        Ok(Self::Along(known, values))
    }
}

/// What is simulated: the options at every combination of what is varied.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What to call it.
    pub name: String,
    /// What is not varied.
    pub options: Options,
    /// What is varied, outermost first. Nothing for a plain comparison of policies.
    pub vary: Vec<(Dimension, Vec<f64>)>,
}

impl Experiment {
    /// Varies what `vary` says, in its order.
    ///
    /// # Errors
    /// [`SimError::Option`] where something is varied twice.
    pub fn new(name: &str, mut options: Options, vary: impl IntoIterator<Item = Vary>) -> Result<Self, SimError> {
        let mut along: Vec<(Dimension, Vec<f64>)> = Vec::new();
        for vary in vary {
            match vary {
                Vary::Policies(policies) => options.policies = policies,
                Vary::Along(dimension, values) => {
                    if along.iter().any(|(before, _)| *before == dimension) {
                        return Err(dimension.wrong("is given twice"));
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
            values: values.clone(),
        };
        self.vary.iter().map(axis).collect()
    }

    /// The options of every cell and where it is, in order.
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
