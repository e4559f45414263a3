//! All models, by key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::key::Key;
use super::model::Model;
use crate::hash::{BlockHasher, HashKey, ZeroBlockSize};
use crate::index::{Builder, ConfigError};
use crate::service::media::Media;

/// All models. Reading takes no lock.
#[derive(Debug)]
pub struct Models {
    settings: Builder,
    media: Arc<Media>,
    hash_key: Option<HashKey>,
    most: usize,
    /// Sorted by key.
    all: ArcSwap<Vec<Arc<Model>>>,
    /// Models without publishers, removed with their threads and content, but still asked about.
    removed: Mutex<VecDeque<Arc<Model>>>,
    /// Held while a model is added or removed.
    changing: Mutex<()>,
}

impl Models {
    /// Creates a registry without models, for at most `most` at a time. Each gets an index with these settings.
    pub fn new(settings: Builder, most: usize) -> Self {
        Self {
            settings,
            media: Arc::default(),
            hash_key: None,
            most,
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
        let models = self.all.load();
        let place = models.binary_search_by(|other| other.key().parts().cmp(&[model, group, tenant])).ok()?;
        Some(Arc::clone(&models[place]))
    }

    /// Like [`Models::get`], but also finds a model that was removed, of which nobody holds anything.
    pub(in crate::service) fn get_even_removed(&self, model: &str, group: &str, tenant: &str) -> Option<Arc<Model>> {
        self.get(model, group, tenant).or_else(|| {
            let removed = self.removed();
            removed.iter().find(|other| other.key().parts() == [model, group, tenant]).map(Arc::clone)
        })
    }

    fn removed(&self) -> MutexGuard<'_, VecDeque<Arc<Model>>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all models, sorted by key.
    pub fn all(&self) -> Arc<Vec<Arc<Model>>> {
        self.all.load_full()
    }

    /// Returns the model of this key, and creates it if there is none.
    ///
    /// # Errors
    /// The block size is 0 or not that of the model, there are too many models, or the index cannot be set up.
    pub fn get_or_add(&self, key: &Key, block_size: u32) -> Result<Arc<Model>, ModelError> {
        let hasher = match self.hash_key {
            Some(key) => BlockHasher::keyed(block_size, key),
            None => BlockHasher::new(block_size),
        };
        let hasher = hasher.map_err(|ZeroBlockSize| ModelError::ZeroBlockSize)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let models = self.all.load();
        let place = match models.binary_search_by(|other| other.key().cmp(key)) {
            Ok(place) if models[place].hasher() == hasher => return Ok(Arc::clone(&models[place])),
            Ok(place) => {
                let known = models[place].block_size();
                return Err(ModelError::OtherBlockSize { key: key.clone(), known, asked: block_size });
            }
            Err(_) if models.len() >= self.most => return Err(ModelError::TooMany { most: self.most }),
            Err(place) => place,
        };
        let index = self.settings.clone().build().map_err(ModelError::Index)?;
        let model = Arc::new(Model::new(key.clone(), hasher, Arc::clone(&self.media), index));
        let mut models = Vec::clone(&models);
        models.insert(place, Arc::clone(&model));
        self.all.store(Arc::new(models));
        self.removed().retain(|other| other.key() != key);
        Ok(model)
    }

    /// Removes a model that has no publishers, with its threads and memory.
    ///
    /// The models that were removed last are remembered by name, as many as there may be models, so that queries about
    /// them are answered with no matches rather than an error.
    pub(in crate::service) fn remove_if_abandoned(&self, key: &Key) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = Vec::clone(&self.all.load());
        let Ok(place) = models.binary_search_by(|other| other.key().cmp(key)) else { return };
        if models[place].publishers().all().is_empty() {
            let model = models.remove(place);
            self.all.store(Arc::new(models));
            // This ends its threads. If one of them died before, that has been reported.
            let _ = model.index().shutdown();
            let mut removed = self.removed();
            if removed.len() >= self.most {
                removed.pop_front();
            }
            removed.push_back(model);
        }
    }
}

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
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
