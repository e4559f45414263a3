//! The command `kvleap`: what each subcommand prints, which files it leaves, and its exit code.
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
