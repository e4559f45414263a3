//! Generated traffic.

use std::fmt;
use std::str::FromStr;

use crate::sim::SimError;
use crate::trace::synth::scenario::{Kind, Parameters};

/// A kind of traffic. Written and parsed by [`name`](Self::name).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Conversations of several turns that start with shared system prompts.
    Conversations,
    /// Coding agents: long sessions of fast steps that start with a long prompt.
    Agents,
    /// Questions about retrieved documents, in the order of retrieval: 70% about shared documents, 30% about texts that
    /// occur once.
    Rag,
    /// The same, with the documents of each request in a fixed order, so that more prompts start with equal documents.
    RagSorted,
    /// Single requests that start with shared system prompts.
    SharedPrompts,
    /// Prompts that share nothing, so that no policy can gain from caches.
    Unique,
    /// Single requests that all start with the same long prompt, which every worker should hold.
    HotSpot,
}

impl Traffic {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Conversations,
        Self::Agents,
        Self::Rag,
        Self::RagSorted,
        Self::SharedPrompts,
        Self::Unique,
        Self::HotSpot,
    ];

    /// The name that it is written as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conversations => "conversations",
            Self::Agents => "agents",
            Self::Rag => "rag",
            Self::RagSorted => "rag-sorted",
            Self::SharedPrompts => "shared-prompts",
            Self::Unique => "unique",
            Self::HotSpot => "hot-spot",
        }
    }

    /// Returns the scenarios that it consists of, and the share of the requests of each.
    pub(super) fn scenarios(self) -> Vec<(Kind, Parameters, f64)> {
        let plain = Parameters::default();
        // The shared prompt is empty, and the own text is as long as the documents of `rag`.
        let unique = || Parameters {
            prefixes: Some(1),
            prefix_tokens: Some(0.0),
            prompt_tokens: Some(2900.0),
            ..Parameters::default()
        };
        let rag = |sorted| {
            let documents = Parameters { sorted: Some(sorted), ..Parameters::default() };
            vec![(Kind::Rag, documents, 0.7), (Kind::SharedPrompts, unique(), 0.3)]
        };
        match self {
            Self::Conversations => vec![(Kind::Conversations, plain, 1.0)],
            Self::Agents => vec![(Kind::Agents, plain, 1.0)],
            Self::Rag => rag(false),
            Self::RagSorted => rag(true),
            Self::SharedPrompts => vec![(Kind::SharedPrompts, plain, 1.0)],
            Self::Unique => vec![(Kind::SharedPrompts, unique(), 1.0)],
            Self::HotSpot => {
                let one = Parameters { prefixes: Some(1), prefix_tokens: Some(8000.0), ..plain };
                vec![(Kind::SharedPrompts, one, 1.0)]
            }
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Traffic {
    type Err = SimError;

    fn from_str(name: &str) -> Result<Self, SimError> {
        let named = Self::ALL.into_iter().find(|traffic| traffic.name() == name);
        named.ok_or_else(|| SimError::UnknownWorkload { name: name.to_owned() })
    }
}

/// A mix of several kinds of traffic, each with a share of the requests. Written and parsed as `rag` or, with weights,
/// as `rag=3,agents=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    parts: Vec<(Traffic, f64)>,
}

impl Mix {
    /// Returns the kinds and their shares, which add up to 1.
    pub fn parts(&self) -> impl Iterator<Item = (Traffic, f64)> {
        let sum: f64 = self.parts.iter().map(|(_, weight)| weight).sum();
        self.parts.iter().map(move |&(traffic, weight)| (traffic, weight / sum))
    }
}

impl From<Traffic> for Mix {
    fn from(traffic: Traffic) -> Self {
        Self { parts: vec![(traffic, 1.0)] }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(traffic, _)] = self.parts[..] {
            return traffic.fmt(f);
        }
        let parts: Vec<String> = self.parts.iter().map(|(traffic, weight)| format!("{traffic}={weight}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Mix {
    type Err = SimError;

    fn from_str(text: &str) -> Result<Self, SimError> {
        let part = |part: &str| {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let traffic = name.parse()?;
            let why =
                || format!("gives {name} the weight {weight:?}; a weight must be a number above 0 and at most 1000000");
            let fail = || SimError::Option { option: "--workload", why: why() };
            let weight = weight.parse().ok().filter(|&weight: &f64| weight > 0.0 && weight <= 1e6).ok_or_else(fail)?;
            Ok((traffic, weight))
        };
        let parts = text.split(',').map(part).collect::<Result<_, SimError>>()?;
        Ok(Self { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_written_as_they_are_read() {
        for text in ["agents", "rag=3,agents=1", "rag=0.5,unique=0.25,hot-spot=2"] {
            assert_eq!(text.parse::<Mix>().unwrap().to_string(), text);
        }
        let shares: Vec<(Traffic, f64)> = "rag=3,agents".parse::<Mix>().unwrap().parts().collect();
        assert_eq!(shares, [(Traffic::Rag, 0.75), (Traffic::Agents, 0.25)]);
        for text in ["", "chat", "rag=", "rag=0", "rag=-1", "rag=NaN", "rag,,agents", "rag=1e9"] {
            let error = text.parse::<Mix>().unwrap_err().to_string();
            assert!(error.contains("conversations") || error.contains("--workload"), "{error}");
        }
    }
}
