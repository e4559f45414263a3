//! The names that engines have for the storage of their blocks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::tier::Tier;

/// What a storage medium means to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// The accelerator's own memory.
    Gpu,
    /// The host's memory.
    Cpu,
    /// A disk, or other storage that belongs to the instance.
    Disk,
    /// Storage that no instance owns. Its blocks are not indexed.
    Shared,
}

impl Medium {
    /// Returns its tier; `None` if no instance owns it.
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Gpu => Some(Tier::Device),
            Self::Cpu => Some(Tier::Host),
            Self::Disk => Some(Tier::Disk),
            Self::Shared => None,
        }
    }
}

/// Names of media; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media(BTreeMap<String, Medium>);

/// The names that current releases of vLLM, `SGLang`, TensorRT-LLM, `LMCache`, Mooncake, ATOM, llm-d and Dynamo use.
const KNOWN: [(&str, Medium); 21] = [
    ("gpu", Medium::Gpu),
    ("device", Medium::Gpu),
    ("hbm", Medium::Gpu),
    ("cpu", Medium::Cpu),
    ("cpu_pinned", Medium::Cpu),
    ("cpu_tier1", Medium::Cpu),
    ("dram", Medium::Cpu),
    ("host", Medium::Cpu),
    ("cpu_tier2", Medium::Disk),
    ("disk", Medium::Disk),
    ("nvme", Medium::Disk),
    ("ssd", Medium::Disk),
    ("storage", Medium::Disk),
    ("fs", Medium::Disk),
    ("obj", Medium::Disk),
    ("external", Medium::Shared),
    ("remote", Medium::Shared),
    ("network", Medium::Shared),
    ("shared", Medium::Shared),
    ("shared_storage", Medium::Shared),
    ("object_store", Medium::Shared),
];

impl Default for Media {
    fn default() -> Self {
        Self(KNOWN.into_iter().map(|(name, medium)| (name.to_owned(), medium)).collect())
    }
}

impl Media {
    /// Returns the known names, with these added or replaced.
    pub fn with(names: &BTreeMap<String, Medium>) -> Self {
        let mut media = Self::default();
        media.0.extend(names.iter().map(|(name, &medium)| (name.to_lowercase(), medium)));
        media
    }

    /// Returns the medium of this name; without a name, it is the accelerator's memory.
    pub fn get(&self, name: Option<&str>) -> Option<Medium> {
        match name {
            None | Some("") => Some(Medium::Gpu),
            Some(name) => self.0.get(name).or_else(|| self.0.get(&name.to_lowercase())).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_known_in_any_case_and_can_be_named() {
        let media = Media::with(&[("My_Cache".to_owned(), Medium::Cpu), ("STORAGE".to_owned(), Medium::Shared)].into());
        for (name, medium) in [
            (None, Some(Medium::Gpu)),
            (Some(""), Some(Medium::Gpu)),
            (Some("GPU"), Some(Medium::Gpu)),
            (Some("cpu"), Some(Medium::Cpu)),
            (Some("Cpu_Pinned"), Some(Medium::Cpu)),
            (Some("my_cache"), Some(Medium::Cpu)),
            (Some("storage"), Some(Medium::Shared)),
            (Some("cuda:0"), None),
        ] {
            assert_eq!(media.get(name), medium, "{name:?}");
        }
    }
}
