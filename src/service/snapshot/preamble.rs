//! The bytes that a snapshot begins with.

/// What every snapshot begins with.
pub(super) const MAGIC: [u8; 8] = *b"kvleap\0I";
/// The version that is written and read, behind the magic.
pub(super) const VERSION: u32 = 3;
