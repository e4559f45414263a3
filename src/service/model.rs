//! All indexes of the service, and what belongs to each.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;

use crate::hash::BlockHasher;
use crate::index::{Builder, ConfigError, Index};

/// What an index is for. Requests see the blocks of exactly one key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The name that engines serve the model under.
    pub model: String,
    /// Engines whose blocks may stand in for each other's; `default` if a request names none.
    pub group: String,
    /// Whose requests see it; empty if a request names nobody.
    pub tenant: String,
}

impl Key {
    /// The routing group of requests that name none.
    pub const DEFAULT_GROUP: &'static str = "default";

    /// A model in the default group, of no tenant.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), group: Self::DEFAULT_GROUP.to_owned(), tenant: String::new() }
    }

    fn parts(&self) -> [&str; 3] {
        [&self.model, &self.group, &self.tenant]
    }
}

/// `model:group`, or `model:group:tenant`. A colon or per cent sign inside a name is written `%3A` or `%25`, so no two
/// keys look alike.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |name: &str| name.replace('%', "%25").replace(':', "%3A");
        write!(f, "{}:{}", escaped(&self.model), escaped(&self.group))?;
        if self.tenant.is_empty() { Ok(()) } else { write!(f, ":{}", escaped(&self.tenant)) }
    }
}

/// One index, and what the service knows around it.
#[derive(Debug)]
pub struct Model {
    key: Key,
    hasher: BlockHasher,
    index: Index,
    gate: RwLock<()>,
}

impl Model {
    /// What it is for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Tokens per block; never 0.
    pub fn block_size(&self) -> u32 {
        self.hasher.block_size()
    }

    /// Hashes prompts of this model, without adapter and namespace.
    pub fn hasher(&self) -> BlockHasher {
        self.hasher
    }

    /// The index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// To be held while a batch is handed over, so that exports see whole batches.
    pub fn applying(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is held, no batch is being handed over: the state is that at a border between batches.
    pub fn at_rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All models. Reading takes no lock.
#[derive(Debug)]
pub struct Models {
    settings: Builder,
    /// Sorted by key.
    models: ArcSwap<Vec<Arc<Model>>>,
    /// Held by whoever adds one.
    adding: Mutex<()>,
}

impl Models {
    /// None yet; each gets an index with these settings.
    pub fn new(settings: Builder) -> Self {
        Self { settings, models: ArcSwap::default(), adding: Mutex::new(()) }
    }

    /// The model of this name, group and tenant.
    pub fn get(&self, model: &str, group: &str, tenant: &str) -> Option<Arc<Model>> {
        let models = self.models.load();
        let place = models.binary_search_by(|other| other.key.parts().cmp(&[model, group, tenant])).ok()?;
        Some(Arc::clone(&models[place]))
    }

    /// All of them, by key.
    pub fn all(&self) -> Arc<Vec<Arc<Model>>> {
        self.models.load_full()
    }

    /// The model of this key, made if it is not there.
    ///
    /// # Errors
    /// A block size of 0, another one than the model has, or an index that cannot be set up.
    pub fn get_or_add(&self, key: &Key, block_size: u32) -> Result<Arc<Model>, ModelError> {
        let hasher = BlockHasher::new(block_size).map_err(|_| ModelError::ZeroBlockSize)?;
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let models = self.models.load();
        let place = match models.binary_search_by(|other| other.key.cmp(key)) {
            Ok(place) if models[place].hasher == hasher => return Ok(Arc::clone(&models[place])),
            Ok(place) => {
                let known = models[place].block_size();
                return Err(ModelError::OtherBlockSize { key: key.clone(), known, asked: block_size });
            }
            Err(place) => place,
        };
        let index = self.settings.clone().build().map_err(ModelError::Index)?;
        let model = Arc::new(Model { key: key.clone(), hasher, index, gate: RwLock::new(()) });
        let mut all = Vec::clone(&models);
        all.insert(place, Arc::clone(&model));
        self.models.store(Arc::new(all));
        Ok(model)
    }
}

/// Why a model cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum ModelError {
    /// A block has at least one token.
    ZeroBlockSize,
    /// The model is there, with blocks of another size.
    OtherBlockSize {
        /// Which.
        key: Key,
        /// Tokens in its blocks.
        known: u32,
        /// Tokens in the blocks asked for.
        asked: u32,
    },
    /// Its index cannot be set up.
    Index(ConfigError),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroBlockSize => f.write_str("block_size is 0; give the engine's own, often 16 or 64"),
            Self::OtherBlockSize { key, known, asked } => write!(
                f,
                "{key} has blocks of {known} tokens, not {asked}; engines with other blocks need a routing group of \
                 their own"
            ),
            Self::Index(error) => write!(f, "no index could be made: {error}"),
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Index(error) => Some(error),
            _ => None,
        }
    }
}
