//! What an input can make an engine say: events, the forms they are written in, and their faults.

use arbitrary::Arbitrary;
use kvleap::service::Doubt;
use kvleap::service::publisher::Skip;

/// How an engine is set up.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Setup {
    pub base: u8,
    pub hashes: HashForm,
    pub ahead: Ahead,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum HashForm {
    Unsigned,
    Signed,
    /// The last bytes of a digest that is this much longer.
    Digest(u8),
}

/// Which tokens behind a block its hash covers.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Ahead {
    None,
    Bigrams,
    /// The event lists the tokens that follow each block: two if this is true, otherwise one.
    Listed(bool),
}

/// A part of a prompt.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Chain {
    pub prompt: u8,
    /// Which blocks an event names.
    pub part: u8,
}

#[derive(Arbitrary, Debug)]
pub struct Batch {
    pub rank: Option<u8>,
    pub as_map: bool,
    pub events: Vec<Said>,
    /// Whether the bytes end too early.
    pub cut: bool,
}

#[derive(Arbitrary, Debug)]
pub struct Said {
    pub what: What,
    pub chain: Chain,
    pub tier: u8,
    pub name: u8,
    pub form: Form,
    /// Only if the upper two bits say so.
    pub faulty: u8,
    pub fault: Fault,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// In the namespace of a cache group or none, and, where a connector speaks, without salt and pictures.
    Store {
        group: u8,
        bare: bool,
    },
    /// Says only where blocks lie.
    Place,
    Remove {
        group: u8,
    },
    Clear,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Map { extra_keys: bool, unknown_field: bool },
    Array,
    Short,
    Packed,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Misfit,
    BlockSize,
    Adapter,
    Keys,
    Repeated,
    Medium,
    Shared(u8),
    Group,
    Malformed,
    UnknownTag,
}

impl Said {
    /// Half of all blocks are on the device.
    pub fn tier(&self) -> usize {
        [0, 0, 1, 2][usize::from(self.tier % 4)]
    }
}

impl Fault {
    pub fn skip(self) -> Skip {
        match self {
            Self::Misfit => Skip::Tokens,
            Self::BlockSize => Skip::BlockSize,
            Self::Adapter => Skip::Adapter,
            Self::Keys => Skip::Keys,
            Self::Repeated => Skip::Repeated,
            Self::Medium => Skip::Medium,
            Self::Shared(_) => Skip::Shared,
            Self::Group => Skip::Group,
            Self::Malformed => Skip::Malformed,
            Self::UnknownTag => Skip::UnknownTag,
        }
    }

    /// The doubt of a store that is left out for this reason; `None` if it is left out on purpose.
    pub fn doubt(self) -> Option<Doubt> {
        match self {
            Self::Misfit => Some(Doubt::Misfit),
            Self::BlockSize => Some(Doubt::BlockSize),
            Self::Adapter => Some(Doubt::Adapter),
            Self::Keys => Some(Doubt::Keys),
            Self::Repeated => Some(Doubt::Repeated),
            Self::Medium => Some(Doubt::Medium),
            Self::Malformed => Some(Doubt::Malformed),
            Self::UnknownTag => Some(Doubt::UnknownEvent),
            Self::Shared(_) | Self::Group => None,
        }
    }

    pub fn can_happen_to(self, what: What) -> bool {
        match self {
            Self::Misfit | Self::BlockSize | Self::Adapter | Self::Keys | Self::Repeated => {
                matches!(what, What::Store { .. })
            }
            Self::UnknownTag => true,
            _ => what != What::Clear,
        }
    }
}
