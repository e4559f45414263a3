//! All indexes of the service, and what belongs to each.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;

use super::budget::Room;
use super::doubt::Doubts;
use super::media::Media;
use super::publishers::Publishers;
use super::tier::Tier;
use crate::event::Worker;
use crate::hash::{BlockHasher, HashKey, ZeroBlockSize};
use crate::index::{Builder, ConfigError, Index, Matches};

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
    /// The tenant of requests that name none may also be named so.
    pub const DEFAULT_TENANT: &'static str = "default";

    /// A model in the default group, of no tenant.
    pub fn new(model: impl Into<String>) -> Self {
        Self { model: model.into(), group: Self::DEFAULT_GROUP.to_owned(), tenant: String::new() }
    }

    /// The tenant meant by this name, which is empty for the one that need not be named.
    pub(super) fn tenant(name: &str) -> &str {
        if name == Self::DEFAULT_TENANT { "" } else { name }
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

impl FromStr for Key {
    type Err = KeyError;

    /// What [`Key`] is printed as.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let name = |part: &str| part.replace("%3A", ":").replace("%25", "%");
        let parts: Vec<_> = text.split(':').map(name).collect();
        match <[String; 3]>::try_from(parts) {
            Ok([model, group, tenant]) => Ok(Self { model, group, tenant }),
            Err(parts) => {
                let [model, group] = <[String; 2]>::try_from(parts).map_err(|_| KeyError(text.to_owned()))?;
                Ok(Self { model, group, tenant: String::new() })
            }
        }
    }
}

/// Text that is no `model:group` and no `model:group:tenant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not like model:group or model:group:tenant, with %3A for a colon inside a name", self.0)
    }
}

impl std::error::Error for KeyError {}

/// One index, and what the service knows around it.
#[derive(Debug)]
pub struct Model {
    key: Key,
    hasher: BlockHasher,
    media: Arc<Media>,
    index: Index,
    publishers: Publishers,
    room: Room,
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

    /// What engines call the storage that their blocks lie on.
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// The index itself.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Who speaks for its workers.
    pub fn publishers(&self) -> &Publishers {
        &self.publishers
    }

    /// The ranks of which what is said may not be exact, and why, by worker. Waits for nobody.
    pub fn doubts(&self) -> Vec<(Worker, Doubts)> {
        // An answer to no question tells of whom the index left blocks out.
        let mut nothing = Matches::new();
        self.index.find(&[], &mut nothing);
        self.doubts_about(&nothing)
    }

    /// The same, as of an answer.
    pub fn doubts_about(&self, matches: &Matches) -> Vec<(Worker, Doubts)> {
        self.publishers.doubts(matches.incomplete().map(|worker| Tier::split(worker).0))
    }

    /// What the memory budget means for it.
    pub(super) fn room(&self) -> &Room {
        &self.room
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
    media: Arc<Media>,
    key: Option<HashKey>,
    most: usize,
    /// Sorted by key.
    all: ArcSwap<Vec<Arc<Model>>>,
    /// Models that nobody speaks for any more: without threads and content, and still asked about.
    left: Mutex<VecDeque<Arc<Model>>>,
    /// Held by whoever adds or removes one.
    adding: Mutex<()>,
}

impl Models {
    /// None yet, and `most` at a time; each gets an index with these settings.
    pub fn new(settings: Builder, most: usize) -> Self {
        Self {
            settings,
            media: Arc::default(),
            key: None,
            most,
            all: ArcSwap::default(),
            left: Mutex::default(),
            adding: Mutex::default(),
        }
    }

    /// With these names of media.
    #[must_use]
    pub fn media(self, media: Media) -> Self {
        Self { media: Arc::new(media), ..self }
    }

    /// Whether local hashes have a secret key.
    pub(super) fn are_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// With local hashes that nobody can compute who does not know this key.
    #[must_use]
    pub fn hash_key(self, key: Option<HashKey>) -> Self {
        Self { key, ..self }
    }

    /// The model of this name, group and tenant.
    pub fn get(&self, model: &str, group: &str, tenant: &str) -> Option<Arc<Model>> {
        let models = self.all.load();
        let place = models.binary_search_by(|other| other.key.parts().cmp(&[model, group, tenant])).ok()?;
        Some(Arc::clone(&models[place]))
    }

    /// The same, or one that there was: nobody holds anything of it.
    pub(super) fn get_or_left(&self, model: &str, group: &str, tenant: &str) -> Option<Arc<Model>> {
        self.get(model, group, tenant).or_else(|| {
            let left = self.left();
            left.iter().find(|other| other.key.parts() == [model, group, tenant]).map(Arc::clone)
        })
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<Arc<Model>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by key.
    pub fn all(&self) -> Arc<Vec<Arc<Model>>> {
        self.all.load_full()
    }

    /// The model of this key, made if it is not there.
    ///
    /// # Errors
    /// A block size of 0, another one than the model has, too many models, or an index that cannot be set up.
    pub fn get_or_add(&self, key: &Key, block_size: u32) -> Result<Arc<Model>, ModelError> {
        let hasher = match self.key {
            Some(key) => BlockHasher::keyed(block_size, key),
            None => BlockHasher::new(block_size),
        };
        let hasher = hasher.map_err(|ZeroBlockSize| ModelError::ZeroBlockSize)?;
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let models = self.all.load();
        let place = match models.binary_search_by(|other| other.key.cmp(key)) {
            Ok(place) if models[place].hasher == hasher => return Ok(Arc::clone(&models[place])),
            Ok(place) => {
                let known = models[place].block_size();
                return Err(ModelError::OtherBlockSize { key: key.clone(), known, asked: block_size });
            }
            Err(_) if models.len() >= self.most => return Err(ModelError::TooMany { most: self.most }),
            Err(place) => place,
        };
        let index = self.settings.clone().build().map_err(ModelError::Index)?;
        let model = Arc::new(Model {
            key: key.clone(),
            hasher,
            media: Arc::clone(&self.media),
            index,
            publishers: Publishers::default(),
            room: Room::default(),
            gate: RwLock::new(()),
        });
        let mut models = Vec::clone(&models);
        models.insert(place, Arc::clone(&model));
        self.all.store(Arc::new(models));
        self.left().retain(|other| other.key != *key);
        Ok(model)
    }

    /// Removes a model that no publisher speaks for, with its threads and memory. Of as many as there may be, the last to go
    /// are still known by name, so that whoever asks is told that nobody holds anything.
    pub(super) fn remove_if_left(&self, key: &Key) {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = Vec::clone(&self.all.load());
        let Ok(place) = models.binary_search_by(|other| other.key.cmp(key)) else { return };
        if models[place].publishers.all().is_empty() {
            let model = models.remove(place);
            self.all.store(Arc::new(models));
            // Its threads end here; a writer that died has been reported.
            let _ = model.index.shutdown();
            let mut left = self.left();
            if left.len() >= self.most {
                left.pop_front();
            }
            left.push_back(model);
        }
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
    /// There are as many as are allowed, each with threads of its own.
    TooMany {
        /// How many.
        most: usize,
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
            Self::TooMany { most } => write!(f, "there are {most} models already, as many as max_models allows"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_and_read_back() {
        let key = |model: &str, group: &str, tenant: &str| Key {
            model: model.to_owned(),
            group: group.to_owned(),
            tenant: tenant.to_owned(),
        };
        let keys = [
            (key("m", "default", ""), "m:default"),
            (key("m:default", "a", ""), "m%3Adefault:a"),
            (key("m", "default:a", ""), "m:default%3Aa"),
            (key("m", "default", "a"), "m:default:a"),
            (key("m%3A", "", "%"), "m%253A::%25"),
        ];
        for (key, text) in keys {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse(), Ok(key));
        }
        assert!("m".parse::<Key>().is_err() && "a:b:c:d".parse::<Key>().is_err());
    }

    #[test]
    fn a_model_is_made_once_and_keeps_its_block_size() {
        let models = Models::new(Index::builder(), 3);
        let key = Key::new("m");
        assert!(models.get("m", "default", "").is_none());
        let model = models.get_or_add(&key, 16).expect("new");
        assert!(Arc::ptr_eq(&model, &models.get_or_add(&key, 16).expect("there")));
        let conflict = models.get_or_add(&key, 32).expect_err("another size");
        assert!(matches!(conflict, ModelError::OtherBlockSize { known: 16, asked: 32, .. }));
        assert!(matches!(models.get_or_add(&Key::new("n"), 0), Err(ModelError::ZeroBlockSize)));
        let other = Key { tenant: "t".to_owned(), ..key };
        models.get_or_add(&other, 32).expect("a key of its own");
        assert!(Arc::ptr_eq(&model, &models.get("m", "default", "").expect("still there")));
        assert_eq!(models.get("m", "default", "t").expect("there").block_size(), 32);
        models.get_or_add(&Key::new("n"), 1).expect("a third");
        assert!(matches!(models.get_or_add(&Key::new("o"), 1), Err(ModelError::TooMany { most: 3 })));
        assert_eq!(models.all().len(), 3);
    }
}
