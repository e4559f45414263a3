//! Arguments that were meant otherwise: an option by its old name, a file without its option.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The arguments, with the one change that clap has no alias for: `sweep --json FILE` is `sweep --out FILE` since
/// `--json` is a flag everywhere.
///
/// A FILE that is named like a trace stays where it is, and is refused: nobody means to overwrite a trace.
pub(crate) fn renamed(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_some_and(|command| command == "sweep") {
        for number in 2..args.len() {
            let value = args.get(number + 1).and_then(|value| value.to_str());
            match (args[number].to_str(), value) {
                (Some("--json"), Some("-")) => {
                    args.remove(number + 1);
                    break;
                }
                (Some("--json"), Some(file)) if !file.starts_with('-') && !file.contains(".jsonl") => {
                    args[number] = "--out".into();
                    break;
                }
                _ => {}
            }
        }
    }
    args
}

/// The error, with a tip where a file was given without the option that takes it.
pub(crate) fn explained(mut error: clap::Error) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) {
        return error;
    }
    let stray = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter().find_map(|kind| error.get(kind));
    let Some(ContextValue::String(stray)) = stray else { return error };
    let command = std::env::args().nth(1);
    let option = match command.as_deref() {
        Some("replay" | "simulate" | "sweep" | "figures") => "--trace",
        Some("serve") => "--config",
        _ => return error,
    };
    if stray.starts_with('-') || !(stray.contains('.') || Path::new(stray).is_file()) {
        return error;
    }
    let tip = format!("to read the file '{stray}', use '{option} {stray}'");
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(args: &[&str]) -> Vec<OsString> {
        renamed(args.iter().map(OsString::from))
    }

    #[test]
    fn the_old_way_to_write_the_json_of_a_sweep_goes_on_working() {
        assert_eq!(
            after(&["kvleap", "sweep", "--json", "a.json", "--quick"]),
            ["kvleap", "sweep", "--out", "a.json", "--quick"]
        );
        assert_eq!(after(&["kvleap", "sweep", "--json", "-"]), ["kvleap", "sweep", "--json"]);
        for same in [
            &["kvleap", "sweep", "--json"][..],
            &["kvleap", "sweep", "--json", "--quick"],
            &["kvleap", "sweep", "--json", "trace.jsonl.gz"],
            &["kvleap", "replay", "--json", "a.json"],
            &["kvleap"],
        ] {
            assert_eq!(after(same), same);
        }
    }
}
