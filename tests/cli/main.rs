//! The command: what it prints, what it leaves behind and how it ends.
#![cfg(feature = "cli")]

#[path = "../common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod scratch;
    pub(crate) mod shared;
}

mod figures;
mod publish;
mod replay;
mod serve;
mod sim;
mod sweep;
mod trace;
