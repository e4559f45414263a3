//! Whether the engines of the settings go together.

use std::collections::BTreeMap;

use crate::service::engines::{Engine, RegisterError};
use crate::service::models::{Key, ModelError};

/// Checks that each engine can be listened to, and that none contradicts another.
pub(super) fn check(engines: &[Engine], max_models: usize) -> Result<(), RegisterError> {
    let mut models: BTreeMap<Key, u32> = BTreeMap::new();
    let mut copies = BTreeMap::new();
    let mut seen: BTreeMap<_, &Engine> = BTreeMap::new();
    for engine in engines {
        engine.check()?;
        let (key, worker, endpoint) = (engine.key(), engine.worker(), &engine.endpoint);
        let known = *models.entry(key.clone()).or_insert(engine.block_size);
        if known != engine.block_size {
            return Err(ModelError::OtherBlockSize { key, known, asked: engine.block_size }.into());
        }
        if models.len() > max_models {
            return Err(ModelError::TooMany { most: max_models }.into());
        }
        if *copies.entry((key.clone(), worker)).or_insert(engine.copies) != engine.copies {
            return Err(RegisterError::Copies { worker, endpoint: endpoint.clone() });
        }
        if *seen.entry((key, worker, endpoint)).or_insert(engine) != engine {
            return Err(RegisterError::Taken { worker, endpoint: endpoint.clone() });
        }
    }
    Ok(())
}
