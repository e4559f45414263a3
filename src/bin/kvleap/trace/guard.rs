//! Outputs of processes that are told to end before they are done.

use std::{fs, process};

use kvleap::trace::{Output, ToolError};

/// The exit code of a process that Ctrl-C ended, by the shell's convention: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Fills an output with `fill` and gives it its name. If the process is told to end before that, nothing is left.
pub(super) fn write(output: Output, fill: impl FnOnce(&mut Output) -> Result<(), ToolError>) -> Result<(), ToolError> {
    if let Some(partial) = output.partial().map(ToOwned::to_owned) {
        // Without a handler, the file under its temporary name would stay, and nothing worse would happen.
        let _ = ctrlc::set_handler(move || {
            let _ = fs::remove_file(&partial);
            process::exit(INTERRUPTED);
        });
    }
    let mut output = output;
    match fill(&mut output).and_then(|()| output.finish()) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        written => written,
    }
}
