//! The command `kvleap`: what each subcommand prints, which files it leaves, and its exit code.
#![cfg(feature = "cli")]

#[path = "../common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod peer;
    pub(crate) mod scratch;
    pub(crate) mod shared;
    pub(crate) mod until;
    #[allow(dead_code, reason = "the log needs a publisher that only sends")]
    pub(crate) mod zmtp;
}

mod block_size;
mod figures;
mod interrupt;
mod log;
mod publish;
mod replay;
mod serve;
mod sim;
mod sweep;
mod trace;

/// Returns what a command printed on stderr when it refused its input. It must have printed nothing else.
fn refusal(output: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty() && !text.contains("panicked"), "{text}");
    text
}
