//! The literal contract.
