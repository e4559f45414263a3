//! All models, by key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::key::Key;
use super::model::Model;
use super::names::NameError;
use super::publishers::{DEFAULT_MAX_WORKERS, Publishers};
use crate::hash::{BlockHasher, HashKey, ZeroBlockSize};
use crate::index::{Builder, ConfigError};
use crate::service::media::Media;
use crate::service::tier::Tier;

/// All models. Reading takes no lock.
#[derive(Debug)]
pub struct Models {
    settings: Builder,
    media: Arc<Media>,
    hash_key: Option<HashKey>,
    most: usize,
    max_workers: usize,
    /// Sorted by key.
    all: ArcSwap<Vec<Arc<Model>>>,
    /// Models that were removed and may still be asked about, with the tokens in their blocks; the one that was removed
    /// last comes last.
    removed: Mutex<VecDeque<(Key, u32)>>,
    /// Held while a model is added or removed.
    changing: Mutex<()>,
}

/// How many workers the index may know for each one of a model. There is one for each tier, and those that publishers
/// name have room of their own, see [`Publishers::name_worker`].
const INDEX_WORKERS: usize = 2 * Tier::ALL.len();

impl Models {
    /// Creates a registry without models, for at most `most` at a time. Each gets an index with these settings.
    pub fn new(settings: Builder, most: usize) -> Self {
        Self {
            settings,
            media: Arc::default(),
            hash_key: None,
            most,
            max_workers: DEFAULT_MAX_WORKERS,
            all: ArcSwap::default(),
            removed: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    /// Sets the names of media.
    #[must_use]
    pub fn media(self, media: Media) -> Self {
        Self { media: Arc::new(media), ..self }
    }

    /// Sets how many workers a model may have.
    #[must_use]
    pub fn max_workers(self, workers: usize) -> Self {
        let in_the_index = u32::try_from(workers.saturating_mul(INDEX_WORKERS)).unwrap_or(u32::MAX);
        Self { max_workers: workers, settings: self.settings.max_workers(in_the_index), ..self }
    }

    /// Returns how many workers a model may have.
    pub(in crate::service) fn most_workers(&self) -> usize {
        self.max_workers
    }

    /// Whether local hashes have a secret key.
    pub(in crate::service) fn are_keyed(&self) -> bool {
        self.hash_key.is_some()
    }

    /// Sets the key of local hashes. Nobody who does not know it can compute them.
    #[must_use]
    pub fn hash_key(self, hash_key: Option<HashKey>) -> Self {
        Self { hash_key, ..self }
    }

    /// Returns the model of this name, group and tenant.
    pub fn get(&self, model: &str, group: &str, tenant: &str) -> Option<Arc<Model>> {
        let parts = [model, group, Key::tenant(tenant)];
        let models = self.all.load();
        let place = models.binary_search_by(|other| other.key().parts().cmp(&parts)).ok()?;
        Some(Arc::clone(&models[place]))
    }

    /// Whether this model was not removed.
    pub(in crate::service) fn has(&self, model: &Model) -> bool {
        let [name, group, tenant] = model.key().parts();
        self.get(name, group, tenant).is_some_and(|known| std::ptr::eq(&raw const *known, model))
    }

    /// Returns how many tokens were in a block of a model that was removed; `None` if none of this name was, or too long
    /// ago.
    pub(in crate::service) fn removed_block_size(&self, model: &str, group: &str, tenant: &str) -> Option<u32> {
        let parts = [model, group, Key::tenant(tenant)];
        self.removed().iter().find(|(key, _)| key.parts() == parts).map(|&(_, block_size)| block_size)
    }

    fn removed(&self) -> MutexGuard<'_, VecDeque<(Key, u32)>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all models, sorted by key.
    pub fn all(&self) -> Arc<Vec<Arc<Model>>> {
        self.all.load_full()
    }

    /// Checks that a model of this key and block size is there or could be made, but for the number of models.
    ///
    /// # Errors
    /// See [`Models::get_or_add`].
    pub(in crate::service) fn check(&self, key: &Key, block_size: u32) -> Result<(), ModelError> {
        key.check()?;
        let hasher = self.hasher(block_size)?;
        match self.get(&key.model, &key.group, &key.tenant) {
            Some(model) if model.hasher() != hasher => Err(other_block_size(&model, block_size)),
            _ => Ok(()),
        }
    }

    fn hasher(&self, block_size: u32) -> Result<BlockHasher, ModelError> {
        let hasher = match self.hash_key {
            Some(key) => BlockHasher::keyed(block_size, key),
            None => BlockHasher::new(block_size),
        };
        hasher.map_err(|ZeroBlockSize| ModelError::ZeroBlockSize)
    }

    /// Returns the model of this key, and creates it if there is none.
    ///
    /// # Errors
    /// A name is not accepted, the block size is 0 or not that of the model, there are too many models, or the index
    /// cannot be set up.
    pub fn get_or_add(&self, key: &Key, block_size: u32) -> Result<Arc<Model>, ModelError> {
        key.check()?;
        let hasher = self.hasher(block_size)?;
        let key = Key { tenant: Key::tenant(&key.tenant).to_owned(), ..key.clone() };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let models = self.all.load();
        let place = match models.binary_search_by(|other| other.key().cmp(&key)) {
            Ok(place) if models[place].hasher() == hasher => return Ok(Arc::clone(&models[place])),
            Ok(place) => return Err(other_block_size(&models[place], block_size)),
            Err(_) if models.len() >= self.most => return Err(ModelError::TooMany { most: self.most }),
            Err(place) => place,
        };
        let index = self.settings.clone().build().map_err(ModelError::Index)?;
        let publishers = Publishers::new(self.max_workers);
        let model = Arc::new(Model::new(key.clone(), hasher, Arc::clone(&self.media), index, publishers));
        let mut models = Vec::clone(&models);
        models.insert(place, Arc::clone(&model));
        self.all.store(Arc::new(models));
        self.removed().retain(|(other, _)| *other != key);
        Ok(model)
    }

    /// Removes a model that has no publishers, with its threads and memory.
    ///
    /// The models that were removed last are remembered by name, as many as there may be models, so that queries about
    /// them are answered with no matches rather than an error.
    pub(in crate::service) fn remove_if_abandoned(&self, key: &Key) {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = Vec::clone(&self.all.load());
        let Ok(place) = models.binary_search_by(|other| other.key().cmp(key)) else { return };
        if !models[place].publishers().is_empty() {
            return;
        }
        let model = models.remove(place);
        // Whoever does not find the model any more finds its name.
        let mut removed = self.removed();
        if removed.len() >= self.most {
            removed.pop_front();
        }
        removed.push_back((model.key().clone(), model.block_size()));
        drop(removed);
        self.all.store(Arc::new(models));
        drop(changing);
        // This ends its threads. If one of them died before, that has been reported.
        let _ = model.index().shutdown();
    }
}

fn other_block_size(model: &Model, asked: u32) -> ModelError {
    ModelError::OtherBlockSize { key: model.key().clone(), known: model.block_size(), asked }
}

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A name is not accepted.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A block must have at least one token.
    #[error("block_size is 0; give the engine's own, often 16 or 64")]
    ZeroBlockSize,
    /// The model exists, with blocks of another size.
    #[error(
        "{key} has blocks of {known} tokens, not {asked}; engines with other blocks need a routing group of their own"
    )]
    OtherBlockSize {
        /// The model.
        key: Key,
        /// Tokens in its blocks.
        known: u32,
        /// Tokens in the blocks asked for.
        asked: u32,
    },
    /// There are as many models as are allowed; each has threads of its own.
    #[error("there are already {most} models, as many as max_models allows")]
    TooMany {
        /// How many are allowed.
        most: usize,
    },
    /// Its index cannot be set up.
    #[error("the index could not be set up: {0}")]
    Index(#[source] ConfigError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;

    #[test]
    fn a_model_is_made_once_and_keeps_its_block_size() {
        let models = Models::new(Index::builder(), 3);
        let key = Key::new("m");
        assert!(models.get("m", "default", "").is_none());
        let model = models.get_or_add(&key, 16).expect("new");
        assert!(Arc::ptr_eq(&model, &models.get_or_add(&key, 16).expect("there")));
        let named = Key { tenant: Key::DEFAULT_TENANT.to_owned(), ..key.clone() };
        assert!(Arc::ptr_eq(&model, &models.get_or_add(&named, 16).expect("the same tenant")));
        for bad in ["", "a\nb", &"x".repeat(257)] {
            assert!(matches!(models.get_or_add(&Key::new(bad), 16), Err(ModelError::Name(_))), "{bad:?}");
        }
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

    #[test]
    fn names_of_removed_models_are_bounded() {
        let models = Models::new(Index::builder(), 2);
        for name in ["a", "b", "c", "b"] {
            models.get_or_add(&Key::new(name), 8).expect("new");
            models.remove_if_abandoned(&Key::new(name));
        }
        let removed = |name: &str| models.removed_block_size(name, "default", "default");
        assert_eq!((removed("a"), removed("b"), removed("c")), (None, Some(8), Some(8)));
        models.get_or_add(&Key::new("b"), 4).expect("new");
        assert_eq!((removed("b"), models.removed().len()), (None, 1), "it is there again");
    }
}
