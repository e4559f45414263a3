//! Other ways to hold the same index, to judge and to compare with.
pub mod reference;
