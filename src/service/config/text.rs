//! Reading files with settings and secrets, which are short, and saying in few words what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest file with settings or secrets, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// The longest message about a file, in bytes or characters. It may repeat what is in the file.
const MAX_MESSAGE: usize = 1000;

/// Reads a file, which may be a pipe, as long as it is not too long.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Returns what is wrong with a file, with the line, unless that is too long to be shown.
pub(super) fn explained(error: &toml::de::Error, file: &str) -> String {
    let text = error.to_string();
    if text.len() <= MAX_MESSAGE {
        return text.trim_end().to_owned();
    }
    let line = error.span().and_then(|span| file.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let line = line.map_or(String::new(), |line| format!("line {line}: "));
    shortened(&format!("{line}{}", error.message()))
}

/// Cuts off a message that is too long.
pub(super) fn shortened(message: &str) -> String {
    let message = message.trim_end();
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    message.chars().take(MAX_MESSAGE).chain(" ...".chars()).collect()
}
