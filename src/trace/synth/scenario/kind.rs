//! Kinds of traffic.

use std::fmt;
use std::str::FromStr;

use crate::trace::ToolError;

/// A kind of traffic. Written and parsed as `shared-prompts`, `conversations`, `rag` or `agents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Single requests that start with shared system prompts.
    SharedPrompts,
    /// Conversations of several turns.
    Conversations,
    /// Questions about retrieved documents.
    Rag,
    /// Sessions of coding agents and the like.
    Agents,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::SharedPrompts, Self::Conversations, Self::Rag, Self::Agents];

    /// The name that it is written as.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SharedPrompts => "shared-prompts",
            Self::Conversations => "conversations",
            Self::Rag => "rag",
            Self::Agents => "agents",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = ToolError;

    fn from_str(name: &str) -> Result<Self, ToolError> {
        let why = || format!("cannot be {name:?}; choose from {}", Self::ALL.map(Self::name).join(", "));
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| ToolError::Option { option: "--generate", why: why() })
    }
}
