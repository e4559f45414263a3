//! Models and accelerators, and how many blocks fit beside the weights.

use std::str::FromStr;

use thiserror::Error;

use super::{Config, Latency, Roofline};

/// The properties of a model that determine the size of its cache and the time of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// As it is looked up.
    pub name: &'static str,
    /// Layers with attention over the whole context.
    pub layers: u32,
    /// Query heads.
    pub query_heads: u32,
    /// Heads of keys and values; fewer than query heads in grouped-query attention.
    pub kv_heads: u32,
    /// Values in a head.
    pub head_size: u32,
    /// All parameters.
    pub parameters: u64,
    /// Parameters that are used for one token; fewer than all in a mixture of experts.
    pub active_parameters: u64,
    /// Bytes of a parameter.
    pub bytes_per_parameter: u32,
    /// Bytes of a cached value.
    pub bytes_per_value: u32,
}

/// The properties of an accelerator that determine the size of a cache and the time of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// As it is looked up.
    pub name: &'static str,
    /// Bytes of memory.
    pub memory: u64,
    /// Operations per second on dense 16-bit floating-point matrices, according to its maker.
    pub flops: f64,
    /// Bytes per second from memory, according to its maker.
    pub bandwidth: f64,
}

/// A model on one accelerator, or on several that share it evenly. Every field may be changed.
///
/// Parsed from `MODEL@GPU`, or `MODEL@GPUxN` for N of them: `llama-3.1-70b@h100-80gx4`.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The model.
    pub model: Model,
    /// The accelerator.
    pub gpu: Gpu,
    /// Number of accelerators. Default 1.
    pub gpus: u32,
    /// Tokens in a block. Default 16.
    pub block_size: u32,
    /// Percentage of the memory that the engine may use in all. Default 90, as in vLLM.
    pub memory_percent: u32,
    /// Bytes on each accelerator for activations and graphs. Default 512 MiB.
    pub reserve: u64,
}

const fn dense(name: &'static str, layers: u32, heads: [u32; 2], parameters: u64) -> Model {
    Model {
        name,
        layers,
        query_heads: heads[0],
        kv_heads: heads[1],
        head_size: 128,
        parameters,
        active_parameters: parameters,
        bytes_per_parameter: 2,
        bytes_per_value: 2,
    }
}

/// Sizes are from the published configurations, and so are parameters, except that those of Llama 2 are from its name.
const MODELS: [Model; 7] = [
    dense("llama-2-13b", 40, [40, 40], 13_000_000_000),
    dense("llama-3.1-8b", 32, [32, 8], 8_030_000_000),
    dense("llama-3.1-70b", 80, [64, 8], 70_600_000_000),
    dense("mistral-7b", 32, [32, 8], 7_250_000_000),
    dense("qwen3-8b", 36, [32, 8], 8_200_000_000),
    dense("qwen3-32b", 64, [64, 8], 32_800_000_000),
    Model { active_parameters: 3_300_000_000, ..dense("qwen3-30b-a3b", 48, [32, 4], 30_500_000_000) },
];

const GIB: u64 = 1 << 30;

/// From their makers' data sheets, for the boards with the faster interconnect.
const GPUS: [Gpu; 4] = [
    Gpu { name: "a100-40g", memory: 40 * GIB, flops: 312e12, bandwidth: 1.555e12 },
    Gpu { name: "a100-80g", memory: 80 * GIB, flops: 312e12, bandwidth: 2.039e12 },
    Gpu { name: "h100-80g", memory: 80 * GIB, flops: 989e12, bandwidth: 3.35e12 },
    Gpu { name: "h200-141g", memory: 141 * GIB, flops: 989e12, bandwidth: 4.8e12 },
];

impl Model {
    /// Returns every model that is known by name.
    pub fn all() -> impl Iterator<Item = Self> {
        MODELS.into_iter()
    }

    /// Bytes that the keys and values of one token take: 2 x layers x KV heads x head size x bytes of a value.
    pub fn token_bytes(&self) -> u64 {
        2 * u64::from(self.layers)
            * u64::from(self.kv_heads)
            * u64::from(self.head_size)
            * u64::from(self.bytes_per_value)
    }

    /// Bytes of the parameters.
    pub fn weight_bytes(&self) -> u64 {
        self.parameters * u64::from(self.bytes_per_parameter)
    }
}

impl Gpu {
    /// Returns every accelerator that is known by name.
    pub fn all() -> impl Iterator<Item = Self> {
        GPUS.into_iter()
    }
}

impl Profile {
    /// A model on one accelerator, with defaults for everything else.
    pub fn new(model: Model, gpu: Gpu) -> Self {
        Self { model, gpu, gpus: 1, block_size: 16, memory_percent: 90, reserve: GIB / 2 }
    }

    /// Bytes of a block over all accelerators: bytes of a token times tokens in a block.
    pub fn block_bytes(&self) -> u64 {
        self.model.token_bytes() * u64::from(self.block_size)
    }

    /// Returns how many blocks fit beside the weights: the usable memory without weights and reserve, divided by the
    /// bytes of a block.
    ///
    /// # Errors
    /// [`ProfileError::TooLarge`] if not even one fits.
    pub fn blocks(&self) -> Result<u32, ProfileError> {
        let usable = u128::from(self.gpu.memory) * u128::from(self.gpus) * u128::from(self.memory_percent) / 100;
        let taken = u128::from(self.model.weight_bytes()) + u128::from(self.reserve) * u128::from(self.gpus);
        let blocks = usable.saturating_sub(taken).checked_div(self.block_bytes().into()).unwrap_or(0);
        match u32::try_from(blocks) {
            Ok(0) => Err(ProfileError::TooLarge { model: self.model.name, gpu: self.gpu.name, gpus: self.gpus }),
            Ok(blocks) => Ok(blocks),
            Err(_) => Ok(u32::MAX),
        }
    }

    /// Returns the settings of an engine with this capacity and, according to [`Roofline`], this speed.
    ///
    /// # Errors
    /// [`ProfileError::TooLarge`], as for [`blocks`](Self::blocks).
    pub fn config(&self) -> Result<Config, ProfileError> {
        Ok(Config {
            block_size: self.block_size,
            blocks: self.blocks()?,
            latency: Latency::Roofline(Roofline::new(self)),
            ..Config::default()
        })
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(name: &str) -> Result<Self, ProfileError> {
        let unknown = || ProfileError::Unknown { name: name.to_owned() };
        let (model, board) = name.split_once('@').ok_or_else(unknown)?;
        let model = Model::all().find(|known| known.name == model).ok_or_else(unknown)?;
        let known = |board: &str| Gpu::all().find(|known| known.name == board);
        if let Some(gpu) = known(board) {
            return Ok(Self::new(model, gpu));
        }
        let (board, gpus) = board.rsplit_once('x').ok_or_else(unknown)?;
        let gpu = known(board).ok_or_else(unknown)?;
        let gpus = gpus.parse().ok().filter(|&gpus| gpus > 0).ok_or_else(unknown)?;
        Ok(Self { gpus, ..Self::new(model, gpu) })
    }
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// The name is not of the form `MODEL@GPU`, or one of the two is not known.
    #[error(
        "no profile is called {name:?}: write MODEL@GPU or MODEL@GPUxN, with one of the models {} and one of the GPUs \
         {}",
        list(Model::all().map(|model| model.name)),
        list(Gpu::all().map(|gpu| gpu.name))
    )]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The weights and the reserve leave no room for a block.
    #[error(
        "{model} leaves no memory for a block on {gpus} x {gpu}: take more or larger GPUs, as in {model}@{gpu}x{}",
        gpus * 2
    )]
    TooLarge {
        /// The model.
        model: &'static str,
        /// The accelerator.
        gpu: &'static str,
        /// Number of accelerators.
        gpus: u32,
    },
}

/// The names of everything known, separated by commas.
fn list(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str) -> Profile {
        name.parse().unwrap()
    }

    #[test]
    fn llama_2_13b_on_40_gib_has_924_blocks() {
        let profile = profile("llama-2-13b@a100-40g");
        assert_eq!(profile.block_bytes(), 13_107_200);
        assert_eq!(profile.blocks(), Ok(924));
        assert_eq!(profile.config().unwrap().blocks, 924);
    }

    #[test]
    fn every_field_counts() {
        let base = profile("llama-3.1-8b@h100-80g");
        assert_eq!(base.block_bytes(), 2 * 32 * 8 * 128 * 2 * 16);
        let blocks = |profile: Profile| profile.blocks().unwrap();
        let whole = blocks(base.clone());
        assert_eq!(blocks(Profile { block_size: 32, ..base.clone() }), whole / 2);
        assert!(blocks(Profile { memory_percent: 95, ..base.clone() }) > whole);
        assert!(blocks(Profile { reserve: GIB, ..base.clone() }) < whole);
        let model = Model { bytes_per_value: 1, ..base.model.clone() };
        assert_eq!(blocks(Profile { model, ..base }) / 2, whole);
    }

    #[test]
    fn large_models_need_several() {
        assert!(matches!(profile("llama-3.1-70b@h100-80g").blocks(), Err(ProfileError::TooLarge { gpus: 1, .. })));
        assert!(profile("llama-3.1-70b@h100-80gx4").blocks().is_ok());
        assert_eq!(Profile { block_size: 0, ..profile("qwen3-8b@h200-141g") }.blocks().ok(), None);
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        for name in ["", "llama-2-13b", "llama@a100-40g", "qwen3-8b@tpu", "qwen3-8b@a100-40gx0", "qwen3-8b@a100-40gxx"]
        {
            let error = name.parse::<Profile>().unwrap_err().to_string();
            assert!(error.contains("qwen3-32b") && error.contains("h200-141g"), "{error}");
        }
    }
}
